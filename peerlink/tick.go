package peerlink

import (
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
	maxAnswer     = 15 * time.Second

	// Silence makes suspicious after suspectAfter; then probes go out quickly, so
	// that on a lossy path a few lost ones do not pass for death.
	suspectAfter  = 750 * time.Millisecond
	probeInterval = 250 * time.Millisecond
	minMissed     = 3
)

// answerWithin is how long the tries-th init waits for its response.
func answerWithin(tries int) time.Duration {
	d := firstAnswer
	for range min(max(tries-2, 0), 8) {
		d *= 2
	}
	return min(d, maxAnswer)
}

// probe is the state of the watch over the path in use.
type probe struct {
	id      uint32
	sent    time.Time // of the last ping
	since   time.Time // when the path in use was taken, or last heard of
	sentTx  uint64    // sealer's counter when something was last heard
	unheard time.Time // since when we send without hearing; zero: not
	missed  int       // pings since then
}

// tick lets time pass: retransmissions, probes, rekey, expiry.
func (m *machine) tick(now time.Time, o observation) {
	m.relays = o.relays
	if o.staged {
		m.wanted = now.Add(wantFor)
	}
	for p, f := range m.failures {
		if now.Sub(f.last) > failureMemory {
			delete(m.failures, p)
		}
	}
	for p := range m.ours {
		if !p.Alive() {
			delete(m.ours, p)
		}
	}
	m.closeLeft(now)
	m.expire(now)
	if m.direct != nil && !m.direct.Alive() {
		m.lostPath(now, m.direct)
	}
	m.watch(now, o.lastRx)
	m.connect(now)
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
			m.emit(decided{s.fate, fate{peer: s.in.peer, lost: true}})
			m.forget(i)
			i--
		case !s.confirmed && !now.Before(s.nextFinal):
			m.emit(sendFinal{s})
			s.finals++
			s.nextFinal = now.Add(finalInterval << min(s.finals-1, 2))
		case s != m.current && s.confirmed && now.Sub(latest(s.retired, s.created)) >= openFor:
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

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// watch decides whether the path in use still works.
func (m *machine) watch(now time.Time, lastRx time.Time) {
	if m.current == nil || m.path == nil {
		return
	}
	if !m.path.Alive() {
		// A relay that is gone for the moment, and can come back with the session.
		if m.usable {
			m.publish()
		}
		m.probe.since, m.probe.missed, m.probe.unheard = now, 0, time.Time{}
		m.choose()
		if !m.path.Alive() {
			return
		}
	}
	if !m.usable {
		m.publish()
		m.probe = probe{id: m.probe.id, since: now}
		m.ping(now)
		return
	}
	tx := m.current.sealer.counter.Load()
	if lastRx.After(m.probe.since) {
		m.probe.since, m.probe.missed = lastRx, 0
		m.probe.sentTx, m.probe.unheard = tx, time.Time{}
	} else if m.probe.unheard.IsZero() && tx > m.probe.sentTx {
		m.probe.unheard = now
	}
	silent := time.Duration(0)
	if !m.probe.unheard.IsZero() {
		silent = now.Sub(m.probe.unheard)
	}
	switch {
	case silent >= m.timeout && m.probe.missed >= minMissed:
		m.problem = "nothing heard for " + now.Sub(m.probe.since).Round(100*time.Millisecond).String()
		m.lostPath(now, m.path)
	case silent >= suspectAfter && now.Sub(m.probe.sent) >= probeInterval:
		m.probe.missed++
		m.ping(now)
	case now.Sub(m.probe.sent) >= m.askEvery():
		m.ping(now) // under traffic too: for the round trip and the loss
	}
}

// askEvery is the time between two probes. The side that dialled the path asks
// twice as often, because it alone can dial again when the other was restarted.
func (m *machine) askEvery() time.Duration {
	if m.dialled(m.path) {
		return m.keepalive / 2
	}
	return m.keepalive
}

// busy says whether the next tick should come soon.
func (m *machine) busy() bool {
	return m.try.active() || m.confirming() || !m.probe.unheard.IsZero()
}

// connect begins a handshake if one is due.
func (m *machine) connect(now time.Time) {
	if m.try.active() {
		if now.Sub(m.try.began) < answerWithin(m.try.tries) && m.try.path.Alive() {
			return
		}
		m.fail(now, m.try.path)
		tries := m.try.tries
		m.emit(abandon{})
		m.try = attempt{tries: tries}
	}
	due := m.current == nil && now.Before(m.wanted) && !m.confirming() ||
		m.current != nil && m.current.rekeyDue(now, m.jitter) && !m.confirming()
	if !due || now.Before(m.pause) {
		return
	}
	if m.current == nil {
		m.choose()
	}
	if m.path == nil || !m.path.Alive() {
		return
	}
	m.try = attempt{path: m.path, began: now, tries: m.try.tries + 1}
	m.emit(initiate{m.path})
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
	if m.current == nil && s.confirmed {
		m.touch(now, in, p) // it was given up too early
	}
	for _, f := range frames {
		switch f := f.(type) {
		case wire.Ping:
			m.confirm(now, s)
			s.txLoss.update(f.Highest, f.Received)
			// Where it came from: a probe of a path asks about that path.
			m.emit(send{s, p, wire.Pong{ID: f.ID, Time: f.Time}})
		case wire.Pong:
			m.confirm(now, s)
			s.txLoss.update(f.Highest, f.Received)
			if p == m.path {
				m.rtt.update(time.Duration(clock - f.Time))
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
