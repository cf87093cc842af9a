package link

import (
	"testing"
	"time"
)

// bottleneck is an interface behind a socket whose sender is greedy.
func bottleneck(g *governor, rate float64, supers int, d time.Duration) (standing time.Duration, used float64) {
	now := time.Unix(1_700_000_000, 0)
	var sent, refused uint64
	queued, drained, limit := 0.0, 0.0, g.most
	least := map[int]float64{}
	for i := range int(d / governEvery) {
		now = now.Add(governEvery)
		out := min(queued, rate*governEvery.Seconds())
		queued, drained = queued-out, drained+out
		for range 1000 {
			if queued >= float64(limit) {
				refused++
				break
			}
			queued += float64(supers)
			sent += uint64(supers)
		}
		limit = g.step(now, int(queued), sent, refused)
		if i > int(d/governEvery)/2 {
			w := i / 10
			if l, ok := least[w]; !ok || queued < l {
				least[w] = queued
			}
		}
	}
	worst := 0.0
	for _, l := range least {
		worst = max(worst, l)
	}
	return time.Duration(worst / rate * float64(time.Second)), drained / (rate * d.Seconds())
}

func TestASlowInterfaceGetsNoStandingQueue(t *testing.T) {
	for _, mbit := range []float64{5, 20, 100, 500} {
		for _, super := range []int{1500, 16 << 10} {
			g := &governor{most: 2 << 20}
			rate := mbit * 1e6 / 8
			standing, used := bottleneck(g, rate, super, 10*time.Second)
			allowed := 50*time.Millisecond + time.Duration(float64(super)/rate*float64(time.Second))
			if standing > allowed || used < 0.95 {
				t.Errorf("%v Mbit/s in pieces of %d: %v of queue stand, %.0f %% of the rate is used", mbit, super, standing, 100*used)
			}
		}
	}
}

func TestAFastInterfaceIsLeftAlone(t *testing.T) {
	g := &governor{most: 2 << 20}
	now := time.Unix(1_700_000_000, 0)
	for i := range 1000 {
		now = now.Add(governEvery)
		if got := g.step(now, (i%5)*40_000, uint64(i)*4_000_000, 0); got != g.most {
			t.Fatalf("step %d: limit %d", i, got)
		}
	}
}

func TestAQueueThatEmptiedIsFreeAgain(t *testing.T) {
	g := &governor{most: 2 << 20}
	bottleneck(g, 2.5e6, 1500, 5*time.Second)
	if g.limit == g.most {
		t.Fatal("it was never bounded")
	}
	now, sent, refused := g.at, g.sent, g.refuse
	for range 150 {
		now = now.Add(governEvery)
		g.step(now, 0, sent, refused)
	}
	if g.limit != g.most {
		t.Errorf("limit %d", g.limit)
	}
}
