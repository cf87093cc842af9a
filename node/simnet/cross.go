package simnet

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// Both sides knock often, as those of rawtcp do: after 100, 200, 400 and then every
// 500 ms. Only SYNs that cross on the line open two routers that answer with
// resets what they do not expect.
const firstKnock, lastKnock = 100 * time.Millisecond, 500 * time.Millisecond

// maxUnforeseen bounds the flows of one crossing from ports that nobody foresaw,
// as in rawtcp.
const maxUnforeseen = 16

// held is a local port of TCP: a packet.Held. Who knocks there and is not
// expected gets no answer.
type held struct {
	t        *Transport
	port     uint16
	v6       bool
	openings []*opening // under way; guarded by the net's mutex
}

var _ packet.Held = (*held)(nil)

// Hold implements packet.Crosser. The error wraps syscall.EAFNOSUPPORT if the host
// has no address of that family.
func (t *Transport) Hold(v6 bool) (packet.Held, error) {
	h := t.host
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if t.closed.Load() {
		return nil, net.ErrClosed
	}
	a, ok := h.family(v6)
	if !ok {
		return nil, fmt.Errorf("hold a port on %s: %w", h.name, syscall.EAFNOSUPPORT)
	}
	port := h.ephemeral()
	for h.holder(netip.AddrPortFrom(a, port)) != nil || h.listener(port) != nil || h.inUse(port) {
		port = h.ephemeral()
	}
	held := &held{t: t, port: port, v6: v6}
	t.held = append(t.held, held)
	return held, nil
}

func (h *Host) inUse(port uint16) bool {
	for key := range h.flows {
		if key.local.Port() == port {
			return true
		}
	}
	return false
}

func (h *held) Port() uint16 { return h.port }

// Dial implements packet.Held.
func (h *held) Dial(remote netip.AddrPort, done func(packet.Path, error)) (cancel func()) {
	n := h.t.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	local, err := h.local(remote)
	return h.t.dial(local, remote, err, done)
}

// local is where connections to remote start.
func (h *held) local(remote netip.AddrPort) (netip.AddrPort, error) {
	a, ok := h.t.host.family(h.v6)
	switch {
	case !slices.Contains(h.t.held, h):
		return netip.AddrPort{}, net.ErrClosed
	case !ok || remote.Addr().Is6() != h.v6:
		return netip.AddrPort{}, syscall.ENETUNREACH
	}
	return netip.AddrPortFrom(a, h.port), nil
}

// Release implements packet.Held. Attempts under way go on; cancel ends them.
func (h *held) Release() {
	h.t.host.net.mu.Lock()
	defer h.t.host.net.mu.Unlock()
	h.t.held = slices.DeleteFunc(h.t.held, func(other *held) bool { return other == h })
}

// opening is one simultaneous open: a flow to each address at which the peer may
// be. The first that opens is the one.
type opening struct {
	h     *held
	cfg   packet.Crossing
	begun time.Time
	tries int
	flows []*flow // that may still open
	extra int     // flows from ports that were not foreseen
	done  func(packet.Path, error)
}

// Cross implements packet.Held. done gets a wrapped syscall.ETIMEDOUT after the
// Timeout. Should another of the flows open, too, because the peer took that one
// for the first, it shows up in Arrivals with its first datagram. A SYN from the
// address of a remote is answered whatever its port, as rawtcp does.
func (h *held) Cross(cfg packet.Crossing, done func(packet.Path, error)) (cancel func()) {
	n := h.t.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	c := &opening{h: h, cfg: cfg, begun: time.Now(), done: done}
	err := error(syscall.ENETUNREACH)
	for _, remote := range cfg.Remotes {
		var local netip.AddrPort
		if local, err = h.local(remote); err == nil {
			c.add(local, remote)
		}
	}
	if len(c.flows) == 0 {
		c.fail(err)
		return func() {}
	}
	h.openings = append(h.openings, c)
	c.knock()
	n.clock.at(c.begun.Add(cfg.Timeout), func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		c.fail(syscall.ETIMEDOUT)
	})
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		c.fail(net.ErrClosed)
	}
}

// add starts a flow, unless there is one.
func (c *opening) add(local, remote netip.AddrPort) *flow {
	host := c.h.t.host
	if host.flows[flowKey{local, remote}] != nil {
		return nil
	}
	f := &flow{t: c.h.t, local: local, remote: remote, mtu: host.mtu, attempt: c}
	host.flows[flowKey{local, remote}] = f
	c.flows = append(c.flows, f)
	return f
}

// unforeseen takes a SYN from the address, but from none of the ports, of a remote.
func (h *held) unforeseen(p wirePacket) (taken bool) {
	for _, c := range h.openings {
		if c.extra == maxUnforeseen || !slices.ContainsFunc(c.cfg.Remotes, func(r netip.AddrPort) bool { return r.Addr() == p.src.Addr() }) {
			continue
		}
		if f := c.add(p.dst, p.src); f != nil {
			c.extra++
			f.receive(p)
			return true
		}
	}
	return false
}

// knock sends what each flow has to say, and goes on until the end.
func (c *opening) knock() {
	n := c.h.t.host.net
	if c.done == nil {
		return
	}
	passed := time.Since(c.begun)
	for _, f := range c.flows {
		switch {
		case f.crossed:
			f.emit(wireSYNACK)
		case c.cfg.Hops != 0 && passed < c.cfg.Shy:
			f.emitHops(wireSYN, c.cfg.Hops)
		default:
			f.emit(wireSYN)
		}
	}
	next := passed + min(firstKnock<<min(c.tries, 8), lastKnock)
	c.tries++
	if c.cfg.Hops != 0 && passed < c.cfg.Shy && next >= c.cfg.Shy {
		next, c.tries = c.cfg.Shy, 0
	}
	n.clock.at(c.begun.Add(next), func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		c.knock()
	})
}

// won ends the crossing with f.
func (c *opening) won(f *flow) {
	f.done = c.done
	c.flows = slices.DeleteFunc(c.flows, func(other *flow) bool { return other == f })
	c.end()
}

// lost forgets a flow that has ended.
func (c *opening) lost(f *flow, err error) {
	c.flows = slices.DeleteFunc(c.flows, func(other *flow) bool { return other == f })
	if len(c.flows) == 0 {
		c.fail(err)
	}
}

// fail ends the crossing, if it has not.
func (c *opening) fail(err error) {
	done := c.done
	if done == nil {
		return
	}
	c.end()
	c.h.t.host.net.clock.at(time.Now(), func() {
		done(nil, fmt.Errorf("open a connection from both sides, local port %d: %w", c.h.port, err))
	})
}

// end gives the flows up that are left, but those that the peer may take for the
// first, as they have its SYN and it has been told.
func (c *opening) end() {
	c.done = nil
	c.h.openings = slices.DeleteFunc(c.h.openings, func(other *opening) bool { return other == c })
	n, flows := c.h.t.host.net, c.flows
	c.flows = nil
	for _, f := range flows {
		f.attempt = nil
		if !f.crossed {
			f.end(false, net.ErrClosed)
			continue
		}
		n.clock.at(c.begun.Add(c.cfg.Timeout), func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			if f.state == dialing {
				f.end(false, syscall.ETIMEDOUT)
			}
		})
	}
}
