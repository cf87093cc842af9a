package rawtcp

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

// backlog is the half-open connections of all listening ports: those whose SYN
// we answered and may have to answer again. It is a convenience: a handshake
// completes without it too, by cookie, so it is small and a flood that fills it
// harms nobody but those whose SYN-ACK gets lost. No clock, no socket.
type backlog struct {
	entries map[tuple]*halfOpen
	max     int
}

// halfOpen is what a SYN told us and how often we answered.
type halfOpen struct {
	tuple    tuple
	peerISN  uint32
	isn      uint32
	opts     options // the peer's
	tries    int
	deadline time.Duration
	hop      hop
	from     link.Origin // of the SYN
	once     bool        // not kept: the cookie must carry everything
}

func newBacklog(max int) *backlog {
	return &backlog{entries: make(map[tuple]*halfOpen), max: max}
}

// synAckInterval is the kernel's: 1, 2, 4 ... s.
func synAckInterval(n int) time.Duration { return time.Second << n }

// take notes a SYN and returns the entry to answer from. kept is false if the
// backlog is full: the answer is then the only one.
func (b *backlog) take(now time.Duration, g *segment, sec *secrets) (h *halfOpen, kept bool) {
	if h = b.entries[g.tuple]; h != nil && h.peerISN == g.seq {
		h.opts.val = g.opts.val // echo the newest
		return h, true
	}
	h = &halfOpen{tuple: g.tuple, peerISN: g.seq, opts: g.opts, from: g.from, deadline: now + synAckInterval(0)}
	h.isn = sec.makeCookie(&g.tuple, g.seq, cookieClock(now), mssClass(g.opts.mss))
	if _, replace := b.entries[g.tuple]; !replace && len(b.entries) >= b.max {
		h.once = true
		return h, false
	}
	b.entries[g.tuple] = h
	return h, true
}

// complete removes and returns the entry that an ACK completes, if there is one.
// Unlike a cookie it also fits when the first segments were lost.
func (b *backlog) complete(g *segment) *halfOpen {
	h := b.entries[g.tuple]
	const near = 1 << 20
	if h == nil || g.ack != h.isn+1 || g.seq-h.peerISN-1 > near {
		return nil
	}
	delete(b.entries, g.tuple)
	return h
}

// reset removes the entry that a RST refuses (exact sequence number).
func (b *backlog) reset(g *segment) {
	if h := b.entries[g.tuple]; h != nil && g.seq == h.peerISN+1 {
		delete(b.entries, g.tuple)
	}
}

// due calls answer for every entry whose SYN-ACK must be repeated, drops those
// that were repeated retries times, and returns the next deadline (0: none).
func (b *backlog) due(now time.Duration, retries int, answer func(*halfOpen)) (next time.Duration) {
	for t, h := range b.entries {
		if now >= h.deadline {
			if h.tries++; h.tries > retries {
				delete(b.entries, t)
				continue
			}
			h.deadline = now + synAckInterval(h.tries)
			answer(h)
		}
		if next == 0 || h.deadline < next {
			next = h.deadline
		}
	}
	return next
}

// synAck builds the answer to a half-open connection's SYN. mss is ours.
func (h *halfOpen) synAck(p *profile, sec *secrets, mss uint16, ms uint32) header {
	o := options{mss: mss, wscale: -1, sack: p.sack && h.opts.sack}
	effective := int(mss)
	if p.stamps && h.opts.stamps {
		o.stamps, o.ecr = true, h.opts.val
		o.val = stampWithOptions(ms, &h.opts) + p.offset(sec, &h.tuple)
		effective -= stampLen
	}
	if h.opts.wscale >= 0 && (o.stamps || !h.once) {
		o.wscale = p.wscale
	}
	hd := header{tuple: &h.tuple, pseudo: h.tuple.pseudoSum(), ttl: p.hops(&h.tuple),
		flags: flagSYN | flagACK, window: p.startWindow(effective), seq: h.isn, ack: h.peerISN + 1, opts: o}
	if p.flowLabels && h.tuple.v6() {
		hd.label = sec.flowLabel(&h.tuple)
	}
	return hd
}

// offset is what this host adds to the timestamps of a connection.
func (p *profile) offset(sec *secrets, t *tuple) uint32 {
	if !p.stampOffset {
		return 0
	}
	return sec.stampOffset(t)
}

// hops is the TTL or hop limit that this host sends with.
func (p *profile) hops(t *tuple) uint8 {
	if t.v6() {
		return p.hopLimit
	}
	return p.ttl
}
