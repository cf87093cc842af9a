package peerlink

import (
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

func TestInALargeMeshADirectPathThatNobodyUsesGoesBackToTheRelay(t *testing.T) {
	for _, crowded := range []bool{true, false} {
		w, relay, s := onRelay(t, false)
		w.o.crowded = crowded
		direct := udpLine(20 * time.Millisecond)
		w.open(direct)
		w.traffic = bothWays
		w.run(2 * idleDirect)
		if w.m.path != direct {
			t.Fatal("a path that is used was left")
		}
		w.traffic = func() (bool, bool) { return false, false }
		w.run(idleDirect - 2*time.Second)
		if w.m.path != direct {
			t.Fatal("left early")
		}
		w.run(5 * time.Second)
		if left := w.m.path == relay; left != crowded {
			t.Errorf("crowded %v: left %v", crowded, left)
		}
		if w.m.current != s || w.tries != 0 || w.m.state(w.now) != Up {
			t.Error("the session is another one")
		}
		if !crowded {
			continue
		}
		asked := w.asked[relay] + w.asked[direct]
		w.run(4 * time.Minute)
		if n := w.asked[relay] + w.asked[direct] - asked; n != 0 {
			t.Errorf("%d questions of a link that nobody uses", n)
		}
		if !direct.dead {
			t.Error("the path that was left is open")
		}
	}
}

func TestTheSideThatIsNotAskedFollowsThePeerBackToTheRelay(t *testing.T) {
	w, relay, s := onRelay(t, true)
	w.o.crowded = true
	direct := udpLine(20 * time.Millisecond)
	w.open(direct)
	w.take(func() { w.m.touch(w.now, s.in, direct) })
	w.run(idleDirect - idleFollows + 5*time.Second)
	if w.m.path != direct {
		t.Fatal("it is not on the direct path")
	}
	w.take(func() { w.m.touch(w.now, s.in, relay) })
	if w.m.path != relay {
		t.Error("the peer went back to the relay, and was not followed")
	}
}

// Whoever pings a peer asks for a direct path, and nothing but questions takes it.
func TestADirectPathThatIsJustThereIsGivenItsTimeAndPingsOfUsersAreUse(t *testing.T) {
	w, relay, s := onRelay(t, false)
	w.o.crowded = true
	w.run(5 * idleDirect)
	direct := udpLine(20 * time.Millisecond)
	w.open(direct)
	w.run(idleDirect - 2*time.Second)
	if w.m.path != direct {
		t.Fatal("left early")
	}
	w.take(func() { w.m.heard(w.now, s.in, direct, []wire.Frame{wire.Ping{ID: pingMark | 1}}, 0) })
	w.run(idleDirect - 2*time.Second)
	if w.m.path != direct {
		t.Fatal("left although the peer's user pings")
	}
	w.run(4 * time.Second)
	if w.m.path != relay {
		t.Fatal("not left")
	}
	w.take(func() { w.m.touch(w.now, s.in, direct) }) // the peer still uses it
	w.run(idleDirect - 2*time.Second)
	if w.m.path != direct {
		t.Error("left again at once")
	}
}

func TestADirectPathBesideOneOfASeedStays(t *testing.T) {
	w, _, _ := onRelay(t, false)
	w.o.crowded = true
	direct := udpLine(20 * time.Millisecond)
	w.open(direct)
	delete(w.m.punched, packet.Path(direct)) // as if a seed's actor had dialled it
	w.run(2 * idleDirect)
	if w.m.path != direct {
		t.Error("a path that was not opened on demand was left")
	}
}

// Sides that began a handshake at once may each seal with another session.
func TestKeysThatThePeerSealedWithLastAreKeptHoweverLongItIsSilent(t *testing.T) {
	for _, left := range []bool{false, true} {
		b := newBench(t)
		relay := &way{kind: packet.Relay}
		theirs := b.up(relay)
		ours := b.session(relay, false)
		b.step(func() { b.m.adopt(b.now, ours) })
		clock := func() int64 { return int64(b.now.Sub(b.d.epoch)) }
		ours.in.last.Store(clock())
		theirs.in.last.Store(clock() + 1)
		if left {
			ours.in.last.Store(clock() + 2)
		}
		b.pass(openFor+10*time.Second, false)
		if kept := b.m.find(theirs.in) != nil; kept == left {
			t.Errorf("the peer went on with the newer keys: %v; the others are kept: %v", left, kept)
		}
	}
}

func TestOnlyTrafficThatGoesOnWantsADirectPath(t *testing.T) {
	const ms = time.Millisecond
	at := func(times ...time.Duration) []time.Duration { return times }
	burst := func(n int, from, every time.Duration) (times []time.Duration) {
		for i := range n {
			times = append(times, from+time.Duration(i)*every)
		}
		return times
	}
	for name, c := range map[string]struct {
		packets []time.Duration
		want    time.Duration // by when; 0: never
	}{
		"a word of gossip now and then":   {burst(20, 0, 10*time.Second), 0},
		"a probe and one that is late":    {at(0, 900*ms), 0},
		"a short connection":              {append(burst(12, 0, 25*ms), 40*time.Second), 0},
		"ping":                            {burst(5, 0, time.Second), 2100 * ms},
		"a call":                          {burst(200, 0, 20*ms), 1000 * ms},
		"a download":                      {burst(500, 0, ms), 200 * ms},
		"ping after one word long before": {append(at(0), burst(5, time.Minute, time.Second)...), 62100 * ms},
	} {
		start := time.Unix(1_700_000_000, 0)
		var tr traffic
		var wanted time.Duration
		sent := uint64(0)
		for now := time.Duration(0); now < 4*time.Minute && wanted == 0; now += 100 * ms {
			for len(c.packets) > 0 && c.packets[0] <= now {
				c.packets = c.packets[1:]
				sent++
			}
			tr.sent(start.Add(now), sent)
			if start.Add(now).Before(tr.until) {
				wanted = now
			}
		}
		if (wanted == 0) != (c.want == 0) || wanted > c.want {
			t.Errorf("%s: wanted after %v, want %v (0: never)", name, wanted, c.want)
		}
	}
}

func TestAnIdleSideIsQuietWhileThePeersQuestionsProveBothDirections(t *testing.T) {
	b := newBench(t)
	p := &way{kind: packet.RawTCP}
	s := b.up(p)
	asked := func(d time.Duration, proves bool) (n int) {
		for end := b.now.Add(d); b.now.Before(end); {
			b.now = b.now.Add(b.m.keepalive / 2)
			b.rx, b.o.lastRx = b.now, b.now
			b.step(func() {
				ping := wire.Ping{ID: 1}
				if proves { // the answer to the last one has arrived
					ping.Highest = s.sealer.counter.Load()
				}
				b.m.heard(b.now, s.in, p, []wire.Frame{ping}, 0)
				b.m.tick(b.now, b.o)
			})
			for _, e := range b.all {
				if e, ok := e.(send); ok {
					if _, ok := e.frame.(wire.Ping); ok {
						n++
					}
				}
			}
		}
		return n
	}
	asked(10*time.Second, true)
	if n := asked(5*time.Minute, true); n > 13 {
		t.Errorf("%d questions in five minutes of the peer's", n)
	}
	if n := asked(10*time.Second, false); n < 2 {
		t.Errorf("%d questions although nothing that was sent is known to arrive", n)
	}
}

func TestKeysThatSealNextToNothingLastHoweverOftenOthersAreReplaced(t *testing.T) {
	b := newBench(t)
	b.m.rekey = 5 * time.Second
	p := &way{kind: packet.UDP}
	s := b.up(p)
	s.initiator, b.m.punched[p] = true, true
	if b.pass(lightRekey-time.Second, true); count[initiate](b) > 0 {
		t.Error("replaced early")
	}
	if b.pass(2*time.Second, true); count[initiate](b) == 0 {
		t.Error("not replaced before they end")
	}
}

func TestAQuestionAboutAPathThatTheLinkHasDoesNotMakeItOneOnDemand(t *testing.T) {
	b := newBench(t)
	seeds, other := udpLine(time.Millisecond), udpLine(time.Millisecond)
	s := b.up(seeds)
	l := newLink(b.d, s.in.peer)
	l.m = b.m
	for _, p := range []*line{seeds, other} {
		l.probed(b.now, controlled{in: s.in, path: p, aside: true}, []wire.Frame{wire.Probe{Try: 1}})
	}
	if b.m.punched[seeds] || !b.m.punched[other] {
		t.Errorf("on demand: the one in use %v, the other %v", b.m.punched[seeds], b.m.punched[other])
	}
}

func TestALinkLeavesARelayThatIsNotOfferedAnyMore(t *testing.T) {
	for _, follower := range []bool{false, true} {
		w, relay, s := onRelay(t, follower)
		w.o.crowded = true
		seeds := relayLine(80 * time.Millisecond)
		w.o.relays = append(w.o.relays, seeds.offered())
		w.run(time.Minute)
		if w.m.path != relay {
			t.Fatal("it has left a relay that is as good")
		}
		w.o.relays = []relayWay{seeds.offered()}
		w.run(time.Second)
		if moved := w.m.path == seeds; moved == follower || w.m.current != s || w.m.state(w.now) != Up {
			t.Errorf("follower %v: moved %v", follower, moved)
		}
	}
}
