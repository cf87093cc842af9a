package peerlink

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/path"
)

// leavingPath is a direct path that another replaced; it is closed a little
// later, when what is still in flight has arrived.
type leavingPath struct {
	path packet.Path
	at   time.Time
}

type failure struct {
	count int
	last  time.Time
}

// relayWay is one way through another node.
type relayWay struct {
	path    packet.Path
	seed    bool
	reaches bool          // the relay said that it reaches the peer
	rtt     time.Duration // to the relay; if it reaches the peer, to the peer
	hops    int           // relays on the way; 0: not known
}

// relayed says what is known of a way through another node.
func (m *machine) relayed(now time.Time, r relayWay) path.Candidate[packet.Path] {
	c := path.Candidate[packet.Path]{
		Path: r.path, Class: path.Relayed, Alive: r.path.Alive(), Failures: m.failures[r.path].count,
		Seed: r.seed, Reaches: r.reaches, RTT: r.rtt, Hops: r.hops,
	}
	m.fillLoad(now, &c)
	return c
}

// fillLoad puts into c what is remembered of the traffic that it carried.
func (m *machine) fillLoad(now time.Time, c *path.Candidate[packet.Path]) {
	if l := m.loads[c.Path]; l != nil {
		path.FillLoad(c, l, now, c.Path == m.path)
	}
}

// arrivedOn moves to the path that the peer uses. A direct one is followed before a
// relay; see mayFollow for two direct ones. Among relays the node with the smaller ID
// chooses and the other follows; otherwise each would follow the other for ever.
func (m *machine) arrivedOn(now time.Time, p packet.Path) {
	if !p.Alive() {
		return // a straggler of a path that is gone
	}
	if p.Kind() != packet.Relay {
		if p != m.path && !m.mayFollow(now, p) {
			if p == m.fresh.path {
				m.emit(decided{m.fresh.owner, fate{spare: true}})
				m.fresh = freshPath{}
			}
			if b := m.ready(p); m.usable && b != nil && now.Sub(b.since) >= stragglers {
				m.peerLeft(now, p)
			}
			return
		}
		if m.path != p && m.path != nil && m.probe.doubt(now) > 0 {
			m.emit(away{m.lastArrival()})
		}
		m.setDirect(now, p)
		m.takeFresh(p)
		m.follow(p)
		return
	}
	switch {
	case m.path == p:
	case m.retires(now, idleDirect-idleFollows):
		m.retireTo(now, p)
	case m.path != nil && m.path == m.direct && m.direct.Alive() && m.failures[m.direct].count == 0:
		if m.usable {
			m.peerLeft(now, p)
		}
	case m.path == nil || !m.path.Alive():
		m.follow(p)
	case m.path.Kind() == packet.Relay && (less(m.peer, m.self) || m.probe.doubt(now) >= m.suspectAfter()):
		if m.probe.doubt(now) > 0 {
			m.emit(away{m.lastArrival()})
		}
		m.disappointed(now, m.path)
		m.follow(p)
		// What the old relay owes, behind a long queue perhaps, says nothing of this one.
		m.probe.forgive(now)
	}
}

// mayFollow says whether to move to a direct path because the peer was heard
// there. Of two that work one side must choose, or each would follow the other
// for ever: who dialled both, and if each dialled one, the node with the smaller
// ID.
func (m *machine) mayFollow(now time.Time, p packet.Path) bool {
	c := m.path
	switch {
	case c == nil || !c.Alive() || c.Kind() == packet.Relay || m.failures[c].count > 0 || m.probe.doubt(now) >= m.suspectAfter():
		return true
	case m.punched[c] || m.punched[p]:
		// The smaller ID chooses between those that both have; to what is new to
		// this side the peer has moved for a reason, such as its own new address.
		b := m.ready(p)
		return b == nil || less(m.peer, m.self) && now.Sub(b.since) >= stragglers
	case m.dialled(c) && m.dialled(p) && p != m.fresh.path:
		return false
	}
	return m.preferred(p) || !m.preferred(c)
}

// preferred says whether a direct path was dialled by the node with the smaller ID.
func (m *machine) preferred(p packet.Path) bool {
	if m.dialled(p) {
		return less(m.self, m.peer)
	}
	return less(m.peer, m.self)
}

func (m *machine) setDirect(now time.Time, p packet.Path) {
	if m.direct == p {
		return
	}
	taken := m.takeStandby(p)
	if old := m.direct; old != nil && old.Alive() && (m.punched[old] || m.punched[p]) {
		m.keepWarm(now, old, m.owner, m.failures[old].count > 0)
		m.owner = actors.Ref[fate]{}
	} else if old != nil {
		grace := replacedGrace
		if !m.dialled(old) {
			grace = acceptedGrace
		}
		m.leaving = append(m.leaving, leavingPath{old, now.Add(grace)})
	}
	if taken != nil {
		m.owner = taken.owner
	}
	m.direct, m.taken = p, now
	m.emit(keepDirect{p})
}

// dialled says whether this side made the path. The other side then leaves the
// closing of it to us for a while: if both chose one of two to close, both would go.
func (m *machine) dialled(p packet.Path) bool { return m.ours[p] }

// follow changes the path in use; the caller publishes.
func (m *machine) follow(p packet.Path) {
	if m.path != p {
		m.path = p
		m.meter, m.loading = path.Meter{}, loading{}
		m.usable = false
		m.renew = time.Time{}
		if m.current != nil {
			m.current.txLoss.smooth, m.current.rxLoss.smooth = 0, 0 // they were the other path's
		}
	}
}

// leaveDirect gives the direct path time to come back, and then up.
func (m *machine) leaveDirect(now time.Time) {
	if m.punched[m.direct] && m.direct.Alive() {
		m.keepWarm(now, m.direct, m.owner, true)
		m.direct, m.owner = nil, actors.Ref[fate]{}
		m.emit(keepDirect{})
		return
	}
	m.leaving = append(m.leaving, leavingPath{m.direct, now.Add(acceptedGrace)})
	m.direct = nil
	m.emit(keepDirect{})
}

func (m *machine) loseDirect() {
	if m.direct == nil {
		return
	}
	m.emit(keepDirect{})
	m.emit(dropPath{m.direct})
	m.emit(decided{m.owner, fate{lost: true, path: m.direct}})
	m.direct = nil
}

// lostPath says that the transport gave p up.
func (m *machine) lostPath(now time.Time, p packet.Path) {
	if p == nil {
		return
	}
	if b := m.ready(p); b != nil {
		m.dropStandby(b)
		return
	}
	if to := m.alternative(now); to != nil && p == m.path && m.current != nil {
		m.fallBack(now, to)
		return
	}
	m.fail(now, p)
	if p == m.direct {
		m.loseDirect()
	}
	if p == m.path {
		m.suspend(now)
	}
}

// choose picks a path for a handshake if there is none.
func (m *machine) choose(now time.Time) {
	if m.path != nil && m.path.Alive() && m.failures[m.path].count == 0 {
		return
	}
	var candidates []path.Candidate[packet.Path]
	if m.direct != nil {
		candidates = append(candidates, path.Candidate[packet.Path]{
			Path: m.direct, Class: class(m.direct), Alive: m.direct.Alive(), Failures: m.failures[m.direct].count,
		})
	}
	for _, r := range m.relays {
		candidates = append(candidates, m.relayed(now, r))
	}
	if i := path.Best(candidates); i >= 0 {
		m.follow(candidates[i].Path)
	}
}

func (m *machine) fail(now time.Time, p packet.Path) {
	m.failures[p] = failure{count: m.failures[p].count + 1, last: now}
}

// keeps says whether p is one of the paths that the machine will close itself.
func (m *machine) keeps(p packet.Path) bool {
	if p == m.path || p == m.direct || p == m.fresh.path || m.ready(p) != nil {
		return true
	}
	for _, l := range m.leaving {
		if l.path == p {
			return true
		}
	}
	return false
}
