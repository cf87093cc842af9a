package peerlink

import (
	"bytes"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/path"
)

// machine is the pure core of a link: which session seals, which path is taken,
// when to probe, to rekey, to give up. It has no clock, goroutine or socket; the
// link actor feeds it and carries out its effects, in order. Its zero value is
// not usable: see newMachine.
type machine struct {
	self, peer message.NodeID
	keepalive  time.Duration
	timeout    time.Duration  // until others are told that the peer is gone
	warm       time.Duration  // between two questions to an idle standby
	rekey      time.Duration  // see Config.Rekey
	patience   time.Duration  // until a path that says nothing under traffic is left
	random     func() float64 // in [0,1)

	// Sessions: all that still open datagrams, and the one that seals.
	sessions []*session
	current  *session
	jitter   time.Duration // of the current session's rekey

	// Paths.
	path     packet.Path          // the one taken; nil: none
	direct   packet.Path          // the newest direct one; nil: none
	taken    time.Time            // when direct became that
	ours     map[packet.Path]bool // dialled by this side
	punched  map[packet.Path]bool // opened through NATs, or proven otherwise
	falls    map[packet.Path]int  // how often each was left because it had died
	failures map[packet.Path]failure
	vain     map[packet.Path]vain // relays that were left because they did not work
	standbys []*standby
	meter    path.Meter // of the path in use
	loading  loading    // the same
	loads    map[packet.Path]*path.Load
	chooser  path.Chooser[packet.Path]
	options  []path.Candidate[packet.Path] // scratch of alternative and retire
	renew    time.Time                     // when to try a handshake although there are keys; zero: not
	leaving  []leavingPath
	owner    actors.Ref[fate] // who dialled the direct path
	relays   []relayWay
	usable   bool // current and path are published to the pumps
	fresh    freshPath
	silence  silence

	usage   usage
	crowded bool          // see observation
	refresh time.Duration // see observation
	upSince time.Time     // when the link came up
	resting bool          // it was let go because nobody used it
	woken   time.Time     // when somebody wanted it again
	try     attempt
	wanted  time.Time // until when there is a reason to connect
	pause   time.Time // no handshake before
	problem string
	refusal string // the problem, if it is that one side refused the other

	probe probe

	out []effect
}

// observation is what the link actor sees of the pumps at a tick.
type observation struct {
	lastRx   time.Time // of any session; zero: never
	relays   []relayWay
	staged   bool
	crowded  bool          // see Directory.crowded
	refresh  time.Duration // see Config.Refresh
	sent     uint64        // packets for the peer so far
	lastData time.Time     // when a packet came from the peer; zero: never
	carried  carried
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
		patience: min(timeout, maxPatience), warm: DefaultWarm, rekey: DefaultRekey,
		failures: map[packet.Path]failure{}, ours: map[packet.Path]bool{},
		punched: map[packet.Path]bool{}, falls: map[packet.Path]int{}, loads: map[packet.Path]*path.Load{},
		vain: map[packet.Path]vain{},
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
	m.wake(now)
	m.connect(now)
}

// wake notes that a link that was let go is wanted again.
func (m *machine) wake(now time.Time) {
	if m.resting && m.woken.IsZero() {
		m.woken = now
	}
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
	if s.fromSeed {
		m.ours[s.path] = true
	}
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

// promote makes s the session that seals.
func (m *machine) promote(now time.Time, s *session) {
	if m.current != nil && m.current != s {
		m.current.retired = now
		s.txLoss.expect(m.current.txLoss)
		s.rxLoss.expect(m.current.rxLoss)
	} else if m.current == nil {
		m.upSince = now
	}
	m.resting = false
	m.current, s.retired, m.silence = s, time.Time{}, silence{}
	m.jitter = time.Duration(m.random() * float64(rekeyGrace))
	m.pause, m.problem, m.refusal = time.Time{}, "", ""
	if m.path == nil {
		m.path = s.path
	}
	if m.path.Kind() == packet.Relay && m.direct != nil && m.failures[m.direct].count > 0 {
		m.leaveDirect(now)
	}
	m.probe = probe{id: m.probe.id, since: now}
	m.publish()
	if m.crowded && s.initiator && m.path.Kind() == packet.Relay {
		return // the peer has just asked, and most such links are for a word
	}
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
	if m.current == nil && s.confirmed && (m.silence.mute == nil || m.silence.mute != p) { // the path, or another one, is back
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
	if reason == "" { // nobody uses the link
		m.letGo()
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
	m.declineFresh()
	m.loseDirect()
	for len(m.standbys) > 0 {
		m.dropStandby(m.standbys[0])
	}
	m.path = nil
	m.silence = silence{}
	m.publish()
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

func less(a, b message.NodeID) bool { return bytes.Compare(a[:], b[:]) < 0 }
