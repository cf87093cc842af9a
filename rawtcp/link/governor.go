package link

import "time"

// governor bounds what waits in the kernel behind one socket, so that a slow
// interface has no standing queue of ours before it (as CoDel, RFC 8289, it looks
// at the least that waited for a while: bursts are welcome). What does not fit is
// refused at once, which is the loss that the senders inside must see. It is pure.
type governor struct {
	most  int // bytes, while nothing is wrong
	limit int

	sent   uint64 // at the last step
	queued int
	at     time.Time

	rate   float64 // bytes per second that the interface takes; 0: not known
	least  int     // that waited in this window
	began  time.Time
	idle   time.Time // since when nothing waits
	refuse uint64    // sends refused, at the last window
}

const (
	governEvery   = 10 * time.Millisecond
	governIdle    = 100 * time.Millisecond
	governWindow  = 100 * time.Millisecond // RFC 8289's interval
	queueTarget   = 20 * time.Millisecond  // a standing queue of so much is too much
	queueAllowed  = 35 * time.Millisecond  // beside the super-segment that is being added
	leastQueue    = 8 << 10                // bytes
	releasedAfter = time.Second
)

// step takes the time, the bytes that wait, and how many bytes were sent and how
// many sends refused so far. It returns the bytes that may wait.
func (g *governor) step(now time.Time, queued int, sent, refused uint64) int {
	if g.at.IsZero() {
		g.limit, g.at, g.began, g.least = g.most, now, now, queued
		g.sent, g.queued, g.refuse = sent, queued, refused
		return g.limit
	}
	if past := now.Sub(g.at).Seconds(); queued > 0 && g.queued > 0 && past > 0 {
		drained := float64(sent-g.sent) - float64(queued-g.queued)
		if r := max(drained, 0) / past; g.rate == 0 {
			g.rate = r
		} else {
			g.rate += (r - g.rate) / 16
		}
	}
	g.at, g.sent, g.queued = now, sent, queued
	g.least = min(g.least, queued)
	switch {
	case queued > 0:
		g.idle = time.Time{}
	case g.idle.IsZero():
		g.idle = now
	case now.Sub(g.idle) >= releasedAfter && refused == g.refuse:
		g.limit, g.rate = g.most, 0
	}
	if now.Sub(g.began) < governWindow {
		return g.limit
	}
	switch {
	case g.rate > 0 && float64(g.least) > g.rate*queueTarget.Seconds():
		g.limit = min(max(int(g.rate*queueAllowed.Seconds()), leastQueue), g.most)
	case g.least == 0 && refused != g.refuse:
		g.limit = min(g.limit+g.limit/2, g.most) // the interface could have sent more
	}
	g.began, g.least, g.refuse = now, queued, refused
	return g.limit
}
