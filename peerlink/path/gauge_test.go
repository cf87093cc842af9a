package path

import (
	"math/rand/v2"
	"testing"
	"time"
)

// look is what a gauge is shown of one second: kilobytes that were sent and came.
type look struct {
	rtt        time.Duration
	sent, came float64
}

func bulk(sent, came float64) Window {
	return Window{Took: time.Second, Sent: sent * 1000, Came: came * 1000, Bulk: true}
}

func TestGauge(t *testing.T) {
	little := func(w *Window) { w.Bulk = false }
	times := func(n int, l ...look) (all []look) {
		for range n {
			all = append(all, l...)
		}
		return all
	}
	const calm, queued = 30 * ms, 130 * ms
	for _, c := range []struct {
		name   string
		looks  []look
		change func(*Window)
		want   float64 // kilobytes per second at the end; 0: no more was offered
	}{
		{"nothing", times(9, look{calm, 0, 0}), nil, 0},
		{"a calm way", times(9, look{calm, 5000, 5000}), nil, 0},
		{"a queue before a narrow way", times(9, look{queued, 130, 125}), nil, 125},
		{"a queue that has just begun", append(times(9, look{calm, 60, 60}), times(3, look{queued, 130, 125})...), nil, 0},
		{"a queue that lasts", append(times(9, look{calm, 60, 60}), times(4, look{queued, 130, 125})...), nil, 125},
		{"a queue now and then", times(9, look{queued, 125, 125}, look{calm, 125, 125}), nil, 0},
		{"a queue that has gone", append(times(9, look{queued, 130, 125}), look{calm, 100, 100}), nil, 0},
		{"a round trip that is a little longer", times(9, look{calm + 14*ms, 5000, 5000}), nil, 0},
		{"what passes varies", times(9, look{queued, 130, 100}, look{queued, 130, 120}), nil, 120},
		{"little traffic on a way whose round trip varies", times(9, look{queued, 10, 10}), nil, 0},
		{"small packets on such a way", times(9, look{queued, 100, 100}), little, 0},
		{"loss by itself, whatever is sent", times(9, look{calm, 100, 70}, look{calm, 300, 210}), nil, 0},
		{"nothing arrives", times(9, look{calm, 150, 0}, look{calm, 300, 0}), nil, 0},
		{"loss by itself, always as much sent", times(9, look{calm, 200, 140}), nil, 0},
		{"what is above a rate is dropped", times(9, look{calm, 150, 125}, look{calm, 300, 125}), nil, 125},
		{"the same, and then less is sent", append(times(9, look{calm, 150, 125}, look{calm, 300, 125}), look{calm, 90, 90}), nil, 0},
	} {
		for _, back := range []bool{false, true} {
			var g Gauge
			now := time.Unix(1000, 0)
			g.RoundTrip(now, calm)
			var rate float64
			limited := false
			for _, l := range c.looks {
				now = now.Add(time.Second)
				up, down := bulk(l.sent, l.came), bulk(l.sent/100, l.came/100)
				if c.change != nil {
					c.change(&up)
				}
				if back {
					up, down = down, up
				}
				rate, limited = g.Look(now, l.rtt, up, down)
			}
			if limited != (c.want > 0) || limited && rate != c.want*1000 {
				t.Errorf("%s, back %v: %v, limited %v, want %v", c.name, back, rate, limited, c.want*1000)
			}
		}
	}
}

func TestALongerRouteIsNoQueueForLong(t *testing.T) {
	var g Gauge
	now := time.Unix(1000, 0)
	g.RoundTrip(now, 20*ms)
	for range 2 * leastPeriod / time.Second {
		now = now.Add(time.Second)
		g.Look(now, 90*ms, bulk(1000, 1000), bulk(0, 0))
	}
	if _, limited := g.Look(now.Add(time.Second), 90*ms, bulk(1000, 1000), bulk(0, 0)); limited {
		t.Error("it still waits for the old round trip")
	}
}

// What a line loses by itself, in bursts too, says nothing of how much it carries.
func TestALossyLineIsSeldomTakenForANarrowOne(t *testing.T) {
	for _, loss := range []float64{0.03, 0.1, 0.3} {
		for seed := range uint64(10) {
			r := rand.New(rand.NewPCG(seed, 4))
			var g Gauge
			now := time.Unix(1000, 0)
			limits, bad := 0, 0
			const looks = 3600
			for range looks {
				sent := 30 + r.IntN(400) // datagrams of 1 KB
				came := 0
				for range sent {
					if bad > 0 {
						bad--
					} else if r.Float64() < loss/8 {
						bad = 1 + r.IntN(15) // 8 on average
						bad--
					} else {
						came++
					}
				}
				now = now.Add(time.Second)
				if _, limited := g.Look(now, 40*ms, bulk(float64(sent), float64(came)), bulk(0, 0)); limited {
					limits++
				}
			}
			if limits > 3 {
				t.Errorf("loss %v, seed %d: in %d of %d looks it passes for narrow", loss, seed, limits, looks)
			}
		}
	}
}
