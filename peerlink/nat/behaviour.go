package nat

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/openbmx/lightweight-tunnel/peerlink/punch"
)

// Behaviour is how the NAT, or the chain of NATs, before this node treats its
// UDP: it is a value, compared by ==. The zero Behaviour says that nothing is known.
type Behaviour struct {
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

// Dependence says what a mapping or a filter takes into account of the remote
// endpoint. Direct is one of mappings only.
type Dependence = punch.Dependence

// The dependences, from the friendliest to the strictest.
const (
	Unknown                 = punch.Unknown
	Direct                  = punch.Direct
	EndpointIndependent     = punch.EndpointIndependent
	AddressDependent        = punch.AddressDependent
	AddressAndPortDependent = punch.AddressAndPortDependent
)

// Known says whether anything was found out about the mapping.
func (b Behaviour) Known() bool { return b.Mapping != Unknown }

// Symmetric says whether each destination sees another port.
func (b Behaviour) Symmetric() bool { return b.Mapping >= AddressDependent }

// Reachable says whether everybody can reach the data socket at its mapped endpoint.
// What was not tried without translation counts as such.
func (b Behaviour) Reachable() bool {
	return b.Mapping == Direct && b.Filtering <= EndpointIndependent || b.Mapping == EndpointIndependent && b.Filtering == EndpointIndependent ||
		b.Open && !b.Symmetric()
}

// Forgets says whether there is something before the host that remembers for a
// while with whom it speaks: see [Lifetime].
func (b Behaviour) Forgets() bool { return b.Known() && !(b.Mapping == Direct && b.Reachable()) }

// Random says whether the ports are such that no prediction helps.
func (b Behaviour) Random() bool { return b.Symmetric() && b.Step == 0 }

// String is the word for the NAT column of `node peers`, without spaces: none,
// firewall (no translation, but only answers come in), cone, restricted,
// port-restricted (RFC 3489), symm (random ports), symm+2 (ports in steps), or
// unknown. Cone also stands for filtering that is not known.
func (b Behaviour) String() string {
	switch {
	case b.Mapping == Direct && !b.Reachable():
		return "firewall"
	case b.Mapping == Direct:
		return "none"
	case b.Symmetric() && b.Step != 0:
		return fmt.Sprintf("symm%+d", b.Step)
	case b.Symmetric():
		return "symm"
	case b.Mapping != EndpointIndependent:
		return "unknown"
	case b.Filtering == AddressDependent:
		return "restricted"
	case b.Filtering == AddressAndPortDependent:
		return "port-restricted"
	}
	return "cone"
}

// Describe says all that is known in words, for `doctor` and the log.
func (b Behaviour) Describe() string {
	words := []string{b.String()}
	if b.Known() {
		words = append(words, "mapping "+b.Mapping.String(), "filtering "+b.Filtering.String())
	}
	if b.Preserves {
		words = append(words, "ports preserved")
	}
	if b.Step != 0 {
		words = append(words, fmt.Sprintf("port step %d", b.Step))
	}
	if b.Open {
		words = append(words, "open at the data port")
	}
	if b.Hairpin {
		words = append(words, "hairpin")
	}
	return strings.Join(words, ", ")
}

// A text of a Behaviour is its String and, behind a slash, one character for each
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

// MarshalText encodes b for an advert, in at most 32 bytes; empty if nothing is known.
func (b Behaviour) MarshalText() ([]byte, error) {
	if b == (Behaviour{}) {
		return nil, nil
	}
	text := []byte(b.String())
	flags := len(text)
	text = append(text, '/')
	if b.Mapping == AddressDependent {
		text = append(text, 'm')
	}
	switch b.Filtering {
	case EndpointIndependent:
		text = append(text, 'e')
	case AddressDependent:
		text = append(text, 'a')
	case AddressAndPortDependent:
		text = append(text, 'd')
	}
	if b.Preserves {
		text = append(text, 'p')
	}
	if b.Hairpin {
		text = append(text, 'h')
	}
	if b.Open {
		text = append(text, 'o')
	}
	if len(text) == flags+1 {
		text = text[:flags]
	}
	return text, nil
}

// Text is MarshalText for message.Advert.
func (b Behaviour) Text() string {
	text, _ := b.MarshalText() // never fails
	return string(text)
}

// UnmarshalText reads what MarshalText wrote.
func (b *Behaviour) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*b = Behaviour{}
		return nil
	}
	word, flags, _ := strings.Cut(string(text), "/")
	var got Behaviour
	step, symmetric := strings.CutPrefix(word, "symm")
	switch {
	case symmetric:
		got.Mapping = AddressAndPortDependent
		if step == "" {
			break
		}
		n, err := strconv.Atoi(step)
		if err != nil || n == 0 || n > maxStep || n < -maxStep || fmt.Sprintf("%+d", n) != step {
			return fmt.Errorf("NAT behaviour %q: port step is not a number from -%d to %d", clip(text), maxStep, maxStep)
		}
		got.Step = n
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
	*b = got
	return nil
}

// Parse reads the text of an advert; what cannot be read is not known.
func Parse(text string) Behaviour {
	var b Behaviour
	if b.UnmarshalText([]byte(text)) != nil {
		return Behaviour{}
	}
	return b
}

func clip(text []byte) []byte { return text[:min(len(text), 32)] }
