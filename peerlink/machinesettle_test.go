package peerlink

import (
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// wordyWorld is a link for words only in a large mesh: through a relay that is no
// seed, though only the seed is offered, but all as soon as the one in use is in doubt.
type wordyWorld struct {
	*world
	seed, near *line
	all        []relayWay
}

func newWordyWorld(t *testing.T, reaches bool) *wordyWorld {
	w, near, _ := onRelay(t, false)
	w.o.crowded = true
	seed := relayLine(80 * time.Millisecond)
	return &wordyWorld{world: w, seed: seed, near: near, all: []relayWay{
		{path: near, reaches: true, rtt: 60 * time.Millisecond},
		{path: seed, seed: true, reaches: reaches, rtt: 80 * time.Millisecond},
	}}
}

func (w *wordyWorld) pass(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.o.relays = w.all
		if w.m.usable && !w.m.doubting(w.now) {
			w.o.relays = w.all[1:]
		}
		w.run(w.step)
	}
}

// word sends a packet to the peer.
func (w *wordyWorld) word() {
	if w.m.usable {
		w.m.current.sealer.counter.Add(1)
		w.o.sent++
	}
}

func TestALinkWhosePeerAnswersNowhereMissesItInsteadOfTryingOneRelayAfterTheOther(t *testing.T) {
	for _, reaches := range []bool{false, true} {
		w := newWordyWorld(t, reaches)
		w.pass(5 * time.Second)
		if w.m.path != packet.Path(w.seed) {
			t.Fatal("a link for words does not go through the seed")
		}
		w.seed.silent, w.near.silent = true, true
		w.word()
		before := len(w.moves)
		w.pass(10 * time.Second)
		if n := len(w.moves) - before; n > 2 || w.tries == 0 {
			t.Errorf("the seed is known to reach the peer %v: %d changes of the relay, %d handshakes", reaches, n, w.tries)
		}
	}
}

func TestALinkDoesNotReturnAgainAndAgainToARelayThatDoesNotWork(t *testing.T) {
	for name, reaches := range map[string]bool{"the seed reaches the peer": true, "it is not known to": false} {
		t.Run(name, func(t *testing.T) {
			w := newWordyWorld(t, reaches)
			w.seed.silent = true
			for range 60 * 20 {
				w.word()
				w.pass(3 * time.Second)
			}
			if n := len(w.moves); n > 16 {
				t.Errorf("%d changes of the relay in an hour, the last at %v", n, w.now.Sub(w.moved[n-1]))
			}
			if w.m.path != packet.Path(w.near) {
				t.Error("it is not on the relay that works")
			}
		})
	}
}

func TestARelayThatLosesMuchIsNotLeftAndTakenAllTheTime(t *testing.T) {
	w := newWordyWorld(t, true)
	w.seed.loss = 0.3
	for range 60 * 20 {
		w.word()
		w.pass(3 * time.Second)
	}
	if n := len(w.moves); n > 16 {
		t.Errorf("%d changes of the relay in an hour", n)
	}
}

func TestWhoChoseARelayThatThePeerDoesNotHearFollowsItAndStays(t *testing.T) {
	w := newWordyWorld(t, false)
	s := w.m.current
	w.seed.silent = true
	for range 60 * 20 { // the peer says a word through the relay that works for it
		w.word()
		w.pass(time.Second)
		w.take(func() { w.m.touch(w.now, s.in, w.near) })
		w.pass(2 * time.Second)
	}
	if n := len(w.moves); n > 16 {
		t.Errorf("%d changes of the relay in an hour", n)
	}
}
