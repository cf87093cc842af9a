package packet

import (
	"sync"
	"testing"
)

func TestABudgetIsNeverOverdrawnByThoseWhoAsk(t *testing.T) {
	const most, workers, size = 10_000, 8, 700
	b := NewBudget(most)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range 2000 {
				if !b.Take(size) {
					continue
				}
				if n := b.Held(); n > most+workers*size { // others may be asking in vain
					t.Errorf("%d bytes are taken of %d", n, most)
				}
				b.Give(size)
			}
		})
	}
	all.Wait()
	if b.Held() != 0 {
		t.Errorf("%d bytes are taken after all were given back", b.Held())
	}
	for b.Take(size) {
	}
	if n := b.Held(); n != most/size*size {
		t.Errorf("%d bytes could be taken of %d", n, most)
	}
}

func TestABudgetTellsHowMuchIsLeft(t *testing.T) {
	b := NewBudget(800)
	for _, step := range []struct {
		change       func()
		tight, spent bool
		fits         int
	}{
		{func() { b.Take(700) }, false, false, 100},
		{func() { b.Take(1) }, true, false, 99},
		{func() { b.Take(100) }, true, false, 99}, // is refused
		{func() { b.Charge(100) }, true, true, -1},
		{func() { b.Give(800) }, false, false, 799},
	} {
		step.change()
		if b.Tight() != step.tight || b.Spent() != step.spent || !b.Fits(step.fits) || b.Fits(step.fits+1) {
			t.Errorf("%d of 800 bytes: tight %v, spent %v", b.Held(), b.Tight(), b.Spent())
		}
	}
}

func TestNoBudgetBoundsNothing(t *testing.T) {
	b := NewBudget(0)
	b.Charge(1 << 30)
	if b != nil || !b.Take(1<<30) || !b.Fits(1<<30) || b.Tight() || b.Spent() || b.Held() != 0 || b.Most() < 1<<60 {
		t.Error("a budget of nothing is a bound")
	}
	b.Give(1)
}

func TestCountingAllocatesNothing(t *testing.T) {
	b := NewBudget(1000)
	if n := testing.AllocsPerRun(100, func() {
		if b.Take(10) && !b.Tight() {
			b.Give(10)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
