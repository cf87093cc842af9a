package peerlink

import (
	"bytes"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/path"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// machine is the pure core of a link: which session seals, which path is taken,
// when to probe, to rekey, to give up. It has no clock, goroutine or socket; the
// link actor feeds it and carries out its effects, in order. Its zero value is
// not usable: see newMachine.
type machine struct {
	self, peer message.NodeID
	keepalive  time.Duration
	timeout    time.Duration
	random     func() float64 // in [0,1)

	// Sessions: all that still open datagrams, and the one that seals.
	sessions []*session
	current  *session
	jitter   time.Duration // of the current session's rekey

	// Paths.
	path     packet.Path // the one taken; nil: none
	direct   packet.Path // the newest direct one; nil: none
	failures map[packet.Path]failure
	leaving  []leavingPath
	owner    actors.Ref[fate] // who dialled the direct path
	relays   []relayWay
	usable   bool // current and path are published to the pumps

	try     attempt
	wanted  time.Time // until when there is a reason to connect
	pause   time.Time // no handshake before
	problem string
	refusal string // the problem, if it is that one side refused the other

	probe probe
	rtt   rttMeter

	out []effect
}

// relayWay is one way through another node.
type relayWay struct {
	path packet.Path
	seed bool
	rtt  time.Duration
}

type failure struct {
	count int
	last  time.Time
}

// leavingPath is a direct path that another replaced; it is closed a little
// later, when what is still in flight has arrived.
type leavingPath struct {
	path packet.Path
	at   time.Time
}

// observation is what the link actor sees of the pumps at a tick.
type observation struct {
	lastRx time.Time // of any session; zero: never
	relays []relayWay
	staged bool
}

const (
	failureMemory = 30 * time.Second
	replacedGrace = 5 * time.Second
	acceptedGrace = 30 * time.Second // of a path that the other side made
	wantFor       = 60 * time.Second
	refusedPause  = 60 * time.Second
)

func newMachine(self, peer message.NodeID, keepalive, timeout time.Duration, random func() float64) *machine {
	return &machine{
		self: self, peer: peer, keepalive: keepalive, timeout: timeout, random: random,
		failures: map[packet.Path]failure{},
	}
}

func (m *machine) emit(e effect) { m.out = append(m.out, e) }

// take returns the effects since the last take.
func (m *machine) take() []effect {
	out := m.out
	m.out = nil
	return out
}

// want says that there is traffic for the peer.
func (m *machine) want(now time.Time) {
	m.wanted = now.Add(wantFor)
	m.connect(now)
}

// found brings a direct path that was up before the link was restarted.
func (m *machine) found(now time.Time, direct packet.Path) {
	m.setDirect(now, direct)
	m.want(now)
}

// adopt takes a new session whose handshake is done on this side.
func (m *machine) adopt(now time.Time, s *session) {
	m.sessions = append(m.sessions, s)
	m.emit(install{s})
	if s.initiator {
		m.stopTrying()
		m.emit(sendFinal{s})
		s.finals, s.nextFinal = 1, now.Add(finalInterval)
	} else {
		s.confirmed = true // its final came, nobody else can have sealed it
		if m.try.active() && less(m.peer, m.self) {
			// Both sides began at once: the one with the smaller ID goes on.
			m.stopTrying()
		}
		if s.path.Kind() == packet.Relay && m.direct != nil {
			// The peer would not take this way if the direct one worked for it.
			m.fail(now, m.direct)
			m.follow(s.path)
		}
		m.arrivedOn(now, s.path)
		m.promote(now, s)
	}
	m.trim()
}

func (m *machine) stopTrying() {
	if m.try.active() {
		m.emit(abandon{})
	}
	m.try = attempt{}
}

func (m *machine) fail(now time.Time, p packet.Path) {
	m.failures[p] = failure{count: m.failures[p].count + 1, last: now}
}

// promote makes s the session that seals.
func (m *machine) promote(now time.Time, s *session) {
	if m.current != nil && m.current != s {
		m.current.retired = now
	}
	m.current, s.retired = s, time.Time{}
	m.jitter = time.Duration(m.random() * float64(rekeyGrace))
	m.pause, m.problem, m.refusal = time.Time{}, "", ""
	if m.path == nil {
		m.path = s.path
	}
	m.probe = probe{since: now}
	m.publish()
	m.ping(now)
}

// trim forgets the oldest sessions beyond the bound.
func (m *machine) trim() {
	for len(m.sessions) > maxSessions {
		for i, s := range m.sessions {
			if s != m.current {
				m.forget(i)
				break
			}
		}
	}
}

func (m *machine) forget(i int) {
	s := m.sessions[i]
	m.sessions = append(m.sessions[:i:i], m.sessions[i+1:]...)
	m.emit(uninstall{s})
}

// touch says that an authenticated datagram of a session came on path.
func (m *machine) touch(now time.Time, in *Inbound, p packet.Path) {
	s := m.find(in)
	if s == nil {
		return
	}
	delete(m.failures, p)
	m.arrivedOn(now, p)
	if m.current == nil && s.confirmed { // it was given up too early
		m.promote(now, s)
	}
	m.publish()
}

// confirm takes a sign that the peer has admitted us and uses the session. A
// datagram alone is none: it could hold a refusal.
func (m *machine) confirm(now time.Time, s *session) {
	if s.confirmed {
		return
	}
	s.confirmed, s.final = true, nil
	m.owner = s.fate
	m.emit(decided{s.fate, fate{peer: s.in.peer, up: true}})
	m.promote(now, s)
}

// again says that the peer repeated its third message: our first datagram on
// that session did not arrive.
func (m *machine) again(now time.Time, in *Inbound) {
	if s := m.find(in); s != nil && s == m.current {
		m.ping(now)
	}
}

func (m *machine) find(in *Inbound) *session {
	for _, s := range m.sessions {
		if s.in == in {
			return s
		}
	}
	return nil
}

// arrivedOn moves to the path that the peer uses. A direct one is always
// followed. Among relays the node with the smaller ID chooses and the other
// follows; otherwise each would follow the other for ever.
func (m *machine) arrivedOn(now time.Time, p packet.Path) {
	if !p.Alive() {
		return // a straggler of a path that is gone
	}
	if p.Kind() != packet.Relay {
		m.setDirect(now, p)
		m.follow(p)
		return
	}
	switch {
	case m.path == p:
	case m.path != nil && m.path == m.direct && m.direct.Alive() && m.failures[m.direct].count == 0:
	case m.path == nil || !m.path.Alive():
		m.follow(p)
	case m.path.Kind() == packet.Relay && less(m.peer, m.self):
		m.follow(p)
	}
}

func (m *machine) setDirect(now time.Time, p packet.Path) {
	if m.direct == p {
		return
	}
	if m.direct != nil {
		grace := replacedGrace
		if !m.dialled(m.direct) {
			grace = acceptedGrace
		}
		m.leaving = append(m.leaving, leavingPath{m.direct, now.Add(grace)})
	}
	m.direct = p
	m.emit(keepDirect{p})
}

// dialled says whether this side made the path. The other side then leaves the
// closing of it to us for a while: if both chose one of two to close, both would go.
func (m *machine) dialled(p packet.Path) bool {
	for _, s := range m.sessions {
		if s.fromSeed && s.path == p {
			return true
		}
	}
	return false
}

// follow changes the path in use; the caller publishes.
func (m *machine) follow(p packet.Path) {
	if m.path != p {
		m.path = p
		m.rtt = rttMeter{}
		m.usable = false
	}
}

// publish tells the pumps what to seal with and where to send, if that changed.
func (m *machine) publish() {
	ok := m.current != nil && m.path != nil && m.path.Alive()
	switch {
	case ok:
		m.emit(publish{m.current, m.path})
	case m.usable:
		m.emit(publish{})
	}
	m.usable = ok
}

// closed takes the peer's word that it ends the link.
func (m *machine) closed(in *Inbound, reason string) {
	if m.find(in) == nil {
		return
	}
	m.problem = reason
	m.end()
	m.wanted = time.Time{}
}

// refused takes the peer's word that it does not admit us.
func (m *machine) refused(now time.Time, in *Inbound, reason string) {
	s := m.find(in)
	if s == nil {
		return
	}
	m.emit(decided{s.fate, fate{refusal: reason}}) // before end says that the path is lost
	m.end()
	m.problem = reason
	if !s.fromSeed { // the seed's actor says it otherwise
		m.refusal = reason
	}
	m.pause = now.Add(refusedPause)
}

// end forgets all sessions and the direct path.
func (m *machine) end() {
	for len(m.sessions) > 0 {
		m.forget(0)
	}
	m.current = nil
	m.stopTrying()
	m.loseDirect()
	m.path = nil
	m.publish()
}

func (m *machine) loseDirect() {
	if m.direct == nil {
		return
	}
	m.emit(keepDirect{})
	m.emit(dropPath{m.direct})
	m.emit(decided{m.owner, fate{lost: true}})
	m.direct = nil
}

// lostPath says that the transport gave p up, or that nothing came on it although
// it was probed.
func (m *machine) lostPath(now time.Time, p packet.Path) {
	if p == nil {
		return
	}
	m.fail(now, p)
	if p == m.direct {
		m.loseDirect()
	}
	if p != m.path {
		return
	}
	m.path = nil
	m.current = nil // the peer may have been restarted: only a handshake tells
	m.publish()
	m.probe = probe{}
	m.want(now)
}

// choose picks a path for a handshake if there is none.
func (m *machine) choose() {
	if m.path != nil && m.path.Alive() && m.failures[m.path].count == 0 {
		return
	}
	var candidates []path.Candidate
	var ways []packet.Path
	if m.direct != nil {
		ways = append(ways, m.direct)
		candidates = append(candidates, path.Candidate{
			Direct: true, Alive: m.direct.Alive(), Failures: m.failures[m.direct].count,
		})
	}
	for _, r := range m.relays {
		ways = append(ways, r.path)
		candidates = append(candidates, path.Candidate{
			Alive: r.path.Alive(), Failures: m.failures[r.path].count, Seed: r.seed, RTT: r.rtt,
		})
	}
	if i := path.Choose(candidates); i >= 0 {
		m.follow(ways[i])
	}
}

// state is what the link is in.
func (m *machine) state(now time.Time) State {
	switch {
	case m.usable:
		return Up
	case m.try.active() || m.path != nil && now.Before(m.wanted):
		return Connecting
	}
	return Down
}

// ping sends a probe on the current session and path.
func (m *machine) ping(now time.Time) {
	if m.current == nil || m.path == nil {
		return
	}
	m.probe.id++
	m.probe.sent = now
	m.emit(send{m.current, m.path, wire.Ping{ID: m.probe.id}})
}

func less(a, b message.NodeID) bool { return bytes.Compare(a[:], b[:]) < 0 }
