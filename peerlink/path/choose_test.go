package path

import (
	"testing"
	"time"
)

func TestChoose(t *testing.T) {
	const ms = time.Millisecond
	direct := Candidate{Direct: true, Alive: true, RTT: 90 * ms}
	seed := Candidate{Alive: true, Seed: true, RTT: 50 * ms}
	near := Candidate{Alive: true, RTT: 5 * ms}
	with := func(c Candidate, change func(*Candidate)) Candidate { change(&c); return c }
	dead := func(c *Candidate) { c.Alive = false }
	failed := func(c *Candidate) { c.Failures++ }
	for _, c := range []struct {
		name string
		in   []Candidate
		want int
	}{
		{"nothing", nil, -1},
		{"all dead", []Candidate{with(direct, dead), with(seed, dead)}, -1},
		{"direct although slower", []Candidate{near, seed, direct}, 2},
		{"relay when direct is dead", []Candidate{with(direct, dead), near}, 1},
		{"seed before a nearer relay", []Candidate{near, seed}, 1},
		{"nearer of two relays", []Candidate{with(near, func(c *Candidate) { c.RTT = 9 * ms }), near}, 1},
		{"first of equals", []Candidate{near, near}, 0},
		{"what failed comes last", []Candidate{with(direct, failed), near, with(seed, failed)}, 1},
		{"of what failed the direct one", []Candidate{with(near, failed), with(direct, failed)}, 1},
		{"fewer failures", []Candidate{with(with(direct, failed), failed), with(near, failed)}, 1},
	} {
		if got := Choose(c.in); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}
