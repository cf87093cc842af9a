package pump

import "sync/atomic"

// Reason says why a pump dropped a packet or a datagram.
type Reason uint8

// The reasons, in the order in which a packet meets them.
const (
	NoRoute       Reason = iota // no node announces the destination
	Multicast                   // broadcast and multicast do not cross the mesh
	BadPacket                   // not an IP packet that a kernel would send
	TooBig                      // fits no datagram of the path and may not be cut
	NoRoom                      // staging refused it: no key or path, queue full
	PathFull                    // the transport could not take it now
	PathGone                    // the path died under it
	Junk                        // a datagram that is none of ours
	UnknownIndex                // a datagram of a session that is over
	BadSeal                     // opened under no key, or replayed
	SpoofedSource               // the sender does not own the source address
	RelayRefused                // relaying is off, or the hop count ran out
	RelayUnknown                // the relay has no link to the destination
	Panicked                    // lost with a batch in which a pump failed
	reasons
)

var reasonNames = [reasons]string{
	"no_route", "multicast", "bad_packet", "too_big", "staging_full", "path_full", "path_gone", "junk",
	"unknown_session", "bad_seal", "spoofed_source", "relay_refused", "relay_unknown", "panicked",
}

func (r Reason) String() string { return reasonNames[r] }

// Drops counts by reason. Its zero value is ready; any goroutine may use it.
type Drops struct{ n [reasons]atomic.Uint64 }

// Add counts n more for r.
func (d *Drops) Add(r Reason, n int) { d.n[r].Add(uint64(n)) }

// Each calls f for every reason that has occurred.
func (d *Drops) Each(f func(reason string, n uint64)) {
	for r := range d.n {
		if n := d.n[r].Load(); n != 0 {
			f(reasonNames[r], n)
		}
	}
}
