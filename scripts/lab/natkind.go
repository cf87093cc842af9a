package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// NATKind says how a router maps and filters, by the names of RFC 3489; the
// behaviours are those of RFC 4787 (EI: endpoint-independent, AD: address-dependent,
// APD: address- and port-dependent).
type NATKind string

const (
	// NATNone routes: what is behind it has public addresses and everybody gets in.
	NATNone NATKind = "none"
	// NATFirewall routes, too, and lets only answers in.
	NATFirewall NATKind = "firewall"
	// NATFullCone is EI mapping, EI filtering.
	NATFullCone NATKind = "full"
	// NATRestricted is EI mapping, AD filtering.
	NATRestricted NATKind = "restricted"
	// NATPortRestricted is EI mapping, APD filtering: a Linux home router.
	NATPortRestricted NATKind = "port-restricted"
	// NATStep is APD mapping and filtering, each new mapping at the next port.
	NATStep NATKind = "step"
	// NATRandom is APD mapping to random ports, and APD filtering.
	NATRandom NATKind = "random"
)

// NATKinds are all of them.
var NATKinds = []NATKind{NATNone, NATFirewall, NATFullCone, NATRestricted, NATPortRestricted, NATStep, NATRandom}

// Translates says whether what is behind such a router has private addresses.
func (k NATKind) Translates() bool { return k != NATNone && k != NATFirewall }

// Unasked is what a router does with packets from outside that nobody inside
// asked for.
type Unasked int

const (
	// DropUnasked is silence.
	DropUnasked Unasked = iota
	// ResetUnasked answers TCP with a reset.
	ResetUnasked
	// TakeUnasked has no filter for what is addressed to the router itself. Its kernel
	// answers, and remembers: what an inside host then sends the other way is mapped
	// to another port than it would have been.
	TakeUnasked
)

// UDPPolicy is what a router does with UDP.
type UDPPolicy int

const (
	// UDPPasses is no policy.
	UDPPasses UDPPolicy = iota
	// UDPBlocked drops all of it.
	UDPBlocked
	// UDPThrottled drops what is above 1 Mbit/s in either direction; after a silence
	// as much as a second takes passes at once.
	UDPThrottled
)

// Families are the IP versions that the networks behind a router have.
type Families int

const (
	// OnlyIPv4 is what most have.
	OnlyIPv4 Families = iota
	// BothFamilies adds IPv6, routed, never translated, and filtered as by
	// NATFirewall unless the kind is NATNone.
	BothFamilies
	// OnlyIPv6 is IPv6 alone.
	OnlyIPv6
)

// RouterConfig describes a router. Its zero value is not usable: Kind is needed.
type RouterConfig struct {
	Kind     NATKind
	Unasked  Unasked
	UDP      UDPPolicy
	Families Families
	// Hairpin lets inside hosts reach each other by the outside address. Only
	// routers that translate endpoint-independently can.
	Hairpin bool
	// MapsPorts has the router map ports for its hosts that ask by UPnP, NAT-PMP or
	// PCP; needs miniupnpd. Only a router with a public address of its own does.
	MapsPorts bool
	// UDPTimeout and UDPStream are how long, in seconds, a UDP mapping lives before
	// and after something has come back. 0: 30 and 120, those of Linux.
	UDPTimeout, UDPStream int
}

func (c RouterConfig) check() error {
	cone := c.Kind == NATFullCone || c.Kind == NATRestricted || c.Kind == NATPortRestricted
	switch {
	case !slices.Contains(NATKinds, c.Kind):
		return fmt.Errorf("no kind of NAT is called %q", c.Kind)
	case c.Hairpin && !cone:
		return fmt.Errorf("a router of kind %s cannot hairpin", c.Kind)
	case c.MapsPorts && (!c.Kind.Translates() || c.Families == OnlyIPv6):
		return errors.New("a router that does not translate has no ports to map")
	}
	return nil
}

// String names the router as reports do.
func (c RouterConfig) String() string {
	words := []string{string(c.Kind)}
	for _, w := range []string{
		map[bool]string{true: "hairpin"}[c.Hairpin],
		map[bool]string{true: "maps ports"}[c.MapsPorts],
		map[Unasked]string{ResetUnasked: "reset", TakeUnasked: "no input filter"}[c.Unasked],
		map[UDPPolicy]string{UDPBlocked: "no UDP", UDPThrottled: "UDP 1 Mbit/s"}[c.UDP],
		map[Families]string{BothFamilies: "and IPv6", OnlyIPv6: "IPv6 only"}[c.Families],
	} {
		if w != "" {
			words = append(words, w)
		}
	}
	return strings.Join(words, ", ")
}
