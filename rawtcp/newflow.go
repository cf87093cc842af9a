package rawtcp

import (
	"math/rand/v2"
	"time"
)

// newFlow returns a flow whose stream has everything that does not depend on
// the peer. mss is ours.
func (t *Transport) newFlow(tu tuple, h hop, now time.Duration) *Flow {
	f := &Flow{transport: t, hop: h, born: now}
	s := &f.stream
	s.tuple, s.pseudo, s.v6, s.ttl = tu, tu.pseudoSum(), tu.v6(), t.profile.hops(&tu)
	if t.profile.flowLabels && s.v6 {
		s.label = t.secrets.flowLabel(&tu)
	}
	s.offset = t.profile.offset(t.secrets, &tu)
	s.ceiling = 65535
	s.quick.Store(quickAcks)
	s.ipID.Store(rand.Uint32())
	f.machine = machine{s: s, profile: t.profile}
	return f
}

// ownMSS is the MSS option that this host sends on the way h.
func ownMSS(h hop, v6 bool) uint16 {
	n := h.MTU() - ip4Len - tcpLen
	if v6 {
		n = h.MTU() - ip6Len - tcpLen
	}
	return uint16(min(max(n, 536), 65535))
}

// dialledFlow returns a flow that is ready to send its SYN.
func (t *Transport) dialledFlow(tu tuple, h hop, d *dial, now time.Duration) *Flow {
	f := t.newFlow(tu, h, now)
	f.dial = d
	const micro4 = 4 * time.Microsecond // RFC 6528
	f.machine.sent = t.secrets.initialSequence(&tu, uint32(time.Now().UnixNano()/int64(micro4)))
	f.machine.giveUp = now + t.cfg.DialTimeout
	f.sndNxt.Store(f.machine.sent + 1)
	f.setWindow(t.profile.startWindow(int(ownMSS(h, f.v6))))
	f.phase.Store(phaseOpening)
	return f
}

// acceptedFlow returns an established flow for the segment g that completed a
// handshake in which the peer said o.
func (t *Transport) acceptedFlow(g *segment, h hop, o *options, now time.Duration) *Flow {
	f := t.newFlow(g.tuple, h, now)
	s := &f.stream
	s.stamps = o.stamps
	s.negotiate(t.profile, o)
	s.sndNxt.Store(g.ack)
	s.sndUna.Store(g.ack)
	s.sndEdge.Store(g.ack + uint32(g.window)<<s.peerScale.Load())
	s.rcvNxt.Store(g.seq)
	s.ackSent.Store(g.seq)
	s.recent.Store(o.val)
	s.oldest.Store(o.ecr)
	mss := int(ownMSS(h, f.v6))
	if s.stamps {
		mss -= stampLen
	}
	f.setWindow(t.profile.startWindow(mss))
	f.machine.state = established
	f.phase.Store(phaseOpen)
	return f
}

func (s *stream) setWindow(w uint16) {
	s.initial = uint32(w)
	s.rcvWindow.Store(uint32(w))
}
