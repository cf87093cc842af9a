package peerlink

import (
	"net/netip"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

func udpLine(rtt time.Duration) *line {
	return &line{way: way{kind: packet.UDP}, rtt: rtt, remote: netip.MustParseAddrPort("203.0.113.9:4000")}
}

func tcpLine(rtt time.Duration) *line {
	return &line{way: way{kind: packet.RawTCP}, rtt: rtt, remote: netip.MustParseAddrPort("203.0.113.9:443")}
}

func relayLine(rtt time.Duration) *line { return &line{way: way{kind: packet.Relay}, rtt: rtt} }

// onRelay is a world whose link is up through a relay; the machine's ID is the
// smaller one, so that the choice is its own, unless follower.
func onRelay(t *testing.T, follower bool) (*world, *line, *session) {
	t.Helper()
	b := newBench(t)
	if follower {
		b.m.self = message.NodeID{9}
	} else {
		b.m.self = message.NodeID{0, 1}
	}
	w := newWorld(b)
	relay := relayLine(80 * time.Millisecond)
	b.o.relays = []relayWay{relay.offered()}
	var s *session
	w.take(func() { s = b.session(relay, false); b.m.adopt(b.now, s) })
	w.run(2 * time.Second)
	if b.m.path != relay || b.m.state(b.now) != Up {
		t.Fatal("not up through the relay")
	}
	return w, relay, s
}

func (w *world) open(l *line) { w.take(func() { w.m.opened(w.now, l, l.rtt) }) }

// openBoth opens paths over UDP and fake TCP with these round trips, in this order.
func (w *world) openBoth(overUDP, overTCP time.Duration) (udp, tcp *line) {
	udp, tcp = udpLine(overUDP), tcpLine(overTCP)
	w.open(udp)
	w.open(tcp)
	return udp, tcp
}

func TestALinkMovesUpAtOnceAndBackWithinASecondWithoutLosingAnything(t *testing.T) {
	for _, traffic := range []string{"both ways", "up only", "down only"} {
		for _, follower := range []bool{false, true} {
			w, relay, s := onRelay(t, follower)
			w.traffic = func() (bool, bool) { return traffic != "down only", traffic != "up only" }
			direct := udpLine(50 * time.Millisecond)
			w.open(direct)
			if w.m.path != direct || w.m.state(w.now) != Up {
				t.Fatal("a proven direct path is not taken at once")
			}
			w.run(20 * time.Second)
			if w.m.path != direct || len(w.moves) != 2 {
				t.Fatalf("it moved on: %v", w.moves)
			}
			direct.silent = true
			died := w.now
			w.run(3 * time.Second)
			if w.m.path != relay || w.m.state(w.now) != Up || w.m.current != s {
				t.Fatalf("%s: not back on the relay with the same keys", traffic)
			}
			took := w.moved[len(w.moved)-1].Sub(died)
			if took > time.Second {
				t.Errorf("%s: it took %v", traffic, took)
			}
			if n := len(w.aways); n == 0 || w.aways[n-1].since.After(died) {
				t.Errorf("%s: what the dead path swallowed is not sent again", traffic)
			}
			if w.tries != 0 {
				t.Errorf("%s: %d handshakes, although the peer answers under the old keys", traffic, w.tries)
			}
			direct.silent = false
			w.run(5 * time.Second)
			if w.m.path != direct || direct.closed != 0 {
				t.Errorf("%s: it is not back on the direct path", traffic)
			}
		}
	}
}

// A line that is cut takes UDP and fake TCP with it.
func TestPathsThatDieTogetherCostNoMoreThanOne(t *testing.T) {
	for _, follower := range []bool{false, true} {
		w, relay, _ := onRelay(t, follower)
		w.traffic = bothWays
		udp, tcp := w.openBoth(50*time.Millisecond, 50*time.Millisecond)
		w.run(20 * time.Second)
		if w.m.path != udp || w.m.ready(tcp) == nil {
			t.Fatal("UDP is not in use with fake TCP beside it")
		}
		udp.silent, tcp.silent = true, true
		died, before := w.now, len(w.moves)
		w.run(3 * time.Second)
		if w.m.path != relay || len(w.moves) != before+1 || w.moved[before].Sub(died) > time.Second {
			t.Errorf("on the relay: %v, after %d changes, the last %v after the death", w.m.path == relay, len(w.moves)-before, w.moved[len(w.moved)-1].Sub(died))
		}
		udp.silent, tcp.silent = false, false
		w.run(10 * time.Second)
		if w.m.path == relay {
			t.Error("it stays on the relay")
		}
	}
}

func TestOfTwoDirectPathsTheOneThatLivesIsTakenBeforeARelay(t *testing.T) {
	w, _, _ := onRelay(t, false)
	w.traffic = bothWays
	udp, tcp := w.openBoth(50*time.Millisecond, 50*time.Millisecond)
	w.run(20 * time.Second)
	udp.silent = true
	died, before := w.now, len(w.moves)
	w.run(3 * time.Second)
	if w.m.path != tcp || len(w.moves) != before+1 || w.moved[before].Sub(died) > time.Second {
		t.Errorf("not on fake TCP at once: %d changes", len(w.moves)-before)
	}
}

func TestStragglersOfTheOldPathDoNotCallALinkBack(t *testing.T) {
	w, _, s := onRelay(t, true)
	w.traffic = bothWays
	udp, tcp := w.openBoth(50*time.Millisecond, 50*time.Millisecond)
	w.run(20 * time.Second)
	before := len(w.moves)
	w.take(func() { w.m.touch(w.now, s.in, tcp) })
	if w.m.path != tcp {
		t.Fatal("the peer has moved, and is not followed")
	}
	for range 5 {
		w.take(func() { w.m.touch(w.now, s.in, udp) })
		w.take(func() { w.m.touch(w.now, s.in, tcp) })
	}
	if w.m.path != tcp || len(w.moves) != before+1 {
		t.Errorf("%d changes for one of the peer's", len(w.moves)-before)
	}
	w.now = w.now.Add(stragglers)
	w.take(func() { w.m.touch(w.now, s.in, udp) })
	if w.m.path != udp {
		t.Error("the peer has moved back, and is not followed")
	}
}

func TestWhatWentAgainOnAPathThatIsDeadTooGoesOnceMore(t *testing.T) {
	w, _, _ := onRelay(t, false)
	w.traffic = bothWays
	udp, tcp := w.openBoth(50*time.Millisecond, 50*time.Millisecond)
	w.run(20 * time.Second)
	w.o.relays = nil
	udp.silent, tcp.silent = true, true
	died, before := w.now, len(w.aways)
	w.run(8 * time.Second)
	if n := len(w.aways); n < before+2 || w.aways[n-1].since.After(died) {
		t.Errorf("%d absences, the last one since %v after the death", n-before, w.aways[n-1].since.Sub(died))
	}
}

func TestLossIsNoDeath(t *testing.T) {
	for _, traffic := range []string{"both ways", "up only", "seldom"} {
		w, _, _ := onRelay(t, false)
		direct := udpLine(50 * time.Millisecond)
		direct.loss = 0.1
		n := 0
		w.traffic = func() (bool, bool) {
			n++
			switch traffic {
			case "up only":
				return true, false
			case "seldom":
				return n%40 == 0, n%40 == 20
			}
			return true, true
		}
		w.open(direct)
		w.run(20 * time.Minute)
		if w.m.path != direct || len(w.moves) != 2 {
			t.Errorf("%s: the path was changed %d times by one datagram in ten that is lost", traffic, len(w.moves)-2)
		}
	}
}

func TestAPathThatDiesAgainAndAgainMustProveItselfLonger(t *testing.T) {
	w, relay, _ := onRelay(t, false)
	w.traffic = bothWays
	direct := udpLine(50 * time.Millisecond)
	w.open(direct)
	var took []time.Duration
	for range 5 {
		w.run(3 * time.Second)
		direct.silent = true
		w.run(3 * time.Second)
		if w.m.path != relay {
			t.Fatal("not on the relay")
		}
		direct.silent = false
		back := w.now
		for w.m.path != direct && w.now.Sub(back) < time.Minute {
			w.run(50 * time.Millisecond)
		}
		took = append(took, w.now.Sub(back))
	}
	if took[0] > 2*time.Second || took[4] < 2*took[0] || took[4] > 30*time.Second {
		t.Errorf("it came back after %v", took)
	}
}

func TestTheDeathOfTheDirectPathLeadsToTheOtherOneFirst(t *testing.T) {
	w, _, s := onRelay(t, true)
	w.traffic = bothWays
	udp, tcp := w.openBoth(50*time.Millisecond, 90*time.Millisecond)
	w.run(10 * time.Second)
	udp.dead = true // the transport says so
	w.run(tickBusy)
	if w.m.path != tcp || w.m.current != s || w.m.state(w.now) != Up {
		t.Fatal("the standby is not taken at once")
	}
	tcp.silent = true
	died := w.now
	w.run(2 * time.Second)
	if w.m.path == nil || w.m.path.Kind() != packet.Relay || w.moved[len(w.moved)-1].Sub(died) > 1100*time.Millisecond {
		t.Error("the relay is not taken after it")
	}
}

func TestAPeerThatLeftADirectPathIsFollowedIfItIsDead(t *testing.T) {
	for _, dead := range []bool{true, false} {
		w, relay, s := onRelay(t, false)
		direct := udpLine(50 * time.Millisecond)
		w.open(direct)
		w.traffic = bothWays
		w.run(10 * time.Second)
		direct.silent = dead
		w.take(func() { w.m.touch(w.now, s.in, relay) })
		// What comes through the relay counts as heard.
		w.traffic = func() (bool, bool) { w.rx = w.now; return true, false }
		w.run(1200 * time.Millisecond)
		if got := w.m.path == relay; got != dead {
			t.Errorf("dead %v: on the relay %v", dead, got)
		}
	}
}

func TestAPeerThatIsGoneIsTriedWithNewKeysOnTheOtherPath(t *testing.T) {
	w, relay, _ := onRelay(t, false)
	w.traffic = bothWays
	direct := udpLine(50 * time.Millisecond)
	w.open(direct)
	w.run(10 * time.Second)
	direct.silent, relay.silent = true, true
	w.run(4 * time.Second)
	if w.tries == 0 {
		t.Error("no handshake")
	}
	w.run(10 * time.Second)
	if w.m.state(w.now) == Up {
		t.Error("a peer that says nothing is up")
	}
}

func TestWhatArrivesOnAnotherPathDoesNotMakeADeadOneLive(t *testing.T) {
	w, relay, s := onRelay(t, false)
	udp, tcp := w.openBoth(50*time.Millisecond, 60*time.Millisecond)
	w.traffic = bothWays
	w.run(10 * time.Second)
	// Both die at once; the peer goes to the relay and talks there, and our answers
	// to its questions arrive, as its reports say.
	udp.silent, tcp.silent = true, true
	w.traffic = func() (bool, bool) { w.rx = w.now; return true, false }
	w.take(func() { w.m.touch(w.now, s.in, relay) })
	for range 300 {
		w.run(10 * time.Millisecond)
		highest := s.sealer.counter.Load()
		w.take(func() { w.m.heard(w.now, s.in, relay, []wire.Frame{wire.Ping{Highest: highest}}, 0) })
	}
	if w.m.path != relay {
		t.Errorf("it stays on %v", w.m.path.Kind())
	}
}
