package rawtcp

import (
	"slices"
	"time"
)

// MaxUnforeseen bounds the connections of one Cross from ports of the peer's that
// nobody foresaw.
const MaxUnforeseen = 16

// unforeseen answers a SYN to a held port from the address, but from none of the
// ports, of a crossing's remotes, and says whether it did. The NAT of a peer that
// gives each connection a random port lets in nothing but what answers that SYN,
// so none of ours is sent; ours to the remotes have opened the own NAT for the
// address, if that looks at addresses alone or at nothing.
func (c *control) unforeseen(now time.Duration, g *segment) bool {
	h := c.holdings[g.tuple.localPort]
	if h == nil || g.flags&(flagSYN|flagACK|flagFIN|flagRST) != flagSYN || len(c.flows) >= c.t.cfg.MaxFlows {
		return false
	}
	i := slices.IndexFunc(h.crossings, func(x *crossing) bool { return x.expects(g) })
	if i < 0 {
		return false
	}
	x := h.crossings[i]
	f := c.join(now, x, g.tuple, simultaneous{}, x.began+x.what.Timeout)
	c.publish() // before what answers ours can come
	c.step(now, f, event{kind: arrive, seg: g})
	return true
}

// expects says whether the peer of x may be behind g's remote port.
func (x *crossing) expects(g *segment) bool {
	h := x.hops[g.tuple.remoteAddr()]
	return h != nil && h.Source() == g.tuple.localAddr() &&
		!x.cancelled.Load() && len(x.flows)-x.tried < MaxUnforeseen
}

// forget notes that x is over: its first connection is established, or none is.
func (h *holding) forget(x *crossing) {
	h.crossings = slices.DeleteFunc(h.crossings, func(o *crossing) bool { return o == x })
}
