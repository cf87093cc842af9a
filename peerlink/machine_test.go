package peerlink

import (
	"crypto/ed25519"
	"crypto/sha256"
	"net/netip"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/noise"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

type identity struct {
	id      message.NodeID
	private ed25519.PrivateKey
}

func testKey(name string) identity {
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	return identity{message.NodeID(key.Public().(ed25519.PublicKey)), key}
}

// way is a path of which the machine sees only whether it lives.
type way struct {
	kind   packet.Kind
	dead   bool
	closed int
}

func (w *way) Send(*packet.Train) error { return nil }
func (w *way) Prefix() int              { return 0 }
func (w *way) MaxDatagram() int         { return 1400 }
func (w *way) Kind() packet.Kind        { return w.kind }
func (w *way) Local() netip.AddrPort    { return netip.AddrPort{} }
func (w *way) Remote() netip.AddrPort   { return netip.AddrPort{} }
func (w *way) Alive() bool              { return !w.dead }
func (w *way) Adopt()                   {}
func (w *way) Close()                   { w.dead = true; w.closed++ }

// bench drives one machine by hand.
type bench struct {
	t   *testing.T
	d   *Directory
	m   *machine
	now time.Time
	rx  time.Time
	o   observation
	all []effect // of the last step
}

func newBench(t *testing.T) *bench {
	d, out := bare(t)
	return &bench{
		t: t, d: d, now: time.Unix(1_700_000_000, 0),
		m: newMachine(message.NodeID{2}, out.peer.id, DefaultKeepalive, DefaultTimeout, func() float64 { return 0.5 }),
	}
}

func (b *bench) session(p packet.Path, initiator bool) *session {
	peer := b.d.Peer(message.NodeID{1})
	s := b.d.newSession(peer, noise.Result{}, b.d.sessions.reserve(slot{}), 1, p, b.now)
	s.initiator = initiator
	if initiator {
		s.final = []byte("final")
	}
	return s
}

// step runs f, keeps its effects and does what of them the machine sees again.
func (b *bench) step(f func()) {
	f()
	b.all = b.m.take()
	for _, e := range b.all {
		switch e := e.(type) {
		case dropPath:
			e.path.Close()
		case send:
			e.s.sealer.counter.Add(1)
		}
	}
}

// pass ticks for a while; heard says whether the peer answers.
func (b *bench) pass(d time.Duration, heard bool) {
	var all []effect
	for end := b.now.Add(d); b.now.Before(end); {
		b.now = b.now.Add(tickBusy)
		if heard {
			b.rx = b.now
		}
		b.o.lastRx = b.rx
		b.step(func() { b.m.tick(b.now, b.o) })
		all = append(all, b.all...)
		if heard {
			all = append(all, b.answer()...)
		}
	}
	b.all = all
}

// answer lets the peer answer the last ping.
func (b *bench) answer() []effect {
	if s := b.m.newest(); s != nil && b.m.path != nil {
		b.rx = b.now.Add(time.Nanosecond) // after the tick that asked
		b.step(func() { b.m.heard(b.now, s.in, b.m.path, []wire.Frame{wire.Pong{ID: b.m.probe.id}}, 1) })
		return b.all
	}
	return nil
}

func count[E effect](b *bench) (n int) {
	for _, e := range b.all {
		if _, ok := e.(E); ok {
			n++
		}
	}
	return n
}

func (b *bench) up(p packet.Path) *session {
	s := b.session(p, false)
	b.step(func() { b.m.adopt(b.now, s) })
	if b.m.state(b.now) != Up {
		b.t.Fatal("not up")
	}
	return s
}

func TestOpeningKeysAreInstalledBeforeAnythingIsSent(t *testing.T) {
	for _, initiator := range []bool{false, true} {
		b := newBench(t)
		s := b.session(&way{kind: packet.RawTCP}, initiator)
		b.step(func() { b.m.adopt(b.now, s) })
		installed := false
		for _, e := range b.all {
			switch e.(type) {
			case install:
				installed = true
			case send, sendFinal, publish:
				if !installed {
					t.Errorf("initiator %v: %T comes before the keys are installed", initiator, e)
				}
			}
		}
		if !installed {
			t.Error("never installed")
		}
	}
}

func TestTheInitiatorSealsWithNewKeysOnlyWhenThePeerUsesThem(t *testing.T) {
	b := newBench(t)
	p := &way{kind: packet.RawTCP}
	old := b.up(p)
	fresh := b.session(p, true)
	b.step(func() { b.m.adopt(b.now, fresh) })
	b.step(func() { b.m.touch(b.now, fresh.in, p) })
	if b.m.current != old {
		t.Fatal("a datagram that may be a refusal switched the keys")
	}
	b.step(func() { b.m.heard(b.now, fresh.in, p, []wire.Frame{wire.Ping{}}, 0) })
	if b.m.current != fresh || count[publish](b) != 1 {
		t.Fatal("the peer uses the new keys, we do not")
	}
	b.pass(openFor-time.Second, true)
	if b.m.find(old.in) == nil {
		t.Error("the old keys were forgotten early")
	}
	b.pass(2*time.Second, true)
	if b.m.find(old.in) != nil {
		t.Error("the old keys are kept for ever")
	}
}

func TestAFinalIsRepeatedAndThenGivenUp(t *testing.T) {
	b := newBench(t)
	s := b.session(&way{kind: packet.RawTCP}, true)
	b.step(func() { b.m.adopt(b.now, s) })
	finals := count[sendFinal](b)
	b.pass(6*time.Second, false)
	if finals += count[sendFinal](b); finals != maxFinals {
		t.Errorf("sent %d times, want %d", finals, maxFinals)
	}
	if count[uninstall](b) != 1 || len(b.m.sessions) != 0 {
		t.Error("the keys that nobody uses are kept")
	}
}

func TestRekeyIsDueForTheInitiatorFirst(t *testing.T) {
	for _, c := range []struct {
		initiator bool
		due       time.Duration
	}{{true, DefaultRekey}, {false, DefaultRekey + rekeyGrace + rekeyGrace/2}} {
		b := newBench(t)
		p := &way{kind: packet.RawTCP}
		s := b.session(p, c.initiator)
		b.step(func() { b.m.adopt(b.now, s) })
		b.step(func() { b.m.heard(b.now, s.in, p, []wire.Frame{wire.Ping{}}, 0) })
		b.pass(c.due-time.Second, true)
		if count[initiate](b) != 0 {
			t.Errorf("initiator %v: too early", c.initiator)
		}
		b.pass(2*time.Second, true)
		if count[initiate](b) == 0 || b.m.state(b.now) != Up {
			t.Errorf("initiator %v: not due, or the link went down for it", c.initiator)
		}
	}
}

func TestTheNumberOfPacketsMakesARekeyDueToo(t *testing.T) {
	b := newBench(t)
	s := b.up(&way{kind: packet.RawTCP})
	s.sealer.counter.Store(rekeyPackets)
	b.pass(time.Second, true)
	if count[initiate](b) == 0 {
		t.Error("not due")
	}
}

func TestWithoutARekeyTheSessionEnds(t *testing.T) {
	b := newBench(t)
	b.up(&way{kind: packet.RawTCP})
	b.pass(expireAfter+time.Second, true)
	if b.m.current != nil {
		t.Error("keys live for ever")
	}
}

func TestTwoRelaysDoNotChaseEachOther(t *testing.T) {
	r1, r2 := &way{kind: packet.Relay}, &way{kind: packet.Relay}
	moved := 0
	for _, ids := range [][2]message.NodeID{{{1}, {2}}, {{2}, {1}}} {
		b := newBench(t)
		b.m.self, b.m.peer = ids[0], ids[1]
		s := b.up(r1)
		b.step(func() { b.m.touch(b.now, s.in, r2) })
		if b.m.path == r2 {
			moved++
		}
	}
	if moved != 1 {
		t.Errorf("%d of two nodes follow", moved)
	}
}

func TestUnansweredHandshakesSlowDownAndTryEveryWay(t *testing.T) {
	b := newBench(t)
	r1, r2 := &way{kind: packet.Relay}, &way{kind: packet.Relay}
	b.o.relays = []relayWay{{path: r1}, {path: r2}}
	b.o.staged = true
	b.pass(60*time.Second, false)
	tries := map[packet.Path]int{}
	for _, e := range b.all {
		if i, ok := e.(initiate); ok {
			tries[i.path]++
		}
	}
	if tries[r1] < 2 || tries[r2] < 2 || tries[r1]+tries[r2] > 18 {
		t.Errorf("tries %v", tries)
	}
	b.o.staged = false
	b.pass(wantFor+maxAnswer, false)
	b.pass(time.Minute, false)
	if count[initiate](b) != 0 || b.m.state(b.now) != Down {
		t.Error("it goes on although nobody wants the link")
	}
}

func TestAPeerNeverHasMoreThanAFewSessions(t *testing.T) {
	b := newBench(t)
	p := &way{kind: packet.RawTCP}
	for range 20 {
		b.up(p)
	}
	if len(b.m.sessions) > maxSessions || b.m.find(b.m.current.in) == nil {
		t.Errorf("%d sessions", len(b.m.sessions))
	}
}

func TestLossMeter(t *testing.T) {
	var l lossMeter
	l.update(10, 5)
	if l.share() != 0 {
		t.Error("ten datagrams are no sample")
	}
	l.update(100, 90)
	if got := l.share(); got < 0.09 || got > 0.11 {
		t.Errorf("share %v", got)
	}
	l.update(50, 50) // an older report
	for i := range uint64(40) {
		l.update(200+100*i, 190+100*i)
	}
	if got := l.share(); got > 0.01 {
		t.Errorf("share %v after loss ended", got)
	}
}
