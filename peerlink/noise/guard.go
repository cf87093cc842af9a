package noise

import "time"

const (
	// ClockWindow is how far an initiator's clock may be from ours.
	ClockWindow = 120 * time.Second

	maxRemembered = 16384
	burst         = 300
	perSecond     = 50
)

// Verdict is what a [Guard] thinks of an [Init].
type Verdict uint8

// The verdicts.
const (
	Admit    Verdict = iota
	Replayed         // seen before: say nothing
	OffClock         // the initiator's clock is off: tell it ours
	TooMany          // too many handshakes now: say nothing
)

// Guard decides which first messages are worth a curve operation: new ones,
// from about now, and not too many. What it remembers is bounded. Its zero value
// is ready; it belongs to one goroutine.
type Guard struct {
	seen   map[[32]byte]struct{}
	order  []remembered // by time; order[:first] is gone
	first  int
	tokens float64
	last   time.Time
}

type remembered struct {
	ephemeral [32]byte
	until     time.Time
}

// Judge decides about init at now and remembers it if it is admitted.
func (g *Guard) Judge(now time.Time, init Init) Verdict {
	g.forget(now)
	if _, ok := g.seen[init.Ephemeral]; ok {
		return Replayed
	}
	if off := init.Clock.Sub(now); off > ClockWindow || off < -ClockWindow {
		return OffClock
	}
	if g.last.IsZero() {
		g.tokens = burst
	} else {
		g.tokens = min(burst, g.tokens+now.Sub(g.last).Seconds()*perSecond)
	}
	g.last = now
	if g.tokens < 1 {
		return TooMany
	}
	g.tokens--
	if g.seen == nil {
		g.seen = map[[32]byte]struct{}{}
	}
	g.seen[init.Ephemeral] = struct{}{}
	// A clock that is ahead keeps its message valid for up to two windows.
	g.order = append(g.order, remembered{init.Ephemeral, now.Add(2 * ClockWindow)})
	return Admit
}

func (g *Guard) forget(now time.Time) {
	for g.first < len(g.order) && (len(g.order)-g.first > maxRemembered || now.After(g.order[g.first].until)) {
		delete(g.seen, g.order[g.first].ephemeral)
		g.first++
	}
	if g.first > len(g.order)/2 {
		g.order = append(g.order[:0], g.order[g.first:]...)
		g.first = 0
	}
}
