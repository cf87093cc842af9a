package main

import (
	"slices"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// kind is how a site is connected.
type kind struct {
	name    string
	words   string             // in the table
	routers []lab.RouterConfig // the outermost first
}

// The kinds of site, first those that differ in their NAT alone, and the ways of
// being behind the same router, which are pairs by themselves.
var (
	nats = []kind{
		{"none", "no NAT", []lab.RouterConfig{{Kind: lab.NATNone}}},
		{"full", "full cone", []lab.RouterConfig{{Kind: lab.NATFullCone}}},
		{"restricted", "restricted", []lab.RouterConfig{{Kind: lab.NATRestricted}}},
		{"port-restricted", "port-restricted", []lab.RouterConfig{{Kind: lab.NATPortRestricted}}},
		{"step", "symmetric, steps", []lab.RouterConfig{{Kind: lab.NATStep}}},
		{"random", "symmetric, random", []lab.RouterConfig{{Kind: lab.NATRandom}}},
	}
	kinds = append(slices.Clip(nats), []kind{
		{"cgnat", "two routers in a row", []lab.RouterConfig{{Kind: lab.NATPortRestricted}, {Kind: lab.NATPortRestricted}}},
		{"reset", "router that answers with resets", []lab.RouterConfig{{Kind: lab.NATPortRestricted, Unasked: lab.ResetUnasked}}},
		{"no-filter", "router without an input filter", []lab.RouterConfig{{Kind: lab.NATPortRestricted, Unasked: lab.TakeUnasked}}},
		{"udp-blocked", "UDP blocked", []lab.RouterConfig{{Kind: lab.NATPortRestricted, UDP: lab.UDPBlocked}}},
		{"udp-slow", "UDP throttled to 1 Mbit/s", []lab.RouterConfig{{Kind: lab.NATPortRestricted, UDP: lab.UDPThrottled}}},
		{"dual", "port-restricted, and IPv6", []lab.RouterConfig{{Kind: lab.NATPortRestricted, Families: lab.BothFamilies}}},
		{"ipv6", "IPv6 only", []lab.RouterConfig{{Kind: lab.NATFirewall, Families: lab.OnlyIPv6}}},
	}...)
	together = []kind{
		{"same", "the same router", []lab.RouterConfig{{Kind: lab.NATPortRestricted}}},
		{"hairpin", "the same carrier, which hairpins", []lab.RouterConfig{{Kind: lab.NATPortRestricted, Hairpin: true}, {Kind: lab.NATPortRestricted}}},
	}
)

func kindNames() (names []string) {
	for _, k := range append(kinds[:len(kinds):len(kinds)], together...) {
		names = append(names, k.name)
	}
	return names
}

// pair is two sites. If shared, they are behind the same (outermost) router, and
// b is a.
type pair struct {
	a, b   kind
	shared bool
}

// pairs are all pairs of the kinds with these names, and those named themselves
// as KIND/KIND.
func pairs(only []string) (all []pair) {
	for i, a := range kinds {
		for _, b := range kinds[i:] {
			both := slices.Contains(only, a.name) && slices.Contains(only, b.name)
			if both || slices.Contains(only, a.name+"/"+b.name) || slices.Contains(only, b.name+"/"+a.name) {
				all = append(all, pair{a: a, b: b})
			}
		}
	}
	for _, k := range together {
		if slices.Contains(only, k.name) {
			all = append(all, pair{a: k, b: k, shared: true})
		}
	}
	return all
}

func (k kind) families() lab.Families { return k.routers[0].Families }

func (k kind) udp() lab.UDPPolicy { return k.routers[0].UDP }

// strictest is the kind of router that decides, in the order in which lab has them.
func (k kind) strictest() lab.NATKind {
	strictest := lab.NATNone
	for _, r := range k.routers {
		if slices.Index(lab.NATKinds, r.Kind) > slices.Index(lab.NATKinds, strictest) {
			strictest = r.Kind
		}
	}
	return strictest
}

// Outlook is whether a pair can get a direct path.
type Outlook string

const (
	must Outlook = "must" // the project promises it
	may  Outlook = "may"  // with luck
	not  Outlook = "not"
)

// outlook says what to expect of a pair over a transport of `node run`.
func (p pair) outlook(transport string) Outlook {
	a, b := p.a, p.b
	udp := transport != "rawtcp" && a.udp() != lab.UDPBlocked && b.udp() != lab.UDPBlocked
	switch {
	case p.shared:
		return must
	case transport == "udp" && !udp:
		return not
	case a.families() != lab.OnlyIPv4 && b.families() != lab.OnlyIPv4:
		return must
	case a.families() == lab.OnlyIPv6 || b.families() == lab.OnlyIPv6:
		return not
	}
	x, y := a.strictest(), b.strictest()
	if y == lab.NATRandom {
		x, y = y, x
	}
	if x != lab.NATRandom {
		return must
	}
	switch y {
	case lab.NATNone, lab.NATFullCone, lab.NATRestricted:
		return must // by answering the source that is seen
	case lab.NATFirewall, lab.NATPortRestricted:
		if udp {
			return may // a search with luck, 95 of 100
		}
		return not
	case lab.NATStep:
		return may
	}
	return not
}
