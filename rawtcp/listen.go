package rawtcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

// held is a listening port that we hold.
type held struct {
	reservation
	port uint16
}

// listen takes the listening ports. IPv4 and IPv6 wildcards of one port are one
// reservation, as a dual-stack socket.
func (c *control) listen(addrs []netip.AddrPort) error {
	for _, a := range addrs {
		if a.Addr() == netip.IPv4Unspecified() && c.dualStack(a.Port(), addrs) {
			continue
		}
		r, err := c.t.wire.reserve(a, true)
		if err != nil && errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("listen %v: address in use: see who has it with `ss -ltnp`, or choose another port: %w", a, err)
		}
		if err != nil {
			return fmt.Errorf("listen %v: %w", a, err)
		}
		c.held = append(c.held, held{r, a.Port()})
		c.t.log.Info("listening", "address", a)
	}
	c.t.wire.refresh()
	if len(c.held) == 0 {
		return nil
	}
	return c.setPorts()
}

func (c *control) dualStack(port uint16, addrs []netip.AddrPort) bool {
	for _, a := range addrs {
		if a == netip.AddrPortFrom(netip.IPv6Unspecified(), port) {
			return true
		}
	}
	return false
}

// setPorts tells the wire which local ports are ours now.
func (c *control) setPorts() error {
	seen := make(map[uint16]bool)
	ports := make([]uint16, 0, len(c.held)+len(c.flows))
	add := func(p uint16) {
		if !seen[p] {
			seen[p] = true
			ports = append(ports, p)
		}
	}
	for _, h := range c.held {
		add(h.port)
	}
	for p := range c.holdings {
		add(p)
	}
	for _, f := range c.flows {
		if f.port != nil {
			add(f.tuple.localPort)
		}
	}
	err := c.t.wire.setPorts(ports)
	if err != nil {
		c.t.log.Error("cannot take or give back local TCP ports", "reason", err)
	}
	return err
}

// dial starts a connection.
func (c *control) dial(now time.Duration, d *dial) {
	fail := func(err error) { d.answer(nil, fmt.Errorf("dial %v: %w", d.remote, err)) }
	switch {
	case d.cancelled.Load():
		d.answer(nil, net.ErrClosed)
		return
	case len(c.flows) >= c.t.cfg.MaxFlows:
		fail(fmt.Errorf("there are %d connections already, the most allowed", len(c.flows)))
		return
	}
	if err := checkRemote(d.remote); err != nil {
		fail(err)
		return
	}
	h, err := c.t.wire.lookup(netip.Addr{}, d.remote.Addr())
	if err != nil {
		fail(err)
		return
	}
	if !h.Ready() || !h.Source().IsValid() {
		fail(fmt.Errorf("no route to %v", d.remote.Addr()))
		return
	}
	port, err := c.localPort(d, h.Source())
	if err != nil {
		fail(err)
		return
	}
	tu := newTuple(netip.AddrPortFrom(h.Source(), port.Port()), d.remote)
	if c.flows[tu] != nil { // only from a held port
		fail(fmt.Errorf("there is a connection from local port %d already", tu.localPort))
		return
	}
	f := c.t.dialledFlow(tu, h, d, now)
	f.port = port
	c.flows[tu] = f
	c.dirty = true
	if d.from != nil {
		d.from.flows++
	} else if err := c.setPorts(); err != nil {
		c.remove(f, fmt.Errorf("dial %v: %w", d.remote, err))
		return
	}
	c.follow(f)
	c.publish() // before the answer can come
	c.step(now, f, event{kind: open})
}

// localPort is the port that d shall come from.
func (c *control) localPort(d *dial, source netip.Addr) (reservation, error) {
	if d.from != nil {
		return d.from, d.from.usable(d.remote.Addr())
	}
	port, err := c.t.wire.reserve(netip.AddrPortFrom(source, 0), false)
	if err != nil {
		return nil, fmt.Errorf("reserving a local port on %v: %w", source, err)
	}
	return port, nil
}

// follow has f told of changes of its way.
func (c *control) follow(f *Flow) {
	f.unwatch = f.hop.OnChange(func() {
		c.t.poke.Give()
		f.changed()
	})
}

func checkRemote(a netip.AddrPort) error {
	if !a.IsValid() || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().IsMulticast() {
		return errors.New("an address and a port of another host are needed")
	}
	return nil
}

// adopt takes over a flow that the pump accepted by its cookie.
func (c *control) adopt(now time.Duration, f *Flow) {
	if c.flows[f.tuple] != nil {
		f.phase.Store(phaseGone)
		return
	}
	if len(c.flows) >= c.t.cfg.MaxFlows {
		c.t.drops.add(dropFlowLimit, 1)
		f.phase.Store(phaseGone)
		c.bare(f.hop, link.Origin{}, &f.tuple, flagRST, f.sndNxt.Load(), 0)
		return
	}
	if h := c.backlog.entries[f.tuple]; h != nil { // it knows more than the cookie
		f.mss.Store(max(uint32(h.opts.mss), f.mss.Load()))
		delete(c.backlog.entries, f.tuple)
	}
	c.flows[f.tuple] = f
	c.dirty = true
	c.wakeAt(now + ackDelay*time.Millisecond) // the first datagram waits for its acknowledgement
	c.t.log.Debug("connection accepted", "path", f)
}

// stranger handles a segment that belongs to no flow, as the kernel's TCP would.
func (c *control) stranger(now time.Duration, g *segment) {
	if f := c.flows[g.tuple]; f != nil { // it has become one since
		c.step(now, f, event{kind: arrive, seg: g})
		return
	}
	local, remote := g.tuple.localAddr(), g.tuple.remoteAddr()
	if !c.local(now, local) || remote.IsUnspecified() || remote.IsMulticast() || g.tuple.remotePort == 0 {
		c.t.drops.add(dropStray, 1)
		return
	}
	listening := c.t.table.Load().listens(&g.tuple)
	switch {
	case g.has(flagRST):
		c.backlog.reset(g)
	case listening && g.flags&(flagSYN|flagACK|flagFIN) == flagSYN:
		c.syn(now, g)
	case c.unforeseen(now, g):
	case g.has(flagSYN) && c.holdings[g.tuple.localPort] != nil:
		// A reset would close the NATs that a crossing is about to open, or tell a
		// peer that was late about one that has another way already.
		c.t.drops.add(dropStray, 1)
	case listening && !g.has(flagSYN) && g.has(flagACK) && c.complete(now, g):
	case !c.strays.allow(now):
		c.t.drops.add(dropStray, 1)
	case g.has(flagACK):
		c.t.drops.add(dropStray, 1)
		c.bare(nil, g.from, &g.tuple, flagRST, g.ack, 0)
	default:
		c.t.drops.add(dropStray, 1)
		n := uint32(len(g.payload))
		if g.has(flagSYN) {
			n++
		}
		if g.has(flagFIN) {
			n++
		}
		c.bare(nil, g.from, &g.tuple, flagRST|flagACK, 0, g.seq+n)
	}
}

// local reports whether addr is ours; an unknown one has the list read anew, at
// most once a second.
func (c *control) local(now time.Duration, addr netip.Addr) bool {
	if c.t.wire.isLocal(addr) {
		return true
	}
	if c.refreshed != 0 && now-c.refreshed < time.Second {
		return false
	}
	c.refreshed = now
	c.t.wire.refresh()
	return c.t.wire.isLocal(addr)
}

// syn answers a SYN.
func (c *control) syn(now time.Duration, g *segment) {
	if len(c.flows) >= c.t.cfg.MaxFlows {
		c.t.drops.add(dropFlowLimit, 1)
		return
	}
	h, kept := c.backlog.take(now, g, c.t.secrets)
	if kept && h.hop == nil {
		hop, err := c.t.wire.lookup(g.tuple.localAddr(), g.tuple.remoteAddr())
		if err != nil || !hop.Ready() {
			delete(c.backlog.entries, g.tuple)
			c.t.drops.add(dropNoRoute, 1)
			return
		}
		h.hop = hop
	}
	c.synAck(now, h)
	if kept {
		c.wakeAt(h.deadline)
	}
}

// synAck sends the answer to a SYN. Those that are kept go the way of their
// connection's segments, the others wherever the kernel routes them.
func (c *control) synAck(now time.Duration, h *halfOpen) {
	if h.hop != nil {
		c.synMSS = ownMSS(h.hop, h.tuple.v6())
	}
	hd := h.synAck(c.t.profile, c.t.secrets, c.synMSS, millis(now))
	c.transmit(h.hop, h.from, &hd)
}

// complete accepts a connection whose handshake the pump could not judge by the
// cookie alone: the first segments were lost, or there are no timestamps. The
// segment's own datagrams are lost with it.
func (c *control) complete(now time.Duration, g *segment) bool {
	o := options{wscale: -1}
	h := c.backlog.complete(g)
	switch {
	case h != nil:
		o = h.opts
		o.stamps = c.t.profile.stamps && h.opts.stamps
		if o.stamps && !g.opts.stamps {
			return false
		}
	case !g.opts.stamps:
		mss, ok := c.t.secrets.checkCookie(&g.tuple, g.seq-1, g.ack-1, cookieClock(now))
		if !ok {
			return false
		}
		o.mss = mss
	default:
		return false
	}
	o.val, o.ecr = g.opts.val, g.opts.ecr
	hop, err := c.t.wire.lookup(g.tuple.localAddr(), g.tuple.remoteAddr())
	if err != nil {
		c.t.drops.add(dropNoRoute, 1)
		return true
	}
	f := c.t.acceptedFlow(g, hop, &o, now)
	c.adopt(now, f)
	if f.phase.Load() == phaseOpen {
		f.take(g, millis(now))
		c.t.wakeForTimers()
	}
	return true
}
