package peerlink

import (
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// attempt is a handshake that this side began and that is not answered yet.
type attempt struct {
	path  packet.Path
	began time.Time
	tries int // without an answer so far, this one included
}

func (a attempt) active() bool { return a.path != nil }

const (
	finalInterval = 250 * time.Millisecond
	maxFinals     = 6
	firstAnswer   = time.Second
	patientTries  = 5               // a lossy way through a relay may swallow some
	maxAnswer     = 5 * time.Second // only while there is traffic for the peer: so rarely costs nothing
)

// answerWithin is how long the tries-th init waits for its response.
func answerWithin(tries int) time.Duration {
	d := firstAnswer
	for range min(max(tries-patientTries, 0), 8) {
		d *= 2
	}
	return min(d, maxAnswer)
}

// tick lets time pass: retransmissions, probes, rekey, expiry.
func (m *machine) tick(now time.Time, o observation) {
	m.relays = o.relays
	m.see(now, o)
	if o.staged {
		m.wanted = now.Add(wantFor)
		m.wake(now)
	}
	for p, f := range m.failures {
		if now.Sub(f.last) > failureMemory {
			delete(m.failures, p)
		}
	}
	forgetDead(m.ours)
	forgetDead(m.punched)
	forgetDead(m.falls)
	forgetDead(m.loads)
	m.forgetVain(now)
	m.closeLeft(now)
	m.expire(now)
	if m.direct != nil && !m.direct.Alive() {
		m.lostPath(now, m.direct)
	}
	m.watch(now, o.lastRx)
	m.gauge(now, o.carried)
	m.weigh(now)
	m.knock(now)
	m.tend(now)
	m.retire(now)
	m.rest(now)
	m.connect(now)
}

func forgetDead[V any](about map[packet.Path]V) {
	for p := range about {
		if !p.Alive() {
			delete(about, p)
		}
	}
}

func (m *machine) closeLeft(now time.Time) {
	kept := m.leaving[:0]
	for _, l := range m.leaving {
		switch {
		case l.path == m.direct:
		case now.Before(l.at):
			kept = append(kept, l)
		default:
			m.emit(dropPath{l.path})
		}
	}
	m.leaving = kept
}

// expire drops replaced sessions after their time and repeats what is unanswered.
func (m *machine) expire(now time.Time) {
	for i := 0; i < len(m.sessions); i++ {
		s := m.sessions[i]
		switch {
		case !s.confirmed && s.finals >= maxFinals && !now.Before(s.nextFinal):
			m.emit(decided{s.fate, fate{peer: s.in.peer, unused: true}})
			m.forget(i)
			i--
		case !s.confirmed && !now.Before(s.nextFinal):
			m.emit(sendFinal{s})
			s.finals++
			s.nextFinal = now.Add(finalInterval << min(s.finals-1, 2))
		case s != m.current && s.confirmed && (now.Sub(s.lastUse()) >= openFor && m.peerLeftKeys(s) || now.Sub(s.created) >= expireAfter+openFor):
			m.forget(i)
			i--
		case s == m.current && now.Sub(s.created) >= expireAfter:
			m.problem = "no new keys could be agreed in time"
			m.current = nil
			m.forget(i)
			i--
			m.publish()
			m.want(now)
		}
	}
}

// peerLeftKeys says whether the peer was heard under other keys after those of s.
// Sides that began at once may each seal with another session, and be silent
// for long: what the peer sealed with last, it will seal with next.
func (m *machine) peerLeftKeys(s *session) bool {
	last := s.in.last.Load()
	return last == 0 || slices.ContainsFunc(m.sessions, func(o *session) bool { return o.in.last.Load() > last })
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// connect begins a handshake if one is due.
func (m *machine) connect(now time.Time) {
	if m.try.active() {
		if now.Sub(m.try.began) < answerWithin(m.try.tries) && m.try.path.Alive() {
			return
		}
		if !m.usable || m.try.path != m.path { // else the watch knows better
			m.fail(now, m.try.path)
		}
		tries := m.try.tries
		m.emit(abandon{})
		m.try = attempt{tries: tries}
	}
	due := m.current == nil && now.Before(m.wanted) && !m.confirming() ||
		m.current != nil && (m.rekeyDue(now) || m.renewing(now)) && !m.confirming()
	if !due || now.Before(m.pause) {
		return
	}
	if m.current == nil {
		m.choose(now)
	}
	if m.path == nil || !m.path.Alive() || m.mayReturn(now) {
		return
	}
	m.try = attempt{path: m.path, began: now, tries: m.try.tries + 1}
	m.emit(initiate{m.path})
}

// renewing says whether keys are to be agreed early: the path was changed because
// the old one died, and the peer has not been heard on the new one.
func (m *machine) renewing(now time.Time) bool {
	return !m.renew.IsZero() && !now.Before(m.renew)
}

// confirming says whether a handshake has ended on this side only.
func (m *machine) confirming() bool {
	for _, s := range m.sessions {
		if !s.confirmed {
			return true
		}
	}
	return false
}

// answered ends the attempt: a response came and is being judged, or a refusal.
func (m *machine) answered(now time.Time, refusal string) {
	tries := m.try.tries
	m.try = attempt{tries: tries}
	if refusal != "" {
		m.problem, m.refusal = refusal, refusal
		m.pause = now.Add(refusedPause)
		return
	}
	m.try.tries = 0
	m.pause = now.Add(firstAnswer) // until it is judged
}

// retry ends the attempt and begins the next at once: the clock was corrected.
func (m *machine) retry(now time.Time) {
	m.try = attempt{tries: m.try.tries}
	m.connect(now)
}

// heard takes the frames of one Control datagram. clock is that of Ping.Time.
func (m *machine) heard(now time.Time, in *Inbound, p packet.Path, frames []wire.Frame, clock int64) {
	s := m.find(in)
	if s == nil {
		return
	}
	for _, f := range frames {
		if _, ok := f.(wire.Pong); ok {
			m.silence.mute = nil // what we send arrives
		}
	}
	if m.current == nil && s.confirmed {
		m.touch(now, in, p)
	}
	for _, f := range frames {
		switch f := f.(type) {
		case wire.Ping:
			m.confirm(now, s)
			s.txLoss.update(f.Highest, f.Received)
			if s == m.current && p == m.path {
				m.reported(now, f.Highest)
			}
			if p != m.path {
				m.asksOn(now, p)
			}
			if f.ID&pingMark != 0 {
				m.usage.last = now // see link.ping
			}
			// Where it came from: a probe of a path asks about that path.
			m.emit(send{s, p, wire.Pong{ID: f.ID, Time: f.Time}})
		case wire.Pong:
			m.confirm(now, s)
			s.txLoss.update(f.Highest, f.Received)
			if s == m.current && p == m.path {
				m.reported(now, f.Highest)
			}
			if p == m.path {
				took := time.Duration(clock - f.Time)
				m.meter.Answered(took)
				m.loading.gauge.RoundTrip(now, took)
				m.probe.answered(now.Add(-took))
				m.renew = time.Time{}
			}
		case wire.Close:
			m.closed(in, f.Reason)
			return
		case wire.Refused:
			m.refused(now, in, f.Reason)
			return
		}
	}
}
