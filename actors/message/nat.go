package message

import (
	"fmt"
	"strconv"
	"strings"
)

// NAT is how the NAT, or the chain of NATs, before a node treats its UDP: it is a
// value, compared by ==. The zero NAT says that nothing is known.
type NAT struct {
	// Mapping says what the outside port depends on. Direct if there is no
	// translation: others see the host's own address.
	Mapping Dependence
	// Filtering says from whom answers are let in, once this node has sent something.
	Filtering Dependence
	// Preserves: the outside port is the local one, as long as it is free.
	Preserves bool
	// Step is what lies between the ports of mappings made one after the other, where
	// the mapping depends on the destination; 0: they are random, or not known.
	Step int
	// Hairpin: hosts behind the NAT reach each other by their outside endpoints.
	Hairpin bool
	// Open: whatever Filtering says of other ports, everybody gets in at the data
	// socket's: a rule of the firewall, or a forwarded port.
	Open bool
}

// Dependence says what a NAT's mapping or filter takes into account of the remote
// endpoint (RFC 4787, 4.1 and 5).
type Dependence uint8

// The dependences, from the friendliest to the strictest. Direct is one of
// mappings only: there is no translation.
const (
	Unknown Dependence = iota
	Direct
	EndpointIndependent
	AddressDependent
	AddressAndPortDependent
)

func (d Dependence) String() string {
	switch d {
	case Direct:
		return "none"
	case EndpointIndependent:
		return "endpoint-independent"
	case AddressDependent:
		return "address-dependent"
	case AddressAndPortDependent:
		return "address-and-port-dependent"
	}
	return "unknown"
}

// Known says whether anything was found out about the mapping.
func (n NAT) Known() bool { return n.Mapping != Unknown }

// Symmetric says whether each destination sees another port.
func (n NAT) Symmetric() bool { return n.Mapping >= AddressDependent }

// Reachable says whether everybody can reach the data socket at its mapped endpoint.
// What was not tried without translation counts as such.
func (n NAT) Reachable() bool {
	return n.Mapping == Direct && n.Filtering <= EndpointIndependent || n.Mapping == EndpointIndependent && n.Filtering == EndpointIndependent ||
		n.Open && !n.Symmetric()
}

// Forgets says whether there is something before the host that remembers for a
// while with whom it speaks.
func (n NAT) Forgets() bool { return n.Known() && !(n.Mapping == Direct && n.Reachable()) }

// Random says whether the ports are such that no prediction helps.
func (n NAT) Random() bool { return n.Symmetric() && n.Step == 0 }

// Stepped says whether the next port can be foreseen although each destination sees
// another one.
func (n NAT) Stepped() bool { return n.Symmetric() && n.Step != 0 }

// String is the word for the NAT column of `node peers`, without spaces: none,
// firewall (no translation, but only answers come in), cone, restricted,
// port-restricted (RFC 3489), symm (random ports), symm+2 (ports in steps), or
// unknown. Cone also stands for filtering that is not known.
func (n NAT) String() string {
	switch {
	case n.Mapping == Direct && !n.Reachable():
		return "firewall"
	case n.Mapping == Direct:
		return "none"
	case n.Stepped():
		return fmt.Sprintf("symm%+d", n.Step)
	case n.Symmetric():
		return "symm"
	case n.Mapping != EndpointIndependent:
		return "unknown"
	case n.Filtering == AddressDependent:
		return "restricted"
	case n.Filtering == AddressAndPortDependent:
		return "port-restricted"
	}
	return "cone"
}

// Describe says all that is known in words, for `doctor` and the log.
func (n NAT) Describe() string {
	words := []string{n.String()}
	if n.Known() {
		words = append(words, "mapping "+n.Mapping.String(), "filtering "+n.Filtering.String())
	}
	if n.Preserves {
		words = append(words, "ports preserved")
	}
	if n.Step != 0 {
		words = append(words, fmt.Sprintf("port step %d", n.Step))
	}
	if n.Open {
		words = append(words, "open at the data port")
	}
	if n.Hairpin {
		words = append(words, "hairpin")
	}
	return strings.Join(words, ", ")
}

// A text of a NAT is its String and, behind a slash, one character for each
// thing more that is known; characters that are not known are skipped, so that
// later versions can say more:
//
//	m  the mapping depends on the address alone
//	e  the filter: endpoint-independent
//	a  the filter: address-dependent
//	d  the filter: address-and-port-dependent
//	p  ports are preserved
//	h  hairpin
//	o  open
//
// Example: port-restricted/dph

// maxStep bounds what is taken for a step.
const maxStep = 1 << 10

// MarshalText encodes n for an advert, in at most 32 bytes; empty if nothing is known.
func (n NAT) MarshalText() ([]byte, error) {
	if n == (NAT{}) {
		return nil, nil
	}
	text := []byte(n.String())
	flags := len(text)
	text = append(text, '/')
	if n.Mapping == AddressDependent {
		text = append(text, 'm')
	}
	switch n.Filtering {
	case EndpointIndependent:
		text = append(text, 'e')
	case AddressDependent:
		text = append(text, 'a')
	case AddressAndPortDependent:
		text = append(text, 'd')
	}
	if n.Preserves {
		text = append(text, 'p')
	}
	if n.Hairpin {
		text = append(text, 'h')
	}
	if n.Open {
		text = append(text, 'o')
	}
	if len(text) == flags+1 {
		text = text[:flags]
	}
	return text, nil
}

// Text is MarshalText for [Advert].
func (n NAT) Text() string {
	text, _ := n.MarshalText() // never fails
	return string(text)
}

// UnmarshalText reads what MarshalText wrote.
func (n *NAT) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*n = NAT{}
		return nil
	}
	word, flags, _ := strings.Cut(string(text), "/")
	var got NAT
	step, symmetric := strings.CutPrefix(word, "symm")
	switch {
	case symmetric:
		got.Mapping = AddressAndPortDependent
		if step == "" {
			break
		}
		by, err := strconv.Atoi(step)
		if err != nil || by == 0 || by > maxStep || by < -maxStep || fmt.Sprintf("%+d", by) != step {
			return fmt.Errorf("NAT behaviour %q: port step is not a number from -%d to %d", clip(text), maxStep, maxStep)
		}
		got.Step = by
	case word == "none", word == "firewall":
		got.Mapping = Direct
	case word == "cone", word == "restricted", word == "port-restricted":
		got.Mapping = EndpointIndependent
	case word == "unknown":
	default:
		return fmt.Errorf("NAT behaviour %q is not known", clip(text))
	}
	switch word {
	case "restricted":
		got.Filtering = AddressDependent
	case "port-restricted", "firewall":
		got.Filtering = AddressAndPortDependent
	}
	for _, c := range flags {
		switch c {
		case 'm':
			if symmetric {
				got.Mapping = AddressDependent
			}
		case 'e':
			got.Filtering = EndpointIndependent
		case 'a':
			got.Filtering = AddressDependent
		case 'd':
			got.Filtering = AddressAndPortDependent
		case 'p':
			got.Preserves = true
		case 'h':
			got.Hairpin = true
		case 'o':
			got.Open = true
		}
	}
	*n = got
	return nil
}

// ParseNAT reads the text of an advert; what cannot be read is not known.
func ParseNAT(text string) NAT {
	var n NAT
	if n.UnmarshalText([]byte(text)) != nil {
		return NAT{}
	}
	return n
}

func clip(text []byte) []byte { return text[:min(len(text), 32)] }
