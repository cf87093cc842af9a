package routes

import (
	"net/netip"

	"github.com/gaissmai/bart"
	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// FIB is a snapshot of where packets go and whose source addresses are believed.
// It never changes and may be used by any goroutine; a nil *FIB knows nobody.
// Neither method allocates, locks or waits.
type FIB struct {
	to   bart.Table[target]
	from map[message.NodeID]*bart.Lite // the networks of those nodes that have any
}

// target is where a prefix leads: to nobody, if node is zero.
type target struct {
	node    message.NodeID
	address bool // the prefix is the node's own address
}

// newFIB builds the snapshot of what was decided. What is own (this node's addresses, their
// networks, what it announces) leads to nobody, so that unclaimed addresses of
// the overlay do not follow a wider prefix, and nobody else can send from there.
func newFIB(own Own, decided []Decision) *FIB {
	f := &FIB{from: make(map[message.NodeID]*bart.Lite)}
	nobody := func(ps []netip.Prefix) {
		for _, p := range ps {
			f.to.Insert(p.Masked(), target{})
		}
	}
	nobody(nowhere)
	nobody(own.Local)
	nobody(own.Addresses)
	for _, a := range own.Addresses {
		f.to.Insert(netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), target{})
	}
	for _, d := range decided {
		if d.Best {
			f.to.Insert(d.Prefix, target{node: d.Node, address: d.Address})
		}
		if d.Usable && !d.Address {
			if f.from[d.Node] == nil {
				f.from[d.Node] = new(bart.Lite)
			}
			f.from[d.Node].Insert(d.Prefix)
		}
	}
	return f
}

// Lookup returns the node that gets packets to dst, by the longest prefix. There
// is none for this node's own addresses and prefixes, for broadcast, multicast
// and link-local destinations, and for IPv4 addresses in IPv6 form.
func (f *FIB) Lookup(dst netip.Addr) (message.NodeID, bool) {
	if f == nil || dst.Is4In6() {
		return message.NodeID{}, false
	}
	t, ok := f.to.Lookup(dst)
	return t.node, ok && !t.node.IsZero()
}

// Allowed says whether a packet from src may come from that node: src is its
// address, or in a network that it announces and that this node accepts, be it
// the best one for it or not. It never is an address of another node or of this
// one.
func (f *FIB) Allowed(node message.NodeID, src netip.Addr) bool {
	if f == nil || src.Is4In6() {
		return false
	}
	t, ok := f.to.Lookup(src)
	switch {
	case !ok || t.node.IsZero():
		return false
	case t.node == node:
		return true
	case t.address:
		return false
	}
	networks := f.from[node]
	return networks != nil && networks.Lookup(src)
}

// Size is the number of prefixes that lead to some node.
func (f *FIB) Size() int {
	if f == nil {
		return 0
	}
	n := 0
	for _, t := range f.to.All() {
		if !t.node.IsZero() {
			n++
		}
	}
	return n
}
