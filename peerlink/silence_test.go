package peerlink

import (
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

func TestASilentPathIsDeadUnderTrafficInThreeSeconds(t *testing.T) {
	b := newBench(t)
	p := &way{kind: packet.RawTCP}
	s := b.up(p)
	b.pass(10*time.Second, true)
	s.sealer.counter.Add(100)
	b.pass(2*time.Second, false)
	if b.m.state(b.now) != Up || count[send](b) < 3 {
		t.Errorf("state %v after %d probes", b.m.state(b.now), count[send](b))
	}
	b.pass(1500*time.Millisecond, false)
	if b.m.state(b.now) == Up {
		t.Error("a dead path is kept")
	}
	if p.closed != 0 || len(b.m.sessions) != 1 {
		t.Error("what could come back was given up")
	}
}

func TestAnIdleLinkIsProbedAndOneAnswerIsEnough(t *testing.T) {
	b := newBench(t)
	b.up(&way{kind: packet.RawTCP})
	b.pass(tickBusy, true)
	for range 20 {
		b.pass(7*time.Second, false)
		if b.m.state(b.now) != Up {
			t.Fatal("a link with an answer every 7 seconds went down")
		}
		if count[send](b) == 0 {
			t.Fatal("nobody asks")
		}
		b.pass(tickBusy, true)
	}
	b.pass(10*time.Second, false)
	if b.m.state(b.now) == Up {
		t.Error("a link that never answers is up")
	}
}

func TestADeadDirectPathGivesWayToARelay(t *testing.T) {
	b := newBench(t)
	direct, relay := &way{kind: packet.RawTCP}, &way{kind: packet.Relay}
	b.up(direct)
	b.o.relays = []relayWay{{path: relay, seed: true}}
	b.pass(time.Second, true)
	direct.dead = true
	b.pass(tickBusy, false)
	if count[initiate](b) != 1 || b.m.path != relay {
		t.Fatal("no handshake over the relay")
	}
	s := b.session(relay, true)
	b.step(func() { b.m.answered(b.now, ""); b.m.adopt(b.now, s) })
	b.step(func() { b.m.heard(b.now, s.in, relay, []wire.Frame{wire.Ping{}}, 0) })
	if b.m.state(b.now) != Up || b.m.path != relay {
		t.Fatal("not up over the relay")
	}
	again := &way{kind: packet.RawTCP}
	b.step(func() { b.m.touch(b.now, s.in, again) })
	if b.m.path != again || count[publish](b) != 1 {
		t.Error("a direct path that works is not taken")
	}
	b.step(func() { b.m.touch(b.now, s.in, relay) })
	if b.m.path != again {
		t.Error("a straggler over the relay moved the link away from the direct path")
	}
}

func TestARelayThatIsGoneForAMomentKeepsTheSession(t *testing.T) {
	b := newBench(t)
	relay := &way{kind: packet.Relay}
	s := b.up(relay)
	relay.dead = true
	b.pass(20*time.Second, false)
	if b.m.current != s || b.m.state(b.now) == Up {
		t.Fatal("the session is gone, or pretends to work")
	}
	relay.dead = false
	b.pass(tickBusy, false)
	if b.m.state(b.now) != Up || count[send](b) == 0 {
		t.Error("it does not come back with the relay, or is not probed")
	}
}

func TestOthersHearOfASilentPeerAfterTheTimeoutAndThePathIsLeftBefore(t *testing.T) {
	for _, c := range []struct{ timeout, left time.Duration }{
		{2 * time.Second, 2 * time.Second},
		{15 * time.Second, maxPatience},
		{time.Minute, maxPatience},
	} {
		b := newBench(t)
		b.m = newMachine(message.NodeID{2}, b.m.peer, DefaultKeepalive, c.timeout, func() float64 { return 0.5 })
		s := b.up(&way{kind: packet.RawTCP})
		b.pass(10*time.Second, true)
		s.sealer.counter.Add(100)
		left, gone := time.Duration(0), time.Duration(0)
		for began := b.now; gone == 0 && b.now.Sub(began) < 2*time.Minute; {
			b.pass(tickBusy, false)
			if left == 0 && b.m.state(b.now) != Up {
				left = b.now.Sub(began)
			}
			if left != 0 && !b.m.missing(b.now) {
				gone = b.now.Sub(began)
			}
		}
		const slack = 500 * time.Millisecond
		if left < c.left || left > c.left+slack {
			t.Errorf("timeout %v: the path was left after %v, want %v", c.timeout, left, c.left)
		}
		if want := max(c.timeout, left); gone < want-slack || gone > want+slack {
			t.Errorf("timeout %v: others heard of it after %v", c.timeout, gone)
		}
	}
}

func TestASilentPathIsAskedOnAndTheSessionReturnsWithIt(t *testing.T) {
	b := newBench(t)
	p := &way{kind: packet.RawTCP}
	s := b.up(p)
	b.pass(10*time.Second, true)
	s.sealer.counter.Add(100)
	b.pass(20*time.Second, false)
	if b.m.state(b.now) == Up || count[send](b) < 60 {
		t.Fatalf("state %v, %d questions", b.m.state(b.now), count[send](b))
	}
	b.step(func() { b.m.heard(b.now, s.in, p, []wire.Frame{wire.Pong{}}, 1) })
	if b.m.state(b.now) != Up || b.m.current != s || b.m.path != p {
		t.Error("the path that is back is not taken with the old keys")
	}
}

func TestAPathThatLostOneDirectionIsLeftAlthoughThePeerIsHeard(t *testing.T) {
	b := newBench(t)
	p := &way{kind: packet.RawTCP}
	s := b.up(p)
	b.pass(10*time.Second, true)
	for range 100 {
		b.rx = b.now
		b.pass(tickBusy, false)
		if b.m.state(b.now) != Up {
			break
		}
	}
	if b.m.state(b.now) == Up {
		t.Fatal("it is kept")
	}
	b.step(func() { b.m.heard(b.now, s.in, p, []wire.Frame{wire.Ping{}}, 1) })
	if b.m.state(b.now) == Up {
		t.Error("the peer's questions are taken for answers")
	}
	fresh := &way{kind: packet.RawTCP}
	b.step(func() { b.m.touch(b.now, s.in, fresh) })
	if b.m.state(b.now) != Up || b.m.path != fresh {
		t.Error("a new path is not taken")
	}
}
