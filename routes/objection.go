package routes

import (
	"fmt"
	"net/netip"
	"slices"
)

// Networks in which no other node can be: nothing is routed there, and nobody is
// believed to send from there.
var nowhere = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("::/128"),
	netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}

// Prefixes shorter than these are default routes in disguise: a few of them
// make a whole one.
const (
	widest4 = 8
	widest6 = 16
)

// objection says why d must not be used; it is empty if there is nothing
// against it.
func (t *Table) objection(d Decision) string {
	p := d.Prefix
	for _, n := range nowhere {
		if covers(n, p) {
			return fmt.Sprintf("lies in %s, which is never routed", n)
		}
	}
	for _, a := range t.addresses {
		if p == netip.PrefixFrom(a.Addr(), a.Addr().BitLen()) {
			return "this node's own address"
		}
		if covers(a.Masked(), p) && (!d.Address || broadcast(a, p)) {
			if d.Address {
				return fmt.Sprintf("not a host's address in %s", a.Masked())
			}
			return fmt.Sprintf("inside this node's overlay network %s", a.Masked())
		}
	}
	for _, l := range t.local {
		if l == p {
			return "this node announces it itself"
		}
	}
	if d.Address && t.inOverlay(p) {
		return ""
	}
	if !t.accept.Accepts(p) {
		return fmt.Sprintf("not accepted: accept-routes is %s", t.accept)
	}
	return t.danger(p)
}

// danger says what would stop working with p in the kernel's table.
func (t *Table) danger(p netip.Prefix) string {
	if slices.Contains(t.connected, p) {
		return "this host is in that network itself"
	}
	if t.accept.Names(p) {
		return ""
	}
	const remedy = "in -accept-routes to allow it"
	switch {
	case p.Bits() == 0:
		return fmt.Sprintf("a default route; name %s %s", p, remedy)
	case p.Addr().Is4() && p.Bits() < widest4, p.Addr().Is6() && p.Bits() < widest6:
		return fmt.Sprintf("so wide that it could replace the default route; name it %s", remedy)
	}
	for _, a := range t.protected {
		if p.Contains(a) {
			return fmt.Sprintf("covers %s, where the mesh itself is reached; name it %s", a, remedy)
		}
	}
	for _, c := range t.connected {
		if c.Overlaps(p) {
			return fmt.Sprintf("overlaps %s, which this host is connected to; name it %s", c, remedy)
		}
	}
	return ""
}

// inOverlay says whether the kernel's connected route of one of this node's
// addresses leads to p.
func (t *Table) inOverlay(p netip.Prefix) bool {
	for _, a := range t.addresses {
		if covers(a.Masked(), p) {
			return true
		}
	}
	return false
}

// broadcast says whether p is the first or last address of an IPv4 network,
// which no host has.
func broadcast(network, p netip.Prefix) bool {
	if !network.Addr().Is4() || network.Bits() > 30 {
		return false
	}
	return p.Addr() == network.Masked().Addr() || p.Addr() == lastOf(network)
}

// lastOf is the IPv4 broadcast address of a network.
func lastOf(network netip.Prefix) netip.Addr {
	b := network.Masked().Addr().As4()
	for i := network.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}
