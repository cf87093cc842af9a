package replay

import (
	"math/rand/v2"
	"testing"
)

// oracle remembers everything.
type oracle struct {
	seen    map[uint64]bool
	highest uint64
}

func (o *oracle) accept(c uint64) bool {
	if o.seen[c] || len(o.seen) > 0 && c < o.highest && o.highest-c >= Size {
		return false
	}
	o.seen[c] = true
	o.highest = max(o.highest, c)
	return true
}

func TestTheWindowAgreesWithAnOracleThatRemembersAll(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		var w Window
		o := oracle{seen: map[uint64]bool{}}
		at := r.Uint64N(1 << 40)
		for i := range 20000 {
			switch r.IntN(100) {
			case 0:
				at += r.Uint64N(3 * Size)
			case 1:
				at += Size + 64
			default:
				at += r.Uint64N(3)
			}
			c := at - min(at, r.Uint64N(Size+200))
			if r.IntN(2) == 0 {
				c = at
			}
			if got, want := w.Accept(c), o.accept(c); got != want {
				t.Fatalf("seed %d, step %d: counter %d with highest %d: got %v", seed, i, c, o.highest, got)
			}
			if w.Highest() != o.highest {
				t.Fatalf("highest is %d, want %d", w.Highest(), o.highest)
			}
		}
	}
}

func TestAWholeBurstMayArriveBackwards(t *testing.T) {
	var w Window
	for c := 3000; c >= 0; c-- {
		if !w.Accept(uint64(c)) {
			t.Fatalf("counter %d is refused", c)
		}
	}
	for c := range uint64(3001) {
		if w.Accept(c) {
			t.Fatalf("counter %d is taken twice", c)
		}
	}
}

func TestTheEndsOfTheCounterAreSafe(t *testing.T) {
	var w Window
	const last = ^uint64(0)
	if w.Highest() != 0 || !w.Accept(0) || w.Accept(0) {
		t.Error("counter 0 counts once")
	}
	if !w.Accept(last-1) || w.Accept(last-1) || w.Accept(last) || w.Accept(0) {
		t.Error("the last counters")
	}
}

func TestAcceptAllocatesNothing(t *testing.T) {
	var w Window
	c := uint64(0)
	if n := testing.AllocsPerRun(1000, func() { c++; w.Accept(c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzWindow(f *testing.F) {
	f.Add([]byte{1, 2, 3, 255, 0, 9})
	f.Fuzz(func(t *testing.T, steps []byte) {
		var w Window
		o := oracle{seen: map[uint64]bool{}}
		at := uint64(1 << 20)
		for _, s := range steps {
			var c uint64
			switch {
			case s < 100:
				at += uint64(s)
				c = at
			case s < 200:
				c = at - uint64(s-100)*41
			default:
				at += uint64(s-200) * 1000
				c = at
			}
			if w.Accept(c) != o.accept(c) {
				t.Fatalf("counter %d with highest %d", c, o.highest)
			}
		}
	})
}
