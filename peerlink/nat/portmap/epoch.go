package portmap

import "time"

// epoch follows a router's epoch: the seconds since it forgot all mappings, as
// its answers say. By it a restart is noticed. Its zero value knows nothing.
type epoch struct {
	known  bool
	server uint32
	at     time.Time
}

// observe takes what an answer says and returns whether the router has lost its
// mappings since the answer before (RFC 6887, 8.5; NAT-PMP's own rule, RFC 6886,
// 3.6, is more lenient, and asking once too often does no harm).
func (e *epoch) observe(now time.Time, server uint32) (lost bool) {
	lost = e.known && e.lost(now, server)
	e.known, e.server, e.at = true, server, now
	return lost
}

func (e *epoch) lost(now time.Time, server uint32) bool {
	if int64(server) < int64(e.server)-1 {
		return true
	}
	there := int64(server) - int64(e.server)
	here := int64(now.Sub(e.at) / time.Second)
	return here+2 < there-there/16 || there+2 < here-here/16
}
