package path

import (
	"testing"
	"time"
)

const ms = time.Millisecond

type candidate = Candidate[string]

func with(c candidate, change func(*candidate)) candidate {
	change(&c)
	return c
}

func TestBest(t *testing.T) {
	local := candidate{Class: Local, Alive: true, RTT: 1 * ms}
	direct := candidate{Class: Direct, Alive: true, RTT: 90 * ms}
	seed := candidate{Class: Relayed, Alive: true, Seed: true, RTT: 50 * ms}
	near := candidate{Class: Relayed, Alive: true, RTT: 5 * ms}
	reaches := candidate{Class: Relayed, Alive: true, Reaches: true, RTT: 80 * ms, Hops: 1}
	dead := func(c *candidate) { c.Alive = false }
	failed := func(c *candidate) { c.Failures++ }
	farther := func(c *candidate) { c.RTT += 4 * ms }
	hops := func(c *candidate) { c.Hops = 2 }
	lossy := func(c *candidate) { c.Loss = 0.05 }
	throttled := func(c *candidate) { c.Goodput = 125_000 }
	for _, c := range []struct {
		name string
		in   []candidate
		want int
	}{
		{"nothing", nil, -1},
		{"all dead", []candidate{with(direct, dead), with(seed, dead)}, -1},
		{"direct although slower", []candidate{near, seed, direct}, 2},
		{"the local network before all", []candidate{direct, with(local, func(c *candidate) { c.RTT = 200 * ms }), seed}, 1},
		{"relay when direct is dead", []candidate{with(direct, dead), near}, 1},
		{"seed before a nearer relay of which nothing is known", []candidate{near, seed}, 1},
		{"who reaches the node before a seed", []candidate{seed, reaches}, 1},
		{"nearer of two relays", []candidate{with(near, farther), near}, 1},
		{"shorter of two ways", []candidate{with(reaches, farther), reaches}, 1},
		{"fewer relays of equal ways", []candidate{with(reaches, hops), reaches}, 1},
		{"first of equals", []candidate{near, near}, 0},
		{"what failed comes last", []candidate{with(direct, failed), near, with(seed, failed)}, 1},
		{"of what failed the direct one", []candidate{with(near, failed), with(direct, failed)}, 1},
		{"fewer failures", []candidate{with(with(direct, failed), failed), with(near, failed)}, 1},
		{"a clean way before a lossy one that is shorter", []candidate{with(direct, lossy), with(direct, func(c *candidate) { c.RTT += 60 * ms })}, 1},
		{"a free way before a throttled one that is shorter", []candidate{with(direct, throttled), with(direct, farther)}, 1},
	} {
		if got := Best(c.in); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

func TestCostGrowsWithEverythingThatIsBad(t *testing.T) {
	base := candidate{RTT: 20 * ms, Jitter: 2 * ms, Loss: 0.01, Goodput: 1e6}
	for name, worse := range map[string]func(*candidate){
		"round trip": func(c *candidate) { c.RTT += ms },
		"jitter":     func(c *candidate) { c.Jitter += ms },
		"loss":       func(c *candidate) { c.Loss += 0.01 },
		"goodput":    func(c *candidate) { c.Goodput /= 2 },
	} {
		a, b := base, base
		for range 20 {
			worse(&b)
			if b.Cost() <= a.Cost() {
				t.Fatalf("%s: %v after %v", name, b.Cost(), a.Cost())
			}
			a = b
		}
	}
	broken := candidate{Loss: -1, RTT: ms}
	if broken.Cost() < ms {
		t.Error("a loss below zero makes a way cheap")
	}
}

func TestMeter(t *testing.T) {
	var m Meter
	for range 100 {
		m.Answered(30 * ms)
	}
	if m.RTT() != 30*ms || m.Least() != 30*ms || m.Loss() != 0 {
		t.Errorf("%v, least %v, loss %v", m.RTT(), m.Least(), m.Loss())
	}
	m.Answered(0)
	m.Answered(-ms)
	if m.Least() != 30*ms {
		t.Error("a round trip that cannot be was taken")
	}
	for i := range 400 {
		if i%4 == 0 {
			m.Missed()
		} else {
			m.Answered(30 * ms)
		}
	}
	if l := m.Loss(); l < 0.05 || l > 0.35 {
		t.Errorf("a quarter is missing, the loss is %v", l)
	}
	c := candidate{Loss: 0.4}
	Fill(&c, &m)
	if c.Loss != 0.4 || c.RTT != m.RTT() || c.Jitter != m.jitter {
		t.Errorf("%+v", c)
	}
}
