package path

import "time"

// Gauge finds out whether a way is the bottleneck of its traffic, and how much it
// lets pass then. More is offered than passes if datagrams wait on the way, or if
// to send more does not make more arrive. Loss alone says nothing: a line that
// loses by itself loses of little as of much. Its zero value knows nothing; begin
// with a new one when the way changes.
type Gauge struct {
	least   [2]time.Duration // shortest round trips: of this period and of the one before; 0: none
	since   time.Time        // beginning of this period
	waited  bool             // datagrams waited on the way when it was looked last
	recent  [gaugeMemory]Window
	next    int
	limited int // windows in a row
}

// Window is what passed in one direction between two looks.
type Window struct {
	Took       time.Duration
	Sent, Came float64 // bytes
	Bulk       bool    // the datagrams are large ones: small ones seldom fill a way
}

const (
	// leastPeriod is how long a shortest round trip counts at least: long enough for
	// a congestion control to empty the queue now and then; routes change.
	leastPeriod = 5 * time.Minute
	// A round trip longer than the shortest by a quarter, and by leastWait, means that
	// datagrams wait.
	leastWait = 15 * time.Millisecond

	gaugeMemory = 16 // windows
	// Who sends less than leastOffered, in bytes per second, is not held up by a way
	// of use.
	leastOffered = 16 << 10
	// To send more by the factor more, and to have as much arrive but for the factor
	// same, is to be held up. A way that loses leastPoliced and more is asked that.
	more         = 1.5
	same         = 1.15
	leastPoliced = 0.05
	// limitedAfter is how many windows in a row must say so.
	limitedAfter = 3
	goodputOf    = 4 // windows, of which the one counts in which most came
)

// RoundTrip takes a round trip on the way, whether it carries traffic or not.
func (g *Gauge) RoundTrip(now time.Time, took time.Duration) {
	if took <= 0 {
		return
	}
	if now.Sub(g.since) >= leastPeriod {
		g.least, g.since = [2]time.Duration{took, g.least[0]}, now
	}
	g.least[0] = min(g.least[0], took)
}

// waits says whether a round trip is so long that datagrams wait on the way.
func (g *Gauge) waits(took time.Duration) bool {
	least := g.least[0]
	if g.least[1] > 0 {
		least = min(least, g.least[1])
	}
	return took-least >= max(leastWait, least/4)
}

// Look takes a round trip under traffic, and what passed in both directions since
// the look before. It returns the bytes per second that came in the direction in
// which more was sent, and whether still more was offered, for some looks by now;
// then it is what came at most lately.
func (g *Gauge) Look(now time.Time, took time.Duration, up, down Window) (rate float64, limited bool) {
	g.RoundTrip(now, took)
	waits := g.waits(took)
	queued := waits && g.waited // all the time, as far as is known
	g.waited = waits
	w := up
	if down.sent() > up.sent() {
		w = down
	}
	held := w.heavy() && (queued || g.policed(w))
	g.recent[g.next%gaugeMemory] = w
	g.next++
	if !held {
		g.limited = 0
		return w.came(), false
	}
	if g.limited++; g.limited < limitedAfter {
		return 0, false
	}
	for i := range min(g.limited, goodputOf) {
		rate = max(rate, g.recent[(g.next-1-i)%gaugeMemory].came())
	}
	return rate, true
}

// Waits says whether datagrams waited on the way when it was looked last, under
// traffic that can be the reason, and how many bytes per second came then.
func (g *Gauge) Waits() (rate float64, waits bool) {
	if g.next == 0 {
		return 0, false
	}
	w := &g.recent[(g.next-1)%gaugeMemory]
	return w.came(), g.waited && w.heavy() && w.Came > 0
}

func (w *Window) came() float64 { return w.per(w.Came) }
func (w *Window) sent() float64 { return w.per(w.Sent) }

func (w *Window) per(bytes float64) float64 {
	if w.Took <= 0 {
		return 0
	}
	return bytes / w.Took.Seconds()
}

func (w *Window) heavy() bool { return w.Bulk && w.sent() >= leastOffered }

// policed says whether as much came in another window as in w, although what was
// sent differs: what is above a rate is dropped.
func (g *Gauge) policed(w Window) bool {
	if w.Came > (1-leastPoliced)*w.Sent {
		return false
	}
	for i := range g.recent {
		little, much := &g.recent[i], &w
		if little.sent() > much.sent() {
			little, much = much, little
		}
		if little.came() > 0 && much.sent() >= more*little.sent() && much.came() <= same*little.came() && little.came() <= same*much.came() {
			return true
		}
	}
	return false
}
