package rawtcp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

// control is the state of the Transport's actor: everything that is not needed
// for every packet. It outlives a restart of the actor; whoever holds the
// Transport's owner token may use it.
type control struct {
	t       *Transport
	flows   map[tuple]*Flow
	held    []held // listening ports
	backlog *backlog
	strays  limiter
	synMSS  uint16 // our MSS toward the last stranger that we looked up
	dirty   bool   // flows differs from the published table

	holdings map[uint16]*holding

	wake      time.Duration // next scan; 0: none
	refreshed time.Duration // of the wire's local addresses
	buf       [maxHeader + 1]byte
	ack       [maxHeader]byte
}

func (c *control) init(t *Transport) {
	c.t = t
	c.flows = make(map[tuple]*Flow)
	c.holdings = make(map[uint16]*holding)
	c.backlog = newBacklog(t.cfg.MaxHalfOpen)
	c.strays = limiter{perSecond: straysPerSecond}
	c.synMSS = 1460
	c.dirty = true
	c.publish()
}

// Run is the Transport's actor: handshakes, teardown, timers. It returns nil
// when ctx ends or the Transport is closed. Run again, it finds its flows where
// they were.
func (t *Transport) Run(ctx context.Context) error {
	select {
	case <-t.owner:
	case <-t.closing:
		return nil
	case <-ctx.Done():
		return nil
	}
	defer func() { t.owner <- struct{}{} }()

	ctx, cancel := context.WithCancel(ctx)
	watching := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() {
			if p := recover(); p != nil {
				watching <- fmt.Errorf("watching routes and interfaces: panic: %v", p)
			}
		}()
		if err := t.wire.run(ctx); err != nil && ctx.Err() == nil {
			watching <- fmt.Errorf("watching routes and interfaces: %w", err)
		}
	}()
	defer func() {
		cancel()
		<-ended
	}()

	c := &t.state
	timer := time.NewTimer(0) // timers may be due since an earlier run
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.closing:
			return nil
		case err := <-watching:
			return err
		case m := <-t.inbox.C():
			c.handle(&m)
			c.handleQueued()
		case <-t.poke.C():
			c.scan(t.now())
		case <-timer.C:
			c.scan(t.now())
		}
		c.publish()
		c.arm(timer)
	}
}

func (c *control) arm(timer *time.Timer) {
	if c.wake == 0 {
		timer.Stop()
		return
	}
	timer.Reset(max(c.wake-c.t.now(), 0))
}

func (c *control) wakeAt(at time.Duration) {
	if at != 0 && (c.wake == 0 || at < c.wake) {
		c.wake = at
	}
}

// handleQueued handles what is waiting already, so that the table is copied
// once for a burst of handshakes.
func (c *control) handleQueued() {
	for range mailboxSize {
		select {
		case m := <-c.t.inbox.C():
			c.handle(&m)
		default:
			return
		}
	}
}

func (c *control) handle(m *message) {
	now := c.t.now()
	switch {
	case m.dial != nil:
		c.dial(now, m.dial)
		if m.dial.from != nil {
			c.seen(m.dial.from)
		}
	case m.hold != nil:
		c.hold(m.hold)
	case m.cross != nil:
		c.cross(now, m.cross)
		c.seen(m.cross.from)
	case m.accepted != nil:
		c.adopt(now, m.accepted)
	case m.flow != nil:
		if m.flow.phase.Load() != phaseGone {
			c.step(now, m.flow, event{kind: arrive, seg: &m.seg})
		}
	default:
		c.stranger(now, &m.seg)
	}
}

// publish shows the pumps the present flows.
func (c *control) publish() {
	c.t.halves.Store(int32(len(c.backlog.entries)))
	if !c.dirty {
		return
	}
	c.dirty = false
	c.t.table.Store(&table{flows: maps.Clone(c.flows), listen: c.t.cfg.Listen})
}

// step advances a flow's machine and carries out what it says.
func (c *control) step(now time.Duration, f *Flow, ev event) {
	m := &f.machine
	before := m.state
	out := m.step(now, ev)
	c.wakeAt(m.wake())
	opened := before < established && m.state == established
	switch {
	case opened:
		f.phase.Store(phaseOpen)
		c.publish()
	case before == established && m.state != established:
		f.phase.Store(phaseClosing)
		f.changed()
		c.t.log.Debug("connection ends", "path", f, "reason", out.reason)
	}
	for _, r := range out.replies[:out.n] {
		c.reply(now, f, r)
	}
	if opened {
		c.t.log.Debug("connection established", "path", f)
		if c.t.waiting.Load() {
			c.t.wire.wake()
		}
		if f.cross != nil {
			c.crossed(now, f)
		} else if !f.dial.answer(f, nil) {
			f.Close()
		}
	}
	if m.state == closed {
		c.remove(f, out.reason)
	}
}

// reply sends what a machine wants sent.
func (c *control) reply(now time.Duration, f *Flow, r reply) {
	ms := millis(now)
	if r.bare {
		c.bare(f.hop, link.Origin{}, &f.tuple, r.flags, r.seq, r.ack)
		return
	}
	h := header{flags: r.flags, seq: r.seq, id: uint16(f.ipID.Add(1) - 1)}
	f.fill(&h, ms)
	if r.hops != 0 {
		h.ttl = r.hops
	}
	n := 0
	switch {
	case r.flags&flagSYN != 0:
		p := c.t.profile
		h.opts = options{mss: ownMSS(f.hop, f.v6), wscale: p.wscale, sack: p.sack}
		if p.stamps {
			h.opts.stamps, h.opts.val = true, f.stamp(ms)
		}
		h.window = uint16(f.initial)
		if r.flags&flagACK != 0 { // only what the peer's SYN offered
			h.ack = f.rcvNxt.Load()
			h.opts.sack = p.sack && f.machine.cross.sack
			h.opts.stamps, h.opts.ecr = f.stamps, f.recent.Load()
			if f.ownScale == 0 {
				h.opts.wscale = -1
			}
		} else {
			h.ack = 0
		}
	case r.probe:
		n = 1
	}
	ip, tcp := h.size()
	h.put(c.buf[:ip+tcp], n)
	c.buf[ip+tcp] = 0
	c.t.sent(c.t.wire.sendPacket(f.hop, c.buf[:ip+tcp+n]))
}

// bare sends a segment outside any connection, as the kernel does: no options,
// no window, IP id 0. See transmit for h and from.
func (c *control) bare(h hop, from link.Origin, tu *tuple, flags uint8, seq, ack uint32) {
	hd := header{tuple: tu, pseudo: tu.pseudoSum(), ttl: c.t.profile.hops(tu), flags: flags, seq: seq, ack: ack, opts: options{wscale: -1}}
	c.transmit(h, from, &hd)
}

// transmit sends a segment without payload by h, or, to a stranger for whom no
// way was looked up (nil), back through the interface that its own came from.
func (c *control) transmit(h hop, from link.Origin, hd *header) {
	ip, tcp := hd.size()
	pkt := c.buf[:ip+tcp]
	hd.put(pkt, 0)
	if h != nil {
		c.t.sent(c.t.wire.sendPacket(h, pkt))
		return
	}
	finishChecksum(pkt)
	c.t.sent(c.t.wire.answer(from, pkt))
}

// sent counts what could not be sent.
func (t *Transport) sent(err error) {
	switch {
	case err == nil:
	case errors.Is(err, packet.ErrFull):
		t.drops.add(dropQueueFull, 1)
	case errors.Is(err, link.ErrNoRoute):
		t.drops.add(dropNoRoute, 1)
	default:
		t.drops.add(dropSendError, 1)
	}
}
