package rawtcp

import "time"

// simultaneous is what a machine keeps of a connection that both sides open at
// the same time (RFC 9293, 3.5), because each is behind a NAT that lets in only
// what answers to something. It is nil in every other machine, and from
// ESTABLISHED on.
//
//	SYN-SENT      peer's SYN ------> SYN-RECEIVED
//	SYN-SENT      peer's SYN-ACK --> ESTABLISHED, sends ACK
//	SYN-RECEIVED  peer's SYN-ACK --> ESTABLISHED, sends ACK; if it has sent a
//	                                 SYN-ACK too: sends ACK, waits for an ACK
//	SYN-RECEIVED  peer's ACK ------> ESTABLISHED, sends ACK
//
// A stateful middlebox wants more than the RFC does (Linux conntrack, with
// invalid packets dropped):
//
//   - A SYN-ACK is valid only behind the peer's SYN: nothing else draws one.
//   - It takes one SYN-ACK as the answer and ignores that of the other side, and
//     with it the window that it opens. So one side sends it: the one with the
//     higher initial sequence number, which both sides see. The other waits
//     [yieldTime], for the peer's NAT may have eaten its SYN, and then sends its
//     own; should both have been sent, nobody sends data before an ACK has come.
//   - Both sides send one ACK: the state is established when the inside host's
//     own ACK has passed.
//   - A SYN behind the SYN-ACK is invalid: who has the peer's SYN repeats none.
//
// A reset ends nothing: it may come from the peer's router, whose NAT has not
// been opened yet, and nothing in it tells that from the peer's own host. The
// exact ones are counted, and the next SYN makes the own NAT's entry anew.
type simultaneous struct {
	hops uint8         // to live of SYNs before opened
	full time.Duration // from then on SYNs go all the way
	pace time.Duration // least pause between two SYNs

	begun    bool // our SYN has been sent
	sack     bool // the peer's SYN offered SACK
	answered bool // our SYN-ACK has been sent
	agreed   bool // and the peer's has come: its ACK is awaited
	quiet    bool // another connection was first: answers, but repeats nothing
	resets   int
}

const (
	// yieldTime is how long the side with the lower initial sequence number waits
	// for the peer's SYN-ACK: the round trip beyond which both are sent.
	yieldTime = 150 * time.Millisecond
	// A NAT is open for what comes from the peer only after our own SYN, so SYNs
	// are repeated quickly: after 100, 200, 400 and then every 500 ms.
	firstKnock, lastKnock = 100 * time.Millisecond, 500 * time.Millisecond
)

func (m *machine) knockPause() time.Duration {
	return max(m.cross.pace, min(firstKnock<<min(m.tries, 8), lastKnock))
}

// knock sends what is due while a connection is opened from both sides.
func (m *machine) knock(now time.Duration, out *output) {
	x := m.cross
	r := reply{flags: flagSYN, seq: m.sent}
	switch {
	case x.quiet:
		m.deadline = m.giveUp
		return
	case m.state == synSent:
		if !x.begun {
			x.begun, m.firstSYN = true, millis(now)
		}
		if now < x.full {
			r.hops = x.hops
		}
	case x.agreed: // a keepalive, which whoever is established answers with an ACK
		r.flags = flagACK
	default:
		r.flags |= flagACK
		x.answered = true
	}
	m.deadline = now + m.knockPause()
	m.tries++
	if now < x.full && m.deadline >= x.full {
		m.deadline, m.tries = x.full, 0
	}
	out.send(r)
}

// meet handles a segment while a connection is opened from both sides. What does
// not fit exactly is dropped without a word: a reset would close both NATs.
func (m *machine) meet(now time.Duration, g *segment, out *output) {
	x := m.cross
	switch g.flags & (flagSYN | flagACK | flagFIN | flagRST) {
	case flagSYN:
		m.met(now, g, out)
	case flagSYN | flagACK:
		if !x.begun || g.ack != m.sent+1 || !m.learn(now, g) {
			return
		}
		out.send(reply{flags: flagACK, seq: g.ack})
		if !x.answered {
			m.establish()
			return
		}
		if !x.agreed {
			x.agreed, m.tries = true, 0
			m.deadline = now + m.knockPause()
		}
	case flagACK:
		if x.answered && m.confirms(now, g) {
			m.establish()
			out.send(reply{flags: flagACK, seq: m.sent + 1})
		}
	case flagRST, flagRST | flagACK:
		m.refused(now, g, out)
	}
}

// met handles the peer's SYN. A later one with another number replaces the first:
// the peer has begun again, or the first was forged.
func (m *machine) met(now time.Duration, g *segment, out *output) {
	x := m.cross
	switch {
	case x.agreed: // it acknowledged us; a mere SYN proves nothing
		return
	case m.state == synReceived && g.seq+1 == m.s.rcvNxt.Load():
		if x.answered { // lost, it seems
			out.send(reply{flags: flagSYN | flagACK, seq: m.sent})
		}
		return
	}
	// Who has sent no SYN yet is a mere server to the peer.
	first := !x.begun || m.sent >= g.seq
	if !x.begun {
		x.begun, m.firstSYN = true, millis(now)
	}
	m.learn(now, g)
	m.state, m.tries = synReceived, 0
	switch {
	case x.answered: // the SYN before this one
		out.send(reply{flags: flagSYN | flagACK, seq: m.sent})
		m.deadline = now + m.knockPause()
	case first:
		x.full = now
		m.knock(now, out)
	default:
		x.full = now
		m.deadline = now + yieldTime
	}
}

// confirms reports whether g acknowledges our SYN-ACK, and takes it in. What came
// before it may have been lost.
func (m *machine) confirms(now time.Duration, g *segment) bool {
	s := m.s
	ahead := int32(g.seq - s.rcvNxt.Load())
	if g.ack != m.sent+1 || ahead < -1 || ahead > int32(uint32(s.window())<<s.ownScale) {
		return false
	}
	if s.stamps && (!g.opts.stamps || !m.echoes(now, g)) {
		return false
	}
	if ahead < 0 { // a keepalive: our ACK was lost
		raise(&s.sndUna, g.ack)
		raise(&s.sndEdge, g.ack+uint32(g.window)<<s.peerScale.Load())
		return true
	}
	s.rcvNxt.Store(g.seq)
	v := s.take(g, millis(now))
	return v == accepted || v == acceptedAck
}

// refused handles a reset.
func (m *machine) refused(now time.Duration, g *segment, out *output) {
	x := m.cross
	switch {
	case m.state == synReceived && g.seq == m.s.rcvNxt.Load():
		x.resets++
		if x.quiet {
			m.end(out, errReset)
			return
		}
		m.state, m.tries, x.answered, x.agreed = synSent, 0, false, false
		m.deadline = now + m.knockPause()
	case x.begun && g.has(flagACK) && g.ack == m.sent+1:
		x.resets++
	}
}

func (m *machine) establish() {
	m.state, m.deadline, m.tries, m.cross = established, 0, 0, nil
}
