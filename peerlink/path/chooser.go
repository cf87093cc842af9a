package path

import "time"

// Chooser says when to leave the way in use for a better one: at once if it is
// dead or if there is one of a nearer class, else only if another is clearly
// better for a while. Its zero value is ready; it belongs to one goroutine.
type Chooser[P comparable] struct {
	rival  P             // what has been clearly better
	since  time.Time     // since when; zero: there is none
	before P             // what was left at the last change for a better cost, if it was wide enough
	moved  time.Time     // when that was
	rest   time.Duration // no other such change until then after it
}

const (
	// What is to be better must cost a third less, and by an amount that anybody
	// can feel.
	margin    = 2.0 / 3
	leastGain = 3 * time.Millisecond
	// lasting is how long the gain must last; a gain of three quarters need not
	// last as long.
	lasting      = 5 * time.Second
	lastingLarge = 2 * time.Second
	largeMargin  = 1.0 / 4
	// Between two changes for cost alone there is a rest, four times as long each
	// time: what was taken for better twice in vain is not better.
	leastRest = 20 * time.Second
	mostRest  = time.Hour
)

// Choose returns the index of the way to take from now on, -1 if none is alive.
// Call it whenever measurements have changed; current is what is in use, which
// need not be among the candidates any more.
func (c *Chooser[P]) Choose(now time.Time, current P, candidates []Candidate[P]) int {
	best, used := Best(candidates), -1
	for i := range candidates {
		if candidates[i].Path == current {
			used = i
		}
	}
	switch {
	case best < 0 || best == used:
		c.forget()
		return best
	case used < 0 || !candidates[used].Alive:
		c.forget()
		return best
	}
	b, u := &candidates[best], &candidates[used]
	if b.Failures < u.Failures || b.Failures == u.Failures && b.rank() < u.rank() {
		c.forget()
		return best
	}
	if !clearly(b, u, margin) || c.resting(now) && !c.mistaken(b, u) {
		c.forget()
		return used
	}
	if c.since.IsZero() || c.rival != b.Path {
		c.rival, c.since = b.Path, now
	}
	needed := lasting
	if clearly(b, u, largeMargin) {
		needed = lastingLarge
	}
	if now.Sub(c.since) < needed {
		return used
	}
	c.forget()
	if c.rest = min(4*c.rest, mostRest); c.rest == 0 || now.Sub(c.moved) > 2*mostRest {
		c.rest = leastRest
	}
	c.moved = now
	if c.before = current; u.Goodput > 0 {
		var none P
		c.before = none
	}
	return best
}

func (c *Chooser[P]) resting(now time.Time) bool { return c.rest > 0 && now.Sub(c.moved) < c.rest }

// mistaken says whether the last such change is to be taken back without a rest: it
// led to a way that turns out to be too narrow, from one that was not.
func (c *Chooser[P]) mistaken(b, u *Candidate[P]) bool {
	return b.Path == c.before && b.Goodput == 0 && u.Goodput > 0
}

func (c *Chooser[P]) forget() {
	var none P
	c.rival, c.since = none, time.Time{}
}

// clearly says whether b costs no more than the share of u's cost.
func clearly[P comparable](b, u *Candidate[P], share float64) bool {
	cb, cu := b.Cost(), u.Cost()
	return b.Failures == u.Failures && cu-cb >= leastGain && float64(cb) <= share*float64(cu)
}
