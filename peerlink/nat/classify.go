package nat

import (
	"net/netip"
	"slices"
)

// Observation is one answer to the question how a socket is seen.
type Observation struct {
	To     netip.AddrPort // who was asked
	Mapped netip.AddrPort // the source that the asked one saw
}

// Outcome is what became of one test.
type Outcome uint8

// The outcomes. Silent counts only if whoever should have answered is known to
// have been able to.
const (
	NotTried Outcome = iota
	Silent
	Answered
)

// Evidence is what a survey brought of one socket.
type Evidence struct {
	Own  []netip.Addr // the host's addresses
	Port uint16       // the socket's local port
	// Seen are the observations, in the order of asking.
	Seen []Observation
	// OtherAddress and OtherPort: an answer from an address, and from another port
	// of an asked address, to which the socket had not sent.
	OtherAddress, OtherPort Outcome
	// DataPort is OtherPort tried with the socket that carries data.
	DataPort Outcome
	Hairpin  Outcome
}

// Classify says what e shows, and no more: what was not tried is unknown. The one
// exception is a mapping that differs between addresses while no address was asked
// on two ports: it is taken for the strictest.
func Classify(e Evidence) Behaviour {
	b := Behaviour{
		Mapping: e.mapping(), Filtering: e.filtering(),
		Hairpin: e.Hairpin == Answered,
	}
	if len(e.Seen) > 0 && e.Port != 0 {
		b.Preserves = !slices.ContainsFunc(e.Seen, func(o Observation) bool { return o.Mapped.Port() != e.Port })
	}
	// An address-dependent filter lets other ports in and is not open for that.
	b.Open = e.DataPort == Answered && (b.Filtering == EndpointIndependent || b.Filtering == AddressAndPortDependent)
	if b.Symmetric() {
		b.Step = portStep(ports(e.Seen))
	}
	if b.Mapping == Direct {
		b.Preserves = false // there is nothing to preserve
		if b.Filtering == AddressDependent && e.OtherAddress == NotTried {
			// One address only: nearly no firewall looks at addresses without ports.
			b.Filtering = EndpointIndependent
			b.Open = e.DataPort == Answered
		}
	}
	return b
}

// mapping follows RFC 5780, 4.3, for any number of servers.
func (e Evidence) mapping() Dependence {
	if len(e.Seen) == 0 {
		return Unknown
	}
	direct := func(o Observation) bool {
		return o.Mapped.Port() == e.Port && slices.Contains(e.Own, o.Mapped.Addr().Unmap())
	}
	if !slices.ContainsFunc(e.Seen, func(o Observation) bool { return !direct(o) }) {
		return Direct
	}
	sameAddress, otherAddress := NotTried, NotTried // Answered: two mappings are equal, Silent: they differ
	for i, a := range e.Seen {
		for _, b := range e.Seen[:i] {
			if a.To == b.To {
				continue
			}
			result := &otherAddress
			if a.To.Addr() == b.To.Addr() {
				result = &sameAddress
			}
			switch {
			case a.Mapped != b.Mapped:
				*result = Silent
			case *result == NotTried:
				*result = Answered
			}
		}
	}
	switch {
	case sameAddress == Silent:
		return AddressAndPortDependent
	case otherAddress == Answered:
		return EndpointIndependent
	case otherAddress == Silent && sameAddress == Answered:
		return AddressDependent
	case otherAddress == Silent:
		return AddressAndPortDependent
	case sameAddress == Answered:
		// One address only: nearly no NAT looks at addresses without ports.
		return EndpointIndependent
	}
	return Unknown
}

// filtering follows RFC 5780, 4.4.
func (e Evidence) filtering() Dependence {
	switch {
	case e.OtherAddress == Answered:
		return EndpointIndependent
	case e.OtherPort == Answered:
		return AddressDependent // or better, if no other address could be tried
	case e.OtherPort == Silent:
		return AddressAndPortDependent
	}
	return Unknown
}

func ports(seen []Observation) []uint16 {
	var all []uint16
	for _, o := range seen {
		all = append(all, o.Mapped.Port())
	}
	return all
}
