package guard

import (
	"errors"
	"net/netip"
)

// Reservation holds a TCP port of this host, so that no other program gets it
// and the host's own tools show it as taken.
type Reservation struct{ addr netip.AddrPort }

// Reserve binds addr in the network namespace of the calling thread. With
// listen the port shows up as listening; connections are never accepted. Port 0
// takes any free port. An unspecified IPv6 address takes the port for IPv4 too.
func Reserve(addr netip.AddrPort, listen bool) (*Reservation, error) {
	return nil, errors.ErrUnsupported
}

// Addr is what was bound, with the actual port.
func (r *Reservation) Addr() netip.AddrPort { return r.addr }

// Port is the port held.
func (r *Reservation) Port() uint16 { return r.addr.Port() }

// Close gives the port back.
func (r *Reservation) Close() error { return nil }
