package path

import (
	"math/rand/v2"
	"testing"
	"time"
)

// chooser drives a Chooser over virtual time.
type chooser struct {
	Chooser[string]
	now     time.Time
	current string
	moves   int
}

func newChooser(current string) *chooser {
	return &chooser{now: time.Unix(1_700_000_000, 0), current: current}
}

// look lets a while pass and chooses.
func (c *chooser) look(after time.Duration, candidates ...candidate) string {
	c.now = c.now.Add(after)
	if i := c.Choose(c.now, c.current, candidates); i < 0 {
		c.current = ""
	} else if candidates[i].Path != c.current {
		c.current = candidates[i].Path
		c.moves++
	}
	return c.current
}

func TestChoose(t *testing.T) {
	udp := candidate{Path: "udp", Class: Direct, Alive: true, RTT: 30 * ms}
	tcp := candidate{Path: "tcp", Class: Direct, Alive: true, RTT: 31 * ms}
	lan := candidate{Path: "lan", Class: Local, Alive: true, RTT: 1 * ms}
	relay := candidate{Path: "relay", Class: Relayed, Alive: true, Seed: true, Reaches: true, RTT: 10 * ms}
	other := candidate{Path: "other", Class: Relayed, Alive: true, Reaches: true, RTT: 60 * ms}
	dead := func(c *candidate) { c.Alive = false }
	failed := func(c *candidate) { c.Failures++ }
	lossy := func(c *candidate) { c.Loss = 0.06 }
	terrible := func(c *candidate) { c.Loss = 0.5 }
	narrow := func(c *candidate) { c.Goodput = 125_000 }
	wide := func(c *candidate) { c.Goodput = 2_500_000 }
	for _, c := range []struct {
		name    string
		current string
		in      []candidate
		at      time.Duration // at which a change must be
		want    string
	}{
		{"a direct path at once instead of a relay", "relay", []candidate{relay, udp}, 0, "udp"},
		{"the local network at once", "udp", []candidate{udp, lan}, 0, "lan"},
		{"never from direct to a relay that is faster", "udp", []candidate{relay, udp}, -1, "udp"},
		{"at once when what is in use died", "udp", []candidate{with(udp, dead), relay}, 0, "relay"},
		{"at once when what is in use failed", "udp", []candidate{with(udp, failed), tcp}, 0, "tcp"},
		{"what is in use is not even known", "gone", []candidate{relay, tcp}, 0, "tcp"},
		{"a little better is not worth it", "tcp", []candidate{tcp, udp}, -1, "tcp"},
		{"lossy udp loses to clean tcp", "udp", []candidate{with(udp, lossy), tcp}, lasting, "tcp"},
		{"terrible udp sooner", "udp", []candidate{with(udp, terrible), tcp}, lastingLarge, "tcp"},
		{"throttled udp loses to tcp", "udp", []candidate{with(udp, narrow), tcp}, lastingLarge, "tcp"},
		{"not if tcp was as narrow", "udp", []candidate{with(udp, narrow), with(tcp, narrow)}, -1, "udp"},
		{"nor if nobody would feel it", "udp", []candidate{with(udp, func(c *candidate) { c.Goodput = 1e8 }), tcp}, -1, "udp"},
		{"never from direct to a relay that is wider", "udp", []candidate{with(udp, narrow), with(relay, wide)}, -1, "udp"},
		{"the wider of two relays", "relay", []candidate{with(relay, narrow), with(other, wide)}, lastingLarge, "other"},
		{"the shorter of two relays", "other", []candidate{other, relay}, lastingLarge, "relay"},
		{"nothing lives", "udp", []candidate{with(udp, dead)}, 0, ""},
	} {
		d := newChooser(c.current)
		moved := time.Duration(-1)
		for at := time.Duration(0); at < time.Minute; at += 500 * ms {
			if d.look(500*ms, c.in...) != c.current && moved < 0 {
				moved = at
			}
		}
		if moved != c.at || d.current != c.want {
			t.Errorf("%s: %q after %v, want %q after %v", c.name, d.current, moved, c.want, c.at)
		}
	}
}

func TestAGainThatDoesNotLastChangesNothing(t *testing.T) {
	d := newChooser("tcp")
	tcp := candidate{Path: "tcp", Class: Direct, Alive: true, RTT: 60 * ms}
	good := candidate{Path: "udp", Class: Direct, Alive: true, RTT: 30 * ms}
	bad := good
	bad.RTT = 60 * ms
	for range 100 {
		for range 8 { // 4 s
			d.look(500*ms, tcp, good)
		}
		d.look(500*ms, tcp, bad)
	}
	if d.moves != 0 {
		t.Errorf("moved %d times", d.moves)
	}
}

func TestNoiseDoesNotMakeThePathFlap(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 7))
		d := newChooser("a")
		var meters [3]Meter
		// Hours of two ways that are alike and of one that is worse, measured with
		// jitter of 40 % and 5 % of lost probes.
		for range 4 * 3600 {
			var in []candidate
			for i, name := range []string{"a", "b", "c"} {
				base := []time.Duration{40 * ms, 42 * ms, 120 * ms}[i]
				if r.Float64() < 0.05 {
					meters[i].Missed()
				} else {
					meters[i].Answered(base + time.Duration(r.Float64()*0.4*float64(base)))
				}
				c := candidate{Path: name, Class: Direct, Alive: true}
				Fill(&c, &meters[i])
				in = append(in, c)
			}
			d.look(time.Second, in...)
		}
		if d.moves > 8 || d.current == "c" {
			t.Errorf("seed %d: %d changes in four hours, now on %q", seed, d.moves, d.current)
		}
	}
}

func TestAPathThatGetsBetterIsNeverLeft(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 8))
		var in []candidate
		for i := range 2 + r.IntN(4) {
			in = append(in, candidate{
				Path: string(rune('a' + i)), Class: Class(1 + r.IntN(3)), Alive: r.IntN(5) > 0, Failures: r.IntN(2),
				RTT: time.Duration(r.IntN(200)) * ms, Loss: r.Float64() / 5, Reaches: r.IntN(2) == 0, Seed: r.IntN(2) == 0,
			})
		}
		d := newChooser("")
		for range 100 {
			d.look(time.Second, in...)
		}
		if d.current == "" {
			continue
		}
		used, moves := d.current, d.moves
		for i := range in {
			if in[i].Path != used {
				continue
			}
			for range 100 {
				in[i].RTT = in[i].RTT * 9 / 10
				in[i].Loss *= 0.9
				if d.look(time.Second, in...); d.moves != moves {
					t.Fatalf("seed %d: %q was left although it got better: %+v", seed, used, in)
				}
			}
		}
	}
}

func TestTheChoiceSettles(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 9))
		var in []candidate
		for i := range 1 + r.IntN(6) {
			in = append(in, candidate{
				Path: string(rune('a' + i)), Class: Class(1 + r.IntN(3)), Alive: true, Failures: r.IntN(3),
				RTT: time.Duration(r.IntN(300)) * ms, Loss: r.Float64() / 3, Reaches: r.IntN(2) == 0,
			})
		}
		d := newChooser(in[r.IntN(len(in))].Path)
		for range 200 {
			d.look(time.Second, in...)
		}
		if d.moves > 2 {
			t.Errorf("seed %d: %d changes though nothing changed", seed, d.moves)
		}
		settled := d.moves
		for range 600 {
			d.look(time.Second, in...)
		}
		if d.moves != settled {
			t.Errorf("seed %d: it goes on changing", seed)
		}
	}
}

// What a change for the round trip led to is left at once if it is too narrow, but
// between two ways that are narrow both there is a rest as ever.
func TestAMistakeIsTakenBackWithoutARest(t *testing.T) {
	for _, c := range []struct {
		name    string
		goodput float64 // of the way that was left
		within  time.Duration
	}{
		{"to a way that was wide enough", 0, 5 * time.Second},
		{"to one that is four times as wide", 500_000, 25 * time.Second},
	} {
		d := newChooser("far")
		far := candidate{Path: "far", Class: Relayed, Alive: true, Reaches: true, RTT: 200 * ms}
		near := candidate{Path: "near", Class: Relayed, Alive: true, Reaches: true, RTT: 20 * ms}
		for d.moves == 0 {
			d.look(500*ms, far, near)
		}
		near.Goodput, far.Goodput = 60_000, c.goodput
		moved := d.now
		for d.moves == 1 && d.now.Sub(moved) < time.Minute {
			d.look(500*ms, far, near)
		}
		if took := d.now.Sub(moved); d.current != "far" || took > c.within || c.goodput > 0 && took < leastRest {
			t.Errorf("%s: on %q after %v", c.name, d.current, took)
		}
	}
}

// The memory of a narrow way fades, and it is tried again; should it still be narrow,
// that is noticed when its traffic has been looked at.
func TestANarrowWayIsTriedAgainAndSeldom(t *testing.T) {
	d := newChooser("near")
	var loads [2]Load
	narrow, tried := time.Duration(0), 0
	began := d.now
	for since, last := d.now, d.current; d.now.Sub(began) < 12*time.Hour; {
		near := candidate{Path: "near", Class: Relayed, Alive: true, Reaches: true, RTT: 20 * ms}
		far := candidate{Path: "far", Class: Relayed, Alive: true, Reaches: true, RTT: 60 * ms}
		if d.current != last {
			last, since = d.current, d.now
			if last == "near" {
				tried++
			}
		}
		if d.current == "near" {
			narrow += time.Second
			loads[0].Passed(d.now, 125_000, d.now.Sub(since) >= 3*time.Second)
		} else {
			loads[1].Passed(d.now, 2_500_000, false)
		}
		FillLoad(&near, &loads[0], d.now, d.current == "near")
		FillLoad(&far, &loads[1], d.now, d.current == "far")
		d.look(time.Second, near, far)
	}
	if tried < 3 || tried > 30 || narrow > 10*time.Duration(tried+1)*time.Second {
		t.Errorf("in twelve hours it was tried %d times, and used for %v", tried, narrow)
	}
}
