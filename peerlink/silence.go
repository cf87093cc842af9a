package peerlink

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// silence is the state of a link whose path fell silent or went away. Its
// session is not given up: the old path is asked on, and so is every new one, and
// the first that brings a sign of the peer is taken, with the same keys. At the
// same time handshakes are tried, because the peer may have been restarted.
type silence struct {
	since   time.Time // zero: there is a path
	heard   time.Time // when the peer was last heard before
	knocked time.Time
	mute    packet.Path // on it the peer is heard but does not hear us: there only an answer counts
}

// freshPath is a path that was dialled while there was a session already.
type freshPath struct {
	path  packet.Path
	owner actors.Ref[fate]
	until time.Time // then a handshake must tell whether the peer knows us
}

const (
	// A path that fell silent is asked soon in the beginning, so that traffic is
	// back at once when it heals, and slowly later.
	knockSoon  = 250 * time.Millisecond
	knockLater = 500 * time.Millisecond
	soonFor    = 30 * time.Second

	minResume  = 250 * time.Millisecond
	returnTime = 5 * time.Second
)

// fell leaves the path in use because it is silent. It is not closed: it may
// come back.
func (m *machine) fell(now time.Time) {
	p := m.path
	m.fail(now, p)
	if p == m.direct {
		m.emit(decided{m.owner, fate{lost: true, path: p}})
	}
	m.suspend(now)
}

// suspend leaves the path in use and goes on with what else there is.
func (m *machine) suspend(now time.Time) {
	m.emit(away{m.lastArrival()})
	if m.current != nil {
		m.current.retired = now
		m.current = nil
	}
	m.path = nil
	if m.silence.since.IsZero() {
		m.silence.since, m.silence.heard = now, m.probe.since
	}
	m.probe = probe{id: m.probe.id}
	m.publish()
	m.want(now)
}

// missing says whether the peer is only missed so far: others need not be told.
func (m *machine) missing(now time.Time) bool {
	return !m.usable && !m.silence.since.IsZero() && now.Sub(m.silence.heard) < m.timeout
}

// knocking says whether paths are being asked.
func (m *machine) knocking() bool {
	return !m.silence.since.IsZero() && m.newest() != nil && m.direct != nil
}

// mayReturn says whether the path that is left is the one that fell silent a
// moment ago: should it come back, its session is of more use than a new one.
func (m *machine) mayReturn(now time.Time) bool {
	return m.knocking() && m.path == m.direct && m.failures[m.direct].count > 0 && now.Sub(m.silence.since) < returnTime
}

// knock asks the silent path, and a fresh one, whether the peer is there.
func (m *machine) knock(now time.Time) {
	if f := m.fresh; f.path != nil && (!now.Before(f.until) || !f.path.Alive()) {
		m.declineFresh()
	}
	every := knockSoon
	if !m.silence.since.IsZero() && now.Sub(m.silence.since) > soonFor {
		every = knockLater
	}
	s := m.newest()
	if s == nil || now.Sub(m.silence.knocked) < every || m.silence.since.IsZero() && m.fresh.path == nil {
		return
	}
	m.silence.knocked = now
	ask := func(p packet.Path) {
		m.probe.id++
		m.emit(send{s, p, wire.Ping{ID: m.probe.id}})
	}
	if m.direct != nil && (!m.usable || m.direct != m.path) && m.direct.Alive() {
		ask(m.direct)
	}
	if m.fresh.path != nil && m.fresh.path != m.direct {
		ask(m.fresh.path)
	}
}

// newest is the session that the peer is most likely to know; nil: none.
func (m *machine) newest() *session {
	if m.current != nil {
		return m.current
	}
	var best *session
	for _, s := range m.sessions {
		if s.confirmed && (best == nil || s.created.After(best.created)) {
			best = s
		}
	}
	return best
}

// dialledFresh takes a path that owner dialled. It hears whether the peer knows
// the session on it; if not, it is owner's to begin a handshake.
func (m *machine) dialledFresh(now time.Time, p packet.Path, owner actors.Ref[fate]) {
	m.declineFresh()
	if m.newest() == nil {
		m.emit(decided{owner, fate{unknown: true}})
		return
	}
	m.ours[p] = true
	m.fresh = freshPath{path: p, owner: owner, until: now.Add(max(minResume, 3*m.meter.Least()))}
	m.silence.knocked = time.Time{}
	m.knock(now)
}

// takeFresh says that the peer was heard on p.
func (m *machine) takeFresh(p packet.Path) {
	f := m.fresh
	if f.path == nil || f.path != p {
		return
	}
	m.fresh = freshPath{}
	m.owner = f.owner
	m.emit(decided{f.owner, fate{up: true}})
}

func (m *machine) declineFresh() {
	if m.fresh.path != nil {
		m.emit(decided{m.fresh.owner, fate{unknown: true}})
		m.fresh = freshPath{}
	}
}
