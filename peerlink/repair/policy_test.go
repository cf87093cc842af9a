package repair

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

const rtt50 = 50 * time.Millisecond

// rates are those of a video, a flow that starts, and one at 100 Mbit/s.
var rates = [lanes]float64{1786, 500, 8000}

func TestThePlanFollowsWhatIsMeasured(t *testing.T) {
	insured := Decide(Conditions{Loss: 0.01, Burst: 1, RTT: rtt50, Rate: rates}, Plan{})
	spread := Decide(Conditions{Loss: 0.03, Burst: 2, RTT: 400 * time.Millisecond, Rate: rates}, Plan{})
	for _, c := range []struct {
		name   string
		in     Conditions
		before Plan
		check  func(Plan) bool
	}{
		{"a clean link has no parity at all", Conditions{Burst: 1, RTT: rtt50, Rate: rates}, Plan{},
			func(p Plan) bool { return !p.insured() && p.Repeat }},
		{"a loss in 500 is left to repeats", Conditions{Loss: 0.002, Burst: 1, RTT: rtt50, Rate: rates}, Plan{},
			func(p Plan) bool { return !p.insured() }},
		{"parity stays until the loss is well below where it began", Conditions{Loss: 0.003, Burst: 1, RTT: rtt50, Rate: rates}, insured,
			func(p Plan) bool { return p.insured() }},
		{"and ends then", Conditions{Loss: 0.001, Burst: 1, RTT: rtt50, Rate: rates}, insured,
			func(p Plan) bool { return !p.insured() }},
		{"a video at 5 % costs at most a fifth", Conditions{Loss: 0.05, Burst: 1, RTT: rtt50, Rate: rates}, Plan{},
			func(p Plan) bool { return p.Lanes[PromptLane].cost() > 0 && p.Lanes[PromptLane].cost() <= 0.2 }},
		{"a lone packet gets one more", Conditions{Loss: 0.05, Burst: 1, RTT: rtt50, Rate: [lanes]float64{60, 0, 0}}, Plan{},
			func(p Plan) bool { return p.Lanes[PromptLane].Data == 1 && p.Lanes[PromptLane].Parity == 1 }},
		{"bulk at 3 % costs at most a seventh", Conditions{Loss: 0.03, Burst: 1, RTT: rtt50, Rate: rates}, Plan{},
			func(p Plan) bool { return p.Lanes[BulkLane].cost() > 0.05 && p.Lanes[BulkLane].cost() <= 1.0/7 }},
		{"long bursts are repeated, and again a little later, not insured", Conditions{Loss: 0.03, Burst: 8, RTT: rtt50, Rate: rates}, Plan{},
			func(p Plan) bool { return !p.insured() && p.Repeat && p.Spread > 0 }},
		{"where repeats come too late, bursts are spread over groups", Conditions{Loss: 0.03, Burst: 5, RTT: 400 * time.Millisecond, Rate: rates}, Plan{},
			func(p Plan) bool {
				for lane, want := range [lanes]Code{{Data: 22, Parity: 5, Depth: 8}, {Data: 12, Parity: 7, Depth: 4}, {Data: 32, Parity: 6, Depth: 8}} {
					l := p.Lanes[lane]
					if l.Data != want.Data || l.Parity != want.Parity || l.Depth != want.Depth || l.Deadline != 100*time.Millisecond || l.losses.unrecovered(l.Data, l.Parity) > leftForGood {
						return false
					}
				}
				return p.Repeat
			}},
		{"and not where they come in time", Conditions{Loss: 0.03, Burst: 2, RTT: 200 * time.Millisecond, Rate: rates}, Plan{},
			func(p Plan) bool { return p.insured() && !p.deep() }},
		{"and not where losses come alone", Conditions{Loss: 0.03, Burst: 1.2, RTT: 400 * time.Millisecond, Rate: rates}, Plan{},
			func(p Plan) bool { return p.insured() && !p.deep() }},
		{"it takes a shorter round trip to gather them again", Conditions{Loss: 0.03, Burst: 2, RTT: 190 * time.Millisecond, Rate: rates}, spread,
			func(p Plan) bool { return p.deep() }},
		{"or shorter bursts", Conditions{Loss: 0.03, Burst: 1.4, RTT: 400 * time.Millisecond, Rate: rates}, spread,
			func(p Plan) bool { return p.deep() }},
		{"a link that swallows half is not fed", Conditions{Loss: 0.5, Burst: 1, RTT: rtt50, Rate: rates}, Plan{},
			func(p Plan) bool { return !p.insured() }},
	} {
		if p := Decide(c.in, c.before); !c.check(p) {
			t.Errorf("%s: %+v gives %+v", c.name, c.in, p)
		}
	}
}

func TestASmallChangeOfTheLossChangesNoCode(t *testing.T) {
	before := Decide(Conditions{Loss: 0.03, Burst: 1, RTT: rtt50, Rate: rates}, Plan{})
	for _, loss := range []float64{0.0295, 0.0305, 0.031} {
		p := Decide(Conditions{Loss: loss, Burst: 1, RTT: rtt50, Rate: rates}, before)
		if p.Lanes[PromptLane] != before.Lanes[PromptLane] || p.Lanes[BulkLane] != before.Lanes[BulkLane] {
			t.Errorf("at %v: %+v instead of %+v", loss, p, before)
		}
	}
}

func TestASmallChangeOfALongWayChangesNoCode(t *testing.T) {
	far := Conditions{Loss: 0.03, Burst: 5, RTT: 400 * time.Millisecond, Rate: rates}
	before := Decide(far, Plan{})
	for _, loss := range []float64{0.028, 0.031} {
		for _, rtt := range []time.Duration{380 * time.Millisecond, 430 * time.Millisecond} {
			if p := Decide(Conditions{Loss: loss, Burst: 5, RTT: rtt, Rate: rates}, before); p != before {
				t.Errorf("at %v and %v: %+v instead of %+v", loss, rtt, p, before)
			}
		}
	}
	far.Loss = 0.01
	if p := Decide(far, before); p.Lanes[PromptLane].cost() >= before.Lanes[PromptLane].cost() {
		t.Errorf("at a third of the loss: %+v, before %+v", p, before)
	}
}

func TestWhatRunsLeaveOfGroupsIsWhatASimulationFinds(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		k, m, depth int
		loss, burst float64
	}{{8, 3, 1, 0.03, 5}, {8, 3, 4, 0.03, 5}, {22, 6, 6, 0.03, 5}, {1, 2, 8, 0.05, 3}} {
		bad, lost, rounds := false, 0, 20_000
		for range rounds {
			var data, all [maxDepth]int
			for n := range (c.k + c.m) * c.depth {
				if bad {
					bad = random.Float64() >= 1/c.burst
				} else {
					bad = random.Float64() < c.loss/(1-c.loss)/c.burst
				}
				if bad {
					all[n%c.depth]++
					if n < c.k*c.depth {
						data[n%c.depth]++
					}
				}
			}
			for g := range c.depth {
				if all[g] > c.m {
					lost += data[g]
				}
			}
		}
		found := float64(lost) / float64(rounds*c.k*c.depth)
		in := Conditions{Loss: c.loss, Burst: c.burst}
		l := in.losses(c.depth)
		if want := l.unrecovered(c.k, c.m); math.Abs(found-want) > 0.15*want+1e-4 {
			t.Errorf("%+v: %v, simulated %v", c, want, found)
		}
		if m := l.parityFor(c.k, 0.0005); l.unrecovered(c.k, m) > 0.0005 || m > 1 && l.unrecovered(c.k, m-1) <= 0.0005 {
			t.Errorf("%+v: %d rows leave %v, one less %v", c, m, l.unrecovered(c.k, m), l.unrecovered(c.k, m-1))
		}
	}
}

func TestUnrecoveredIsWhatASimulationFinds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		k, m int
		loss float64
	}{{10, 3, 0.05}, {20, 2, 0.03}, {1, 1, 0.05}, {5, 1, 0.1}} {
		lost, groups := 0, 200_000
		for range groups {
			data, all := 0, 0
			for i := range c.k + c.m {
				if random.Float64() < c.loss {
					if all++; i < c.k {
						data++
					}
				}
			}
			if all > c.m {
				lost += data
			}
		}
		found := float64(lost) / float64(groups*c.k)
		if want := Unrecovered(c.k, c.m, c.loss); math.Abs(found-want) > 0.1*want+1e-5 {
			t.Errorf("%d+%d at %v: %v, simulated %v", c.k, c.m, c.loss, want, found)
		}
	}
}
