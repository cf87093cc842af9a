package simnet

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// arrival is the fate of one of the packets of a run.
type arrival struct {
	n    int
	sent time.Time
	fate
}

// run sends count packets of size bytes, one every gap, through a line.
func run(l Link, count, size int, gap time.Duration) (all []arrival, c *channel) {
	c = &channel{link: l, rng: rand.New(rand.NewPCG(1, 2))}
	now := time.Unix(0, 0)
	for n := range count {
		all = append(all, arrival{n, now, c.pass(now, size)})
		now = now.Add(gap)
	}
	return all, c
}

func share(all []arrival, is func(arrival) bool) float64 {
	count := 0
	for _, a := range all {
		if is(a) {
			count++
		}
	}
	return float64(count) / float64(len(all))
}

func lost(a arrival) bool { return a.copies == 0 }

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance {
		t.Errorf("%s: %.4f, want %.4f within %.4f", what, got, want, tolerance)
	}
}

func TestAPerfectLineDelaysAndNothingElse(t *testing.T) {
	all, _ := run(Link{Delay: 25 * time.Millisecond}, 1000, 1500, time.Microsecond)
	for _, a := range all {
		if a.copies != 1 || a.at.Sub(a.sent) != 25*time.Millisecond {
			t.Fatalf("packet %d: %+v", a.n, a.fate)
		}
	}
}

func TestLossIsRandomAndOfTheRateAskedFor(t *testing.T) {
	all, _ := run(Link{Loss: 0.03}, 100_000, 100, time.Millisecond)
	near(t, "loss", share(all, lost), 0.03, 0.003)
	// Independent: after a loss the next is lost as often as any.
	after, pairs := 0, 0
	for i := range all[1:] {
		if lost(all[i]) {
			pairs++
			if lost(all[i+1]) {
				after++
			}
		}
	}
	near(t, "loss after a loss", float64(after)/float64(pairs), 0.03, 0.015)
}

func TestBurstLossHasItsMeanAndItsLength(t *testing.T) {
	// Bursts of 8 on average, 3 % in all.
	leave := 1.0 / 8
	all, _ := run(Link{Burst: Burst{Enter: leave * 0.03 / 0.97, Leave: leave}}, 500_000, 100, time.Millisecond)
	near(t, "loss", share(all, lost), 0.03, 0.003)
	bursts, losses := 0, 0
	for i, a := range all {
		if lost(a) {
			losses++
			if i == 0 || !lost(all[i-1]) {
				bursts++
			}
		}
	}
	near(t, "mean burst", float64(losses)/float64(bursts), 8, 0.5)
	half, _ := run(Link{Burst: Burst{Enter: leave * 0.03 / 0.97, Leave: leave, Loss: 0.5}}, 500_000, 100, time.Millisecond)
	near(t, "loss of half of the bad time", share(half, lost), 0.015, 0.002)
}

func TestBurstsAreGivenByMeanAndLength(t *testing.T) {
	for _, c := range []struct{ loss, length float64 }{{0.03, 8}, {0.03, 5}, {0.1, 2}} {
		all, _ := run(Link{Burst: Bursts(c.loss, c.length)}, 400_000, 100, time.Millisecond)
		near(t, "loss", share(all, lost), c.loss, c.loss/12)
		runs := share(all, func(a arrival) bool { return lost(a) && (a.n == 0 || !lost(all[a.n-1])) })
		near(t, "length", share(all, lost)/runs, c.length, c.length/20)
	}
}

func TestJitterSpreadsArrivalsAndKeepsTheirOrder(t *testing.T) {
	all, _ := run(Link{Delay: 10 * time.Millisecond, Jitter: 4 * time.Millisecond}, 50_000, 100, 10*time.Millisecond)
	var sum float64
	for i, a := range all {
		d := a.at.Sub(a.sent)
		if d < 10*time.Millisecond || d > 14*time.Millisecond {
			t.Fatalf("packet %d took %v", i, d)
		}
		sum += d.Seconds()
	}
	near(t, "mean delay", sum/float64(len(all)), 0.012, 0.0001)
	dense, _ := run(Link{Jitter: 4 * time.Millisecond}, 10_000, 100, 100*time.Microsecond)
	for i := range dense[1:] {
		if dense[i+1].at.Before(dense[i].at) {
			t.Fatalf("jitter alone overtook at packet %d", i)
		}
	}
}

func TestReorderLetsLaterPacketsOvertake(t *testing.T) {
	all, _ := run(Link{Reorder: 0.1, ReorderBy: 3 * time.Millisecond}, 100_000, 100, time.Millisecond)
	late := share(all, func(a arrival) bool { return a.at.Sub(a.sent) == 3*time.Millisecond })
	inTime := share(all, func(a arrival) bool { return a.at.Equal(a.sent) })
	near(t, "overtaken", late, 0.1, 0.005)
	near(t, "overtaken or in time", late+inTime, 1, 0)
}

func TestDuplicatesComeAsOftenAsAskedFor(t *testing.T) {
	all, _ := run(Link{Duplicate: 0.2}, 50_000, 100, time.Millisecond)
	near(t, "twice", share(all, func(a arrival) bool { return a.copies == 2 }), 0.2, 0.01)
}

func TestRateSpacesPacketsAndTheQueueIsBounded(t *testing.T) {
	// 1250 bytes at 10 Mbit/s take 1 ms; offered twice as fast.
	l := Link{Rate: 10_000_000, Queue: 12_500, Delay: 5 * time.Millisecond}
	all, _ := run(l, 10_000, 1250, 500*time.Microsecond)
	near(t, "dropped by the queue", share(all, func(a arrival) bool { return a.reason == "queue" }), 0.5, 0.01)
	var last time.Time
	for _, a := range all {
		if lost(a) {
			continue
		}
		if !last.IsZero() && a.at.Sub(last) != time.Millisecond {
			t.Fatalf("packet %d came %v after the one before", a.n, a.at.Sub(last))
		}
		last = a.at
		if d := a.at.Sub(a.sent); d > 15*time.Millisecond {
			t.Fatalf("packet %d waited %v, more than the queue holds", a.n, d)
		}
	}
	// After a pause the queue is empty again.
	_, c := run(l, 1000, 1250, 0)
	if f := c.pass(time.Unix(1000, 0), 1250); !f.at.Equal(time.Unix(1000, 0).Add(6 * time.Millisecond)) {
		t.Fatalf("after a pause: %+v", f)
	}
}

func TestMTUAndBlackholeSwallow(t *testing.T) {
	c := &channel{link: Link{MTU: 1400}, rng: rand.New(rand.NewPCG(1, 2))}
	if f := c.pass(time.Now(), 1400); f.copies != 1 {
		t.Fatalf("%+v", f)
	}
	if f := c.pass(time.Now(), 1401); f.copies != 0 || f.reason != "mtu" {
		t.Fatalf("%+v", f)
	}
	c.blackhole = true
	if f := c.pass(time.Now(), 40); f.copies != 0 || f.reason != "blackhole" {
		t.Fatalf("%+v", f)
	}
}

func TestTheSameSeedGivesTheSameFates(t *testing.T) {
	l := Link{Loss: 0.1, Jitter: time.Millisecond, Reorder: 0.1, Duplicate: 0.1, Burst: Burst{Enter: 0.01, Leave: 0.1}}
	a, _ := run(l, 10_000, 500, time.Millisecond)
	b, _ := run(l, 10_000, 500, time.Millisecond)
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("packet %d: %+v and %+v", i, a[i], b[i])
		}
	}
}
