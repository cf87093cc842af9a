package actors

import "time"

// Policy says what a [Supervisor] does about failures. The zero value restarts
// each failed child alone, for ever, with the default backoff.
type Policy struct {
	Strategy Strategy
	// MaxRestarts is how many failures, of all children together, are healed
	// within Window; one more and the supervisor gives up with
	// [ErrTooManyRestarts]. 0: it never gives up, and the backoff alone paces
	// the restarts. Negative: it gives up at the first failure.
	MaxRestarts int
	// Window is the span over which failures are counted. A child that ran for a
	// whole Window is regarded as healthy and its backoff begins anew. 0: 1 minute.
	Window  time.Duration
	Backoff Backoff
	// Observe, if set, is told of everything that happens to the children, in
	// order, on the supervisor's goroutine: it must be quick. It may call every
	// method of the supervisor but Stop, which waits for that very goroutine.
	Observe func(Event)
}

// Strategy says who is restarted when a child fails.
type Strategy uint8

const (
	// OneForOne restarts the failed child only.
	OneForOne Strategy = iota
	// AllForOne stops the others, last first, and restarts all of them in their
	// order. Children that had finished stay finished.
	AllForOne
)

// Backoff is the pause before a restart: it doubles with every failure in a row
// from Min to Max, and is then shortened by up to a half at random, so that what
// failed together does not come back together. Zero values: 50 ms and 10 s.
type Backoff struct{ Min, Max time.Duration }

// delay is the pause after the streak-th failure in a row (from 1), for a random
// number in [0,1).
func (b Backoff) delay(streak int, random float64) time.Duration {
	d := b.Min
	for i := 1; i < streak && d < b.Max; i++ {
		d *= 2
	}
	d = min(d, b.Max)
	return d - time.Duration(random*float64(d)/2)
}

// withDefaults fills in what the user left at zero.
func (p Policy) withDefaults() Policy {
	if p.Window <= 0 {
		p.Window = time.Minute
	}
	if p.Backoff.Min <= 0 {
		p.Backoff.Min = 50 * time.Millisecond
	}
	if p.Backoff.Max <= 0 {
		p.Backoff.Max = 10 * time.Second
	}
	p.Backoff.Max = max(p.Backoff.Max, p.Backoff.Min)
	if p.Observe == nil {
		p.Observe = func(Event) {}
	}
	return p
}

// Event is something that happened to a child.
type Event struct {
	Kind EventKind
	// Name is the child's full name, from the root down.
	Name string
	// Err is why it failed; on Stopped what it returned, if that was unexpected.
	Err error
	// Restarts is how often the child has been restarted so far.
	Restarts int
	// Delay is, on Failed, the pause until the restart.
	Delay time.Duration
}

// EventKind names what happened.
type EventKind uint8

const (
	// Started: the child runs, for the first time or again.
	Started EventKind = iota + 1
	// Failed: the child failed and will be restarted after Delay.
	Failed
	// Finished: the child returned nil and is not restarted.
	Finished
	// Stopped: the child ended because it was told to.
	Stopped
	// GaveUp: the child's failure was one too many; the supervisor fails.
	GaveUp
)

func (k EventKind) String() string {
	switch k {
	case Started:
		return "started"
	case Failed:
		return "failed"
	case Finished:
		return "finished"
	case Stopped:
		return "stopped"
	case GaveUp:
		return "gave up"
	}
	return "unknown"
}

// intensity counts failures within a sliding window.
type intensity struct {
	max    int
	window time.Duration
	times  []time.Time
}

// add notes a failure and says whether it is one too many.
func (i *intensity) add(now time.Time) bool {
	if i.max == 0 {
		return false
	}
	keep := 0
	for _, t := range i.times {
		if now.Sub(t) < i.window {
			i.times[keep] = t
			keep++
		}
	}
	i.times = append(i.times[:keep], now)
	return len(i.times) > max(i.max, 0)
}
