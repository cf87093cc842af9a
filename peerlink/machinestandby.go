package peerlink

import (
	"net/netip"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/path"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// standby is a direct path that is not in use and kept warm, so that the link
// moves to it at once: because it is better, or because what is in use died. It
// is asked aside of the stream, so that asking moves nobody.
type standby struct {
	path    packet.Path
	owner   actors.Ref[fate] // who dialled it
	meter   path.Meter
	since   time.Time // when it was put here
	asked   time.Time
	id      uint32    // of the question that waits for its answer; 0: none
	missed  int       // questions in a row without an answer
	heard   time.Time // when it was known to work last
	answers int       // in a row
	needs   int       // answers in a row without which it is not taken
	burst   int       // quick questions left: its measure is needed soon
}

const (
	maxStandby = 3 // beside the path in use

	// Of a path that carries traffic badly the others are measured.
	weighEvery = time.Second
	burstEvery = 250 * time.Millisecond
	burstOf    = 8

	standbyFails = 3 // missed in a row, then it is no alternative
	standbyFresh = 3 // times warm; unheard for longer, it is none either
	standbyGone  = 5 // times warm; unheard for so long, it is closed
	mostNeeds    = 16
	stragglers   = time.Second // how long what was sent before a change may still come
)

// works says whether the link could move there. warm is the time between two
// questions while it idles.
func (s *standby) works(now time.Time, warm time.Duration) bool {
	return s.path.Alive() && s.missed < standbyFails && s.answers >= s.needs && now.Sub(s.heard) < standbyFresh*warm
}

// owes says whether an answer has been due for so long, or was missed just now.
func (s *standby) owes(now time.Time, patience time.Duration) bool {
	return s.missed > 0 || s.id != 0 && now.Sub(s.asked) >= patience
}

func (m *machine) ready(p packet.Path) *standby {
	for _, s := range m.standbys {
		if s.path == p {
			return s
		}
	}
	return nil
}

// keepWarm takes a direct path out of use without giving it up. fell says that it
// has died: it must prove itself before it is taken again, longer each time.
func (m *machine) keepWarm(now time.Time, p packet.Path, owner actors.Ref[fate], fell bool) *standby {
	s := m.ready(p)
	if s == nil {
		s = &standby{path: p, since: now, heard: now}
		m.standbys = append(m.standbys, s)
	}
	s.owner = owner
	if p == m.path {
		s.meter = m.meter
	}
	if fell {
		s.answers, s.missed = 0, standbyFails
		m.falls[p]++
		s.needs = min(1<<m.falls[p], mostNeeds)
	}
	for len(m.standbys) > maxStandby {
		m.dropStandby(m.worstStandby(now))
	}
	return s
}

func (m *machine) worstStandby(now time.Time) *standby {
	worst := m.standbys[0]
	for _, s := range m.standbys[1:] {
		a, b := m.candidate(now, s.path, &s.meter), m.candidate(now, worst.path, &worst.meter)
		if s.works(now, m.warm) != worst.works(now, m.warm) {
			if !s.works(now, m.warm) {
				worst = s
			}
		} else if path.Best([]path.Candidate[packet.Path]{b, a}) == 0 {
			worst = s
		}
	}
	return worst
}

// takeStandby ends the standing by of a path that is taken; nil: it did not.
func (m *machine) takeStandby(p packet.Path) *standby {
	for i, s := range m.standbys {
		if s.path == p {
			m.standbys = append(m.standbys[:i:i], m.standbys[i+1:]...)
			return s
		}
	}
	return nil
}

func (m *machine) dropStandby(s *standby) {
	m.takeStandby(s.path)
	m.emit(dropPath{s.path})
	m.emit(decided{s.owner, fate{lost: true, path: s.path}})
}

// tend asks the standbys, when it is time, and drops those that are gone.
func (m *machine) tend(now time.Time) {
	s := m.newest()
	for i := len(m.standbys) - 1; i >= 0; i-- {
		b := m.standbys[i]
		if b.id != 0 && now.Sub(b.asked) >= answerTime(b.meter.RTT()) {
			b.id, b.answers = 0, 0
			b.missed++
			b.meter.Missed()
		}
		switch {
		case !b.path.Alive() || now.Sub(b.heard) >= standbyGone*m.warm:
			m.dropStandby(b)
		case s != nil && b.id == 0 && now.Sub(b.asked) >= m.hold(b.path, m.tendEvery(now, b)):
			m.askStandby(now, s, b)
		}
	}
}

func answerTime(rtt time.Duration) time.Duration { return max(3*rtt, time.Second/2) }

// tendEvery is how often the link wants to ask a standby now.
func (m *machine) tendEvery(now time.Time, b *standby) time.Duration {
	switch {
	case m.path == nil || m.usable && m.probe.doubt(now) >= m.suspectAfter():
		return knockSoon
	case b.burst > 0:
		return burstEvery
	case b.missed > 0 && b.missed < standbyFails, !b.works(now, m.warm) && now.Sub(b.heard) < soonFor:
		return knockLater
	case !b.works(now, m.warm):
		return 4 * time.Second
	case m.limited(now), m.carrying(now) && m.current != nil && max(m.current.txLoss.share(), m.current.rxLoss.share()) > 0.02:
		return weighEvery
	case less(m.peer, m.self):
		return 2 * m.warm // the other side asks
	}
	return m.warm
}

func (m *machine) askStandby(now time.Time, s *session, b *standby) {
	m.probe.id++
	b.id, b.asked = m.probe.id, now
	b.burst = max(b.burst-1, 0)
	m.emit(sendAside{s, b.path, wire.Ping{ID: b.id}})
}

// heardAside takes frames that came aside of the stream: somebody asks about a
// path, or answers. Only an answer can move the link, and only away from what is
// no direct path that works.
func (m *machine) heardAside(now time.Time, in *Inbound, p packet.Path, frames []wire.Frame, clock int64) {
	s := m.find(in)
	if s == nil || !s.confirmed {
		return
	}
	for _, f := range frames {
		switch f := f.(type) {
		case wire.Ping:
			m.emit(sendAside{s, p, wire.Pong{ID: f.ID, Time: f.Time}})
			if b := m.ready(p); b != nil {
				b.heard = now
				if b.asked.IsZero() || b.missed >= standbyFails && now.Sub(b.asked) >= knockSoon {
					m.askStandby(now, s, b) // it works again in one direction
				}
			}
		case wire.Pong:
			took := time.Duration(clock - f.Time)
			if b := m.ready(p); b != nil && b.id == f.ID {
				m.standbyAnswered(now, b, took)
			} else if p == m.path && s == m.current && f.ID != 0 && f.ID == m.loading.id {
				m.loadAnswered(now, in, f, took)
			}
		}
	}
}

func (m *machine) standbyAnswered(now time.Time, b *standby, took time.Duration) {
	b.id, b.missed, b.heard = 0, 0, now
	b.answers++
	b.meter.Answered(took)
	if b.answers < b.needs {
		b.burst = max(b.burst, 1)
		return
	}
	delete(m.failures, b.path)
	if m.current == nil || m.path == nil || !m.directInUse() {
		m.moveTo(now, b.path)
	}
}

// directInUse says whether the path in use is a direct one that has not failed.
func (m *machine) directInUse() bool {
	return m.path != nil && m.path.Kind() != packet.Relay && m.path.Alive() && m.failures[m.path].count == 0
}

// opened brings a direct path on which a round trip was made just now. The link
// moves to it, or keeps it warm if it has a direct one that is as good.
func (m *machine) opened(now time.Time, p packet.Path, rtt time.Duration) {
	if !p.Alive() || m.newest() == nil || m.path == p {
		return
	}
	delete(m.failures, p)
	m.punched[p] = true
	if less(m.self, m.peer) {
		m.ours[p] = true // both sides take it for one that this side has made
	}
	b := m.keepWarm(now, p, actors.Ref[fate]{}, false)
	b.heard, b.missed, b.burst = now, 0, burstOf
	b.answers = max(b.answers+1, b.needs)
	b.meter.Answered(rtt)
	if !m.directInUse() || m.current == nil {
		m.moveTo(now, p)
		return
	}
	m.emit(adoptPath{p})
	m.tend(now)
}

// asksOn takes a question of the stream on a standby: the peer uses that path. If
// the choice is the peer's, and it is no straggler, this side goes there too.
func (m *machine) asksOn(now time.Time, p packet.Path) {
	b := m.ready(p)
	if b != nil && b.works(now, m.warm) && now.Sub(b.since) >= stragglers && less(m.peer, m.self) {
		m.moveTo(now, p)
	}
}

// moveTo changes to a path that is known to work, with the keys that there are.
func (m *machine) moveTo(now time.Time, p packet.Path) {
	b := m.ready(p)
	if p.Kind() != packet.Relay {
		m.setDirect(now, p)
	}
	m.follow(p)
	if b != nil {
		m.meter = b.meter
		m.loading.gauge.RoundTrip(now, m.meter.RTT())
	}
	if m.current == nil {
		if s := m.newest(); s != nil {
			m.promote(now, s)
		}
		return
	}
	m.probe = probe{id: m.probe.id, since: now}
	m.publish()
	m.ping(now) // the peer follows what it hears
}

// weigh changes to a better path when there is one, if it is this side's to
// choose: both would otherwise choose for ever. The other side follows.
func (m *machine) weigh(now time.Time) {
	if !m.usable || m.current == nil {
		return
	}
	if m.carrying(now) {
		m.load(m.path).Lost(now, max(m.current.txLoss.share(), m.current.rxLoss.share()))
	}
	if m.path.Kind() != packet.Relay && len(m.standbys) == 0 || !less(m.self, m.peer) {
		return
	}
	candidates := []path.Candidate[packet.Path]{m.candidate(now, m.path, &m.meter)}
	for _, b := range m.standbys {
		if b.works(now, m.warm) && !b.owes(now, m.suspectAfter()) {
			candidates = append(candidates, m.candidate(now, b.path, &b.meter))
		}
	}
	switch {
	case m.path.Kind() != packet.Relay:
	case m.settled(now):
		candidates = m.weighRelays(now, candidates)
	case len(candidates) == 1:
		return // rather than to judge the one in use alone, and to forget what was seen of others
	}
	if i := m.chooser.Choose(now, m.path, candidates); i > 0 {
		m.noteQueue(now)
		m.moveTo(now, candidates[i].Path)
	}
}

// weighRelays adds the relays that are known to reach the peer, and puts the one
// in use on the same footing: by the relays' word, not by its own round trip.
func (m *machine) weighRelays(now time.Time, candidates []path.Candidate[packet.Path]) []path.Candidate[packet.Path] {
	for _, r := range m.relays {
		switch {
		case r.path == m.path:
			candidates[0] = m.relayed(now, r)
		case r.reaches && !m.disappoints(now, r.path):
			candidates = append(candidates, m.relayed(now, r))
		}
	}
	return candidates
}

// candidate says what is known of a direct path, or of the path in use.
func (m *machine) candidate(now time.Time, p packet.Path, meter *path.Meter) path.Candidate[packet.Path] {
	c := path.Candidate[packet.Path]{Path: p, Class: class(p), Alive: p.Alive(), Failures: m.failures[p].count}
	path.Fill(&c, meter)
	m.fillLoad(now, &c)
	return c
}

func class(p packet.Path) path.Class {
	switch {
	case p.Kind() == packet.Relay:
		return path.Relayed
	case isLocal(p.Remote().Addr()):
		return path.Local
	}
	return path.Direct
}

// isLocal says whether an address is of a network without a way to it through
// the internet: who is reached there is near (RFC 1918, 4193, 3927).
func isLocal(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback()
}

// tending says whether a standby is being measured or waits for an answer.
func (m *machine) tending() bool {
	for _, b := range m.standbys {
		if b.burst > 0 || b.id != 0 {
			return true
		}
	}
	return false
}
