package peerlink

import (
	"testing"
	"time"
)

// lossyOnly is a link in use over the only line there is, which loses a share of
// each direction, as the link knows.
func lossyOnly(t *testing.T, share float64) (*world, *line, *session) {
	t.Helper()
	w := newWorld(newBench(t))
	w.traffic = bothWays
	l := udpLine(40 * time.Millisecond)
	var s *session
	w.take(func() { s = w.session(l, false); w.m.adopt(w.now, s) })
	s.txLoss.smooth, s.rxLoss.smooth = share, share
	w.run(20 * time.Second)
	l.loss, w.step = share, tickBusy
	return w, l, s
}

func TestTheOnlyPathIsNotGivenUpForTheLossThatItIsUsedTo(t *testing.T) {
	w, l, _ := lossyOnly(t, 0.3)
	down := 0
	for began := w.now; w.now.Sub(began) < 10*time.Hour; {
		if w.run(time.Second); w.m.path != l || !w.m.usable {
			down++
			w.run(time.Minute)
		}
	}
	t.Logf("%d questions", w.asked[l])
	if down > 0 {
		t.Errorf("the path was given up %d times in 10 hours, though it worked", down)
	}
}

func TestNewKeysExpectTheLossThatTheOldOnesHaveSeen(t *testing.T) {
	w, l, _ := lossyOnly(t, 0.3)
	used := w.m.enough(never)
	w.take(func() { w.m.adopt(w.now, w.session(l, false)) })
	if n := w.m.enough(never); n != used {
		t.Errorf("%d questions are enough with new keys, %d were before", n, used)
	}
	s := w.m.current
	s.rxLoss.update(100, 100)
	s.txLoss.update(100, 100)
	if n := w.m.enough(never); n != minMissed {
		t.Errorf("%d questions are enough though nothing is lost any more", n)
	}
}

func TestALossyPathOnWhichNothingArrivesAnyMoreIsGivenUpInFourSeconds(t *testing.T) {
	for _, share := range []float64{0, 0.1, 0.3} {
		w, l, _ := lossyOnly(t, share)
		for range 50 {
			w.run(10 * time.Second)
			if !w.m.usable {
				t.Fatalf("with %.0f %% of loss: the path was left while it worked", share*100)
			}
			l.narrow.loses = 1 // one direction only: the peer is heard on
			died := w.now
			for w.m.usable && w.now.Sub(died) < 10*time.Second {
				w.run(tickBusy)
			}
			took := w.now.Sub(died)
			if limit := 4*time.Second + w.m.askEvery(w.now); took > limit {
				t.Fatalf("with %.0f %% of loss: it was left after %v, want %v at most", share*100, took, limit)
			}
			l.narrow.loses = 0
			w.run(time.Minute)
		}
	}
}

func TestWhatADeadRelaySwallowedGoesAgainWheneverThePeerIsFollowedToAnother(t *testing.T) {
	for late := 300 * time.Millisecond; late <= 900*time.Millisecond; late += 30 * time.Millisecond {
		w, relay, s := onRelay(t, true)
		w.traffic = bothWays
		w.run(20 * time.Second)
		relay.silent = true
		died, before := w.now, len(w.aways)
		w.run(late)
		other := relayLine(80 * time.Millisecond)
		w.o.relays = append(w.o.relays, other.offered())
		w.rx = w.now
		w.take(func() { w.m.touch(w.now, s.in, other) })
		w.run(time.Second)
		if w.m.path != other {
			t.Fatalf("%v after the death: the peer is not followed", late)
		}
		if len(w.aways) == before || w.aways[before].since.After(died) {
			t.Errorf("%v after the death: what was sent since does not go again: %v", late, w.aways[before:])
		}
	}
}
