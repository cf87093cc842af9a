package rawtcp

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

// rx is what belongs to the receiving pump alone.
type rx struct {
	t        *Transport
	out      packet.Arrivals
	spare    arena
	seg      segment
	young    map[tuple]*Flow // accepted here, not yet in the published table
	lastFlow *Flow           // of the packet before, while the same table lasts
	lastIn   *table
	strays   limiter
	early    early
	buf      [maxHeader]byte
}

// straysPerSecond bounds the answers to packets that belong to no connection,
// like the kernel's limit on ICMP errors; enough for every peer of a restarted
// node to learn of it at once.
const straysPerSecond = 200

func (r *rx) init(t *Transport) {
	r.t = t
	r.young = make(map[tuple]*Flow)
	r.strays = limiter{perSecond: straysPerSecond}
}

// Receive implements [packet.Receiver]. Data and acknowledgements are handled
// here, to completion; handshakes, FINs and resets go to the actor.
func (t *Transport) Receive() (packet.Arrivals, error) {
	r := &t.rx
	for {
		packets, err := t.wire.receive()
		if err != nil {
			return nil, err
		}
		r.take(packets)
		if len(r.out) > 0 || len(packets) == 0 {
			return r.out, nil
		}
	}
}

// Poll implements [packet.Poller].
func (t *Transport) Poll() (packet.Arrivals, error) {
	packets, err := t.wire.poll()
	if err != nil {
		return nil, err
	}
	t.rx.take(packets)
	return t.rx.out, nil
}

// Descriptor implements [packet.Poller].
func (t *Transport) Descriptor() (int, error) { return t.wire.descriptor() }

// take makes arrivals of packets.
func (r *rx) take(packets []link.Packet) {
	r.out = r.out[:0]
	r.spare.reset()
	now, tab := r.t.now(), r.t.table.Load()
	if len(r.young) > 0 {
		r.settle(tab)
	}
	for i := range packets {
		r.packet(tab, &packets[i], now)
	}
	if len(r.early.packets) > 0 {
		r.retry(tab, now)
	}
}

// Wake implements [packet.Receiver].
func (t *Transport) Wake() { t.wire.wake() }

// settle forgets young flows that the actor has published or refused.
func (r *rx) settle(tab *table) {
	for tu, f := range r.young {
		if tab.flows[tu] != nil || f.phase.Load() == phaseGone {
			delete(r.young, tu)
		}
	}
}

func (r *rx) find(tab *table, tu *tuple) *Flow {
	if r.lastIn == tab && r.lastFlow != nil && r.lastFlow.tuple == *tu {
		return r.lastFlow
	}
	f := tab.flows[*tu]
	if f == nil && len(r.young) > 0 {
		return r.young[*tu]
	}
	r.lastIn, r.lastFlow = tab, f
	return f
}

func (r *rx) packet(tab *table, p *link.Packet, now time.Duration) {
	t, g := r.t, &r.seg
	if !g.parse(p.IP) {
		t.drops.add(dropMalformed, 1)
		return
	}
	g.from = p.From
	f := r.find(tab, &g.tuple)
	if f == nil {
		if f = r.accept(tab, g, now); f == nil {
			r.stranger(g, now)
			return
		}
	}
	if phase := f.phase.Load(); phase != phaseOpen || g.flags&(flagSYN|flagRST) != 0 {
		if phase == phaseOpening && len(g.payload) > 0 && r.early.keep(p) {
			t.waiting.Store(true)
		}
		r.offer(g, f)
		return
	}
	if !g.has(flagACK) {
		t.drops.add(dropMalformed, 1)
		return
	}
	ms := millis(now)
	switch f.take(g, ms) {
	case refused:
		t.drops.add(dropOutOfWindow, 1)
		return
	case refusedStamp:
		t.drops.add(dropBadTimestamp, 1)
		return
	case refusedProbe:
		t.drops.add(dropOutOfWindow, 1)
		t.sendAck(f, ms, &r.buf)
		return
	case acceptedAck:
		t.sendAck(f, ms, &r.buf)
	case accepted:
		if len(g.payload) > 0 {
			t.wakeForTimers() // the delayed acknowledgement
		}
	}
	if len(g.payload) > 0 {
		var junk int
		r.out, junk = f.cut.cut(r.out, f, &r.spare, g.seq, g.payload, p.SegmentSize)
		if junk > 0 && len(g.payload) > 1 { // a single byte is a probe
			t.drops.add(dropJunk, 1)
		}
	}
	if g.has(flagFIN) {
		g.seq += uint32(len(g.payload))
		g.payload = nil
		r.offer(g, f)
	}
}

// offer gives a copy of g to the actor, which reads only the payload's length.
func (r *rx) offer(g *segment, f *Flow) {
	r.t.inbox.Ref().Offer(message{seg: *g, flow: f})
}

// stranger handles a segment that belongs to no connection. The actor decides;
// what is not a SYN to a listening port reaches it at a bounded rate.
func (r *rx) stranger(g *segment, now time.Duration) {
	if g.flags&(flagSYN|flagACK|flagRST) != flagSYN && !r.strays.allow(now) {
		r.t.drops.add(dropStray, 1)
		return
	}
	r.offer(g, nil)
}

// accept makes a flow of the segment that completes a handshake, here and not
// in the actor, because the first datagram may be in it or right behind it.
// The cookie is proof enough; the actor learns of the flow and keeps it.
func (r *rx) accept(tab *table, g *segment, now time.Duration) *Flow {
	t := r.t
	if g.flags&(flagACK|flagSYN|flagRST) != flagACK || !g.opts.stamps || !t.profile.stamps ||
		!tab.listens(&g.tuple) || !t.wire.isLocal(g.tuple.localAddr()) {
		return nil
	}
	mss, ok := t.secrets.checkCookie(&g.tuple, g.seq-1, g.ack-1, cookieClock(now))
	if !ok {
		return nil
	}
	echo := g.opts.ecr - t.profile.offset(t.secrets, &g.tuple)
	if age := millis(now) - echo; age > uint32(cookieSlots*cookieSlot/time.Millisecond) {
		return nil
	}
	h, err := t.wire.lookup(g.tuple.localAddr(), g.tuple.remoteAddr())
	if err != nil {
		t.drops.add(dropNoRoute, 1)
		return nil
	}
	o := options{mss: mss, wscale: scaleInStamp(echo), stamps: true, val: g.opts.val, ecr: g.opts.ecr}
	f := t.acceptedFlow(g, h, &o, now)
	if !t.inbox.Ref().Offer(message{accepted: f}) {
		return nil
	}
	r.young[f.tuple] = f
	return f
}

// sendAck sends a pure acknowledgement. buf is scratch space of the calling
// goroutine.
func (t *Transport) sendAck(f *Flow, ms uint32, buf *[maxHeader]byte) {
	h := header{seq: f.sndNxt.Load(), flags: flagACK, id: uint16(f.ipID.Add(1) - 1)}
	f.fill(&h, ms)
	ip, tcp := h.size()
	h.put(buf[:ip+tcp], 0)
	t.sent(t.wire.sendPacket(f.hop, buf[:ip+tcp]))
}
