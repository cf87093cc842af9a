package punch

import (
	"net/netip"
	"slices"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// Candidate is an endpoint under which a node may be reached.
type Candidate = message.Candidate

// Held marks an address of a host with a port that is held for a simultaneous
// open: nobody listens there. A mapped candidate of fake TCP is one of a held
// port too.
const Held message.CandidateKind = 16

// MaxCandidates bounds an offer, so that a call fits one datagram of any path.
const MaxCandidates = 16

// NAT is how the routers before a node treat its packets. The zero NAT, of which
// nothing is known, is taken for a Linux home router.
type NAT = message.NAT

// lenient says whether a packet from a port that this node has never sent to gets
// in, if the node has sent something to the address.
func lenient(n NAT) bool {
	return n.Filtering == message.EndpointIndependent || n.Filtering == message.AddressDependent
}

// inWords says it for people.
func inWords(n NAT) string {
	switch {
	case n.Random():
		return "symmetric with random ports"
	case n.Stepped():
		return "symmetric with predictable ports"
	case n.Mapping == message.Direct:
		return "no NAT"
	case n.Mapping == message.EndpointIndependent:
		return "cone"
	}
	return "unknown"
}

// told is what a call tells of a NAT.
func told(n NAT) NAT {
	n.Hairpin, n.Open = false, false
	return n
}

// Offer is what a node knows of its own ways to the outside at one moment: what the
// two sides of a call tell each other.
type Offer struct {
	NAT        NAT
	Candidates []Candidate
}

// sameAs says whether nothing has changed that makes another try worth while.
// Mapped ports of a NAT that gives out new ones each time are no change.
func (o Offer) sameAs(old Offer) bool {
	if told(o.NAT) != told(old.NAT) {
		return false
	}
	known := func(in []Candidate, c Candidate) bool {
		for _, k := range in {
			if k.Kind == c.Kind && k.Transport == c.Transport && k.Addr.Addr() == c.Addr.Addr() {
				return true
			}
		}
		return false
	}
	for _, c := range o.Candidates {
		if !known(old.Candidates, c) {
			return false
		}
	}
	for _, c := range old.Candidates {
		if !known(o.Candidates, c) {
			return false
		}
	}
	return true
}

// Hosts are the addresses of one family that are the host's own.
func (o Offer) Hosts(v6 bool) []netip.Addr {
	var hosts []netip.Addr
	for _, c := range o.Candidates {
		if a := c.Addr.Addr(); c.Kind == message.Host && a.Is6() == v6 && !slices.Contains(hosts, a) {
			hosts = append(hosts, a)
		}
	}
	return hosts
}

// of is whether the offer has a candidate of a kind for a transport.
func (o Offer) of(kind message.CandidateKind, transport packet.Kind, v6 bool) (netip.AddrPort, bool) {
	for _, c := range o.Candidates {
		if c.Kind == kind && c.Transport == transport && c.Addr.Addr().Is6() == v6 {
			return c.Addr, true
		}
	}
	return netip.AddrPort{}, false
}

// reachable says whether anybody can send to the node over IPv4, unasked.
func (o Offer) reachable(transport packet.Kind) bool {
	_, forwarded := o.of(message.PortMapped, transport, false)
	return forwarded || o.NAT.Mapping == message.Direct && lenient(o.NAT)
}

// with returns the offer with what was learnt: another mapping of the UDP socket
// takes the place of the old one, because a NAT that steps has gone on.
func (o Offer) with(more []Candidate) Offer {
	for _, c := range more {
		if c.Kind == message.Mapped && c.Transport == packet.UDP {
			o.Candidates = slices.DeleteFunc(o.Candidates, func(old Candidate) bool {
				return old.Kind == c.Kind && old.Transport == c.Transport && old.Addr.Addr().Is4() == c.Addr.Addr().Is4()
			})
		}
		o.Candidates = append(o.Candidates, c)
	}
	// What others see first: an offer may have to be cut.
	slices.SortStableFunc(o.Candidates, func(a, b Candidate) int {
		switch seen := func(c Candidate) bool { return c.Kind == message.Mapped || c.Kind == message.PortMapped }; {
		case seen(a) == seen(b):
			return 0
		case seen(a):
			return -1
		}
		return 1
	})
	return o
}
