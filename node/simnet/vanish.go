package simnet

import "net/netip"

// pair names the packets between two addresses with ports, whichever sends.
type pair [2]netip.AddrPort

func pairOf(a, b netip.AddrPort) pair {
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return pair{a, b}
}

// Vanish makes every flow disappear that has used the line between two hosts
// until now: its packets are dropped in both directions and nobody is told,
// while a flow with another address or port passes. Providers do that to
// connections that they have had enough of.
func (n *Net) Vanish(a, b member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	there, back := n.channel(meet(a, b)), n.channel(meet(b, a))
	for _, c := range [2]*channel{there, back} {
		for f := range c.flows {
			there.vanish(f)
			back.vanish(f)
		}
	}
}

// Reappear brings the flows back that have vanished from the line.
func (n *Net) Reappear(a, b member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range [2]*channel{n.channel(meet(a, b)), n.channel(meet(b, a))} {
		clear(c.flows)
	}
}

func (c *channel) vanish(f pair) {
	if c.flows == nil {
		c.flows = map[pair]bool{}
	}
	c.flows[f] = true
}

// vanished notes a packet's flow and says whether it has vanished.
func (c *channel) vanished(p wirePacket) bool {
	f := pairOf(p.src, p.dst)
	dead, known := c.flows[f]
	if !known {
		if c.flows == nil {
			c.flows = map[pair]bool{}
		}
		c.flows[f] = false
	}
	return dead
}
