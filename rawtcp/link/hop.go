package link

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// NextHop says how packets for one destination leave this host. It is a stable
// handle: the resolver exchanges what it points to whenever routes, neighbours,
// links or addresses change, and readers never see half a change.
//
// All methods may be called by any goroutine; none blocks or allocates, but for
// OnChange.
type NextHop struct {
	dst, src netip.Addr // src: the source asked for, or the zero Addr
	cur      atomic.Pointer[hop]

	// used is set by senders and cleared by the resolver, which keeps alive the
	// neighbours that are in use.
	used atomic.Bool

	resolver *Resolver
	watchers sync.Map // *watcher -> nothing
}

type watcher struct{ f func() }

// hop is one answer of the resolver, immutable once published.
type hop struct {
	generation uint64
	// asked orders answers: of two, the one whose question was put later counts.
	asked uint64

	ready  bool
	source netip.Addr
	mtu    int
	dev    *device    // nil: no route
	via    netip.Addr // whose link-layer address is needed; invalid: nobody's

	// framed: the link-layer header is known, or there is none, so that packets
	// may bypass the kernel's IP layer.
	framed bool
	ether  [etherLen]byte // of Ethernet-like links, type included
	to     unix.RawSockaddrLinklayer
}

// same says whether readers would see no difference between two answers.
func (h *hop) same(o *hop) bool {
	return h.ready == o.ready && h.source == o.source && h.mtu == o.mtu && h.dev == o.dev &&
		h.via == o.via && h.framed == o.framed && h.ether == o.ether && h.to == o.to
}

// Destination is the address that the handle was looked up for.
func (n *NextHop) Destination() netip.Addr { return n.dst }

// Source is the address this host prefers as source toward the destination;
// invalid while there is no route.
func (n *NextHop) Source() netip.Addr { return n.cur.Load().source }

// MTU is the largest IP packet, in bytes, that may be sent: that of the first
// link, or less if the route or a learned path MTU says so. 0: no route.
func (n *NextHop) MTU() int { return n.cur.Load().mtu }

// Interface is where packets leave; index 0 while there is no route.
func (n *NextHop) Interface() (index int, name string) {
	if d := n.cur.Load().dev; d != nil {
		return d.index, d.name
	}
	return 0, ""
}

// Ready says whether there is a route over an interface that is up. Sending
// through a hop that is not ready fails with [ErrNoRoute].
func (n *NextHop) Ready() bool { return n.cur.Load().ready }

// Generation grows with every change.
func (n *NextHop) Generation() uint64 { return n.cur.Load().generation }

// The names that Mode uses.
const (
	ModeNone      = "none"
	ModeGSO       = "af_packet gso"
	ModePacket    = "af_packet"
	ModeRawSocket = "raw socket"
)

// Mode says how packets leave at present: one of ModeGSO, ModePacket,
// ModeRawSocket (also while the neighbour is being resolved) or ModeNone.
func (n *NextHop) Mode() string {
	h := n.cur.Load()
	switch {
	case !h.ready:
		return ModeNone
	case !h.framed || h.dev.refusesPacket.Load() || n.resolver.noPacket.Load():
		return ModeRawSocket
	case h.dev.kind != linkEther || h.dev.refusesGSO.Load() || n.resolver.noGSO.Load():
		return ModePacket
	}
	return ModeGSO
}

// OnChange has f called after every change, from whichever goroutine noticed
// it; f must not block. cancel ends that; f may be running while cancel returns.
// The handle stays known to its holder only, so f may hold the handle.
func (n *NextHop) OnChange(f func()) (cancel func()) {
	w := &watcher{f: f}
	n.watchers.Store(w, nil)
	return func() { n.watchers.Delete(w) }
}

// publish makes next the current answer unless a later question has been
// answered already, and tells whether readers see a change.
func (n *NextHop) publish(next hop) bool {
	for {
		old := n.cur.Load()
		if old != nil && old.asked > next.asked {
			return false
		}
		changed := old == nil || !old.same(&next)
		if old != nil {
			next.generation = old.generation
		}
		if changed {
			next.generation++
		}
		fresh := next
		if !n.cur.CompareAndSwap(old, &fresh) {
			continue
		}
		if changed {
			n.watchers.Range(func(w, _ any) bool {
				w.(*watcher).f()
				return true
			})
		}
		return changed
	}
}

// touch marks the hop as in use. It writes only if it must, so that pumps on
// several cores do not fight for the cache line.
func (n *NextHop) touch() {
	if !n.used.Load() {
		n.used.Store(true)
	}
}
