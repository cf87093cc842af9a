package portmap

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// Published is where others find what the router gave. It outlives the actor
// that fills it. Its zero value is ready and knows of nothing; any goroutine may
// read it.
type Published struct{ now atomic.Pointer[State] }

// State returns the present state, which nobody may change.
func (p *Published) State() *State {
	if s := p.now.Load(); s != nil {
		return s
	}
	return &State{}
}

// State is what is known of the router. It is immutable.
type State struct {
	Gateway  netip.Addr // of the default route; the zero Addr without one
	Mappings []Mapping  // in the order of Config.Ports; without those that are not open
	// Problem says in words for a user why not all ports are open; "" if they are,
	// if this host needs no router, and before the first answer.
	Problem string
	Next    time.Time // when the router is asked again, unless something happens
}

// External is the address from outside of a port of this host; the zero AddrPort
// if it is not open.
func (s *State) External(p Port) netip.AddrPort {
	for _, m := range s.Mappings {
		if m.Port == p {
			return m.External
		}
	}
	return netip.AddrPort{}
}

// same says whether others need not be told of the difference.
func (s *State) same(o *State) bool {
	if s.Gateway != o.Gateway || s.Problem != o.Problem || len(s.Mappings) != len(o.Mappings) {
		return false
	}
	for i, m := range s.Mappings {
		m.Expires = o.Mappings[i].Expires
		if m != o.Mappings[i] {
			return false
		}
	}
	return true
}

// Mapping is a port of this host that is open at the router.
type Mapping struct {
	Port     Port
	External netip.AddrPort // a public address
	Protocol Protocol
	Gateway  netip.Addr
	Expires  time.Time // unless it is renewed, which is tried long before
}

// Port is a local port that wants to be reached from outside.
type Port struct {
	Network Network
	Number  uint16
}

// Network is the protocol of a port; its value is IANA's protocol number.
type Network uint8

const (
	TCP Network = 6
	UDP Network = 17
)

// String is "tcp" or "udp".
func (n Network) String() string {
	if n == TCP {
		return "tcp"
	}
	return "udp"
}

// Protocol is a way to ask a router for a port.
type Protocol string

const (
	PCP    Protocol = "pcp"
	NATPMP Protocol = "nat-pmp"
	UPnP   Protocol = "upnp"
)
