package rawtcp

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// machine is the TCP state of one connection (RFC 9293, 3.3.2) without clock,
// socket or goroutine: step takes the time and one event and says what to send.
// The numbers of the established connection are in the stream, which others
// change at the same time; everything else belongs to whoever calls step.
//
// A connection accepted by a listener begins in established: until then a
// cookie (and maybe an entry of the [backlog]) stands for it.
type machine struct {
	s       *stream
	profile *profile

	state    state
	deadline time.Duration // of the pending timer; 0: none
	tries    int           // retransmissions or probes since the last progress
	began    time.Duration
	giveUp   time.Duration // synSent and synReceived end then
	sent     uint32        // before established: initial sequence number; closing states: that of our FIN
	firstSYN uint32        // ms
	cross    *simultaneous // the peer opens this connection too; nil: not, or no more
	una      uint32        // established: the acknowledgement that the probe timer runs for
}

// state is a state of RFC 9293. SYN-RECEIVED is that of a simultaneous open; of a
// listener it lives in the backlog. CLOSE-WAIT does not exist: a connection whose
// peer closes is of no use and closes too.
type state uint8

const (
	synSent state = iota
	synReceived
	established
	finWait1
	finWait2
	closing
	timeWait
	lastAck
	closed
)

func (s state) String() string {
	return [...]string{"syn-sent", "syn-received", "established", "fin-wait-1", "fin-wait-2", "closing", "time-wait", "last-ack", "closed"}[s]
}

// event is what happens to a machine.
type event struct {
	kind eventKind
	seg  *segment // arrive only
}

type eventKind uint8

const (
	open   eventKind = iota // send the first SYN
	arrive                  // a segment that [stream.take] does not handle alone
	tick                    // time has passed
	shut                    // the owner closes
)

// reply is a segment that step wants sent.
type reply struct {
	flags uint8
	seq   uint32
	ack   uint32 // SYN-ACKs and resets; otherwise the stream knows
	probe bool   // with one byte of payload
	bare  bool   // without options and window: a reset outside any connection
	hops  uint8  // to live; 0: as many as ever
}

// output is what step wants done: replies to send, and why the connection ended
// if the state is now closed or closing.
type output struct {
	replies [2]reply
	n       int
	reason  error
}

func (o *output) send(r reply) {
	o.replies[o.n] = r
	o.n++
}

// Times of the closing states. The kernel waits for minutes to protect a new
// connection with the same addresses; ours always come from a fresh random port.
const (
	finWait2Time = 2 * time.Second
	timeWaitTime = time.Second
	finRetries   = 5
	probeRetries = 9 // with doubling pauses: silent for about a minute
	maxPause     = 10 * time.Second
)

var (
	errReset   = errors.New("connection reset by the other side")
	errPeerFIN = errors.New("connection closed by the other side")
	errSilent  = errors.New("the other side acknowledges nothing any more")
)

// step advances the machine. It must not be called again once closed.
func (m *machine) step(now time.Duration, ev event) (out output) {
	switch ev.kind {
	case open:
		m.began, m.firstSYN = now, millis(now)
		m.deadline = now + m.profile.synInterval(0)
		out.send(reply{flags: flagSYN, seq: m.sent})
	case shut:
		m.shut(now, &out)
	case tick:
		m.tick(now, &out)
	case arrive:
		switch {
		case m.state == closed:
		case m.cross != nil:
			m.meet(now, ev.seg, &out)
		case m.state == synSent:
			m.answered(now, ev.seg, &out)
		default:
			m.arrived(now, ev.seg, &out)
		}
	}
	return out
}

func (m *machine) shut(now time.Duration, out *output) {
	switch m.state {
	case synSent, synReceived:
		m.end(out, net.ErrClosed)
	case established:
		m.sendFIN(now, finWait1, out)
		out.reason = net.ErrClosed
	}
}

func (m *machine) end(out *output, why error) {
	m.state, m.deadline, out.reason = closed, 0, why
}

func (m *machine) sendFIN(now time.Duration, next state, out *output) {
	m.state, m.tries = next, 0
	m.sent = m.s.sndNxt.Add(1) - 1
	m.deadline = now + m.pause()
	out.send(reply{flags: flagFIN | flagACK, seq: m.sent})
}

// answered handles a segment in SYN-SENT (RFC 9293, 3.10.7.3). A SYN without
// ACK, a simultaneous open, is not taken: see [simultaneous].
func (m *machine) answered(now time.Duration, g *segment, out *output) {
	if !g.has(flagACK) {
		return
	}
	if g.ack != m.sent+1 {
		if !g.has(flagRST) {
			out.send(reply{flags: flagRST, seq: g.ack, bare: true})
		}
		return
	}
	remote := m.s.tuple.remoteAddrPort()
	if g.has(flagRST) {
		m.end(out, fmt.Errorf("connection refused by %s: is a node listening there?", remote))
		return
	}
	if !g.has(flagSYN) {
		return
	}
	if !m.learn(now, g) {
		return
	}
	m.state, m.deadline, m.tries = established, 0, 0
	out.send(reply{flags: flagACK, seq: g.ack})
}

// learn takes over what the peer says in its SYN or SYN-ACK. It does not if that
// is no answer to our SYN (RFC 7323, 3.2: the echoed timestamp).
func (m *machine) learn(now time.Duration, g *segment) bool {
	s := m.s
	stamps := m.profile.stamps && g.opts.stamps
	if stamps && g.has(flagACK) {
		if !m.echoes(now, g) {
			return false
		}
		s.rtt.Store(s.stamp(millis(now)) - g.opts.ecr)
	}
	if s.stamps = stamps; stamps {
		s.oldest.Store(s.stamp(m.firstSYN))
		s.recent.Store(g.opts.val)
	}
	s.negotiate(m.profile, &g.opts)
	s.rcvNxt.Store(g.seq + 1)
	s.ackSent.Store(g.seq + 1)
	s.sndUna.Store(m.sent)
	if g.has(flagACK) {
		s.sndUna.Store(g.ack)
	}
	s.sndNxt.Store(m.sent + 1)
	s.sndEdge.Store(m.sent + 1 + uint32(g.window)) // never scaled in a SYN
	if m.cross != nil {
		m.cross.sack = g.opts.sack
	}
	return true
}

// echoes reports whether g echoes a timestamp that we have sent since our SYN.
func (m *machine) echoes(now time.Duration, g *segment) bool {
	s := m.s
	return !before(g.opts.ecr, s.stamp(m.firstSYN)) && !before(s.stamp(millis(now)), g.opts.ecr)
}

// arrived handles what the receiving goroutine leaves to us: SYN, RST, FIN, and
// everything once we are closing.
func (m *machine) arrived(now time.Duration, g *segment, out *output) {
	s := m.s
	next := s.rcvNxt.Load()
	switch {
	case g.has(flagRST): // RFC 5961, 3.2
		inside := !before(g.seq, next) && before(g.seq, next+uint32(s.window())<<s.ownScale)
		switch {
		case g.seq == next || g.seq == s.ackSent.Load():
			m.end(out, errReset)
		case inside:
			m.challenge(now, out)
		}
		return
	case g.has(flagSYN): // RFC 5961, 4.2
		m.challenge(now, out)
		return
	case !g.has(flagACK):
		return
	}
	end := g.seq + uint32(len(g.payload))
	far := int32(end - next)
	if far < -int32(s.ceiling) || far > int32(uint32(s.window())<<s.ownScale) || before(s.sndNxt.Load(), g.ack) {
		m.challenge(now, out)
		return
	}
	if m.state != established && len(g.payload) > 0 {
		raise(&s.rcvNxt, end)
	}
	finAcked := m.state != established && !before(g.ack, m.sent+1)
	raise(&s.sndUna, g.ack)
	if g.has(flagFIN) {
		raise(&s.rcvNxt, end+1)
	}
	switch m.state {
	case established:
		if g.has(flagFIN) {
			m.sendFIN(now, lastAck, out)
			out.reason = errPeerFIN
		}
		return
	case finWait1, finWait2:
		switch {
		case g.has(flagFIN) && finAcked:
			m.state, m.deadline = timeWait, now+timeWaitTime
		case g.has(flagFIN):
			m.state = closing
		case finAcked && m.state == finWait1:
			m.state, m.deadline = finWait2, now+finWait2Time
		}
	case closing:
		if finAcked {
			m.state, m.deadline = timeWait, now+timeWaitTime
		}
	case lastAck:
		if finAcked {
			m.end(out, errPeerFIN)
			return
		}
	}
	if g.has(flagFIN) || len(g.payload) > 0 {
		out.send(reply{flags: flagACK, seq: s.sndNxt.Load()})
	}
}

func (m *machine) challenge(now time.Duration, out *output) {
	if m.s.challenge(millis(now)) == refusedProbe {
		out.send(reply{flags: flagACK, seq: m.s.sndNxt.Load()})
	}
}

func (m *machine) tick(now time.Duration, out *output) {
	if m.state == established {
		m.watch(now, out)
		return
	}
	if m.state == closed || m.deadline == 0 {
		return
	}
	if m.state < established && now >= m.giveUp {
		remote := m.s.tuple.remoteAddrPort()
		m.end(out, fmt.Errorf("no answer from %s within %v: is it up, and may TCP port %d pass?",
			remote, (m.giveUp-m.began).Round(time.Millisecond), remote.Port()))
		return
	}
	if now < m.deadline {
		return
	}
	if m.cross != nil {
		m.knock(now, out)
		return
	}
	m.tries++
	switch m.state {
	case synSent:
		if m.tries > m.profile.synRetries { // wait for giveUp
			m.deadline = m.giveUp
			return
		}
		m.deadline = now + m.profile.synInterval(m.tries)
		out.send(reply{flags: flagSYN, seq: m.sent})
	case finWait1, closing, lastAck:
		if m.tries > finRetries {
			m.end(out, errSilent)
			return
		}
		m.deadline = now + m.pause()
		out.send(reply{flags: flagFIN | flagACK, seq: m.sent})
	case finWait2, timeWait:
		m.end(out, net.ErrClosed)
	}
}

// watch looks after bytes in flight. Lost ones are never sent again, so if
// nothing that follows draws an acknowledgement, a probe of one byte at the end
// of what was sent does: it keeps the peer's window from closing for good, and
// middleboxes from ageing a connection that seems unacknowledged.
func (m *machine) watch(now time.Duration, out *output) {
	una := m.s.sndUna.Load()
	switch {
	case m.s.inFlight() == 0:
		m.deadline, m.tries = 0, 0
	case m.deadline == 0 || una != m.una:
		m.una, m.tries = una, 0
		m.deadline = now + m.pause()
	case now < m.deadline:
	case m.tries == probeRetries:
		m.end(out, errSilent)
	default:
		m.tries++
		m.deadline = now + m.pause()
		out.send(reply{flags: flagACK, seq: m.s.sndNxt.Load() - 1, probe: true})
	}
}

// pause is the retransmission timeout (RFC 6298, with Linux's minimum) after
// m.tries tries.
func (m *machine) pause() time.Duration {
	d := 207*time.Millisecond + time.Duration(m.s.rtt.Load())*time.Millisecond
	return min(d<<m.tries, maxPause)
}

// wake is when step wants its next tick, 0 for not at all.
func (m *machine) wake() time.Duration {
	if m.state < established && m.deadline != 0 {
		return min(m.deadline, m.giveUp)
	}
	return m.deadline
}

// millis is the clock of a stream at now.
func millis(now time.Duration) uint32 { return uint32(now / time.Millisecond) }

// negotiate takes over the peer's options from its SYN or SYN-ACK.
func (s *stream) negotiate(p *profile, o *options) {
	const defaultMSS = 536 // RFC 9293, 3.7.1
	mss := uint32(o.mss)
	if mss == 0 {
		mss = defaultMSS
	}
	s.mss.Store(max(mss, 88)) // as Linux's TCP_MIN_MSS
	if p.wscale >= 0 && o.wscale >= 0 {
		s.ownScale = uint8(p.wscale)
		s.ceiling = p.ceiling
		s.peerScale.Store(uint32(o.wscale))
	} else {
		s.ownScale, s.ceiling = 0, 65535
		s.peerScale.Store(0)
	}
}
