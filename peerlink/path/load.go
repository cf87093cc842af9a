package path

import "time"

// Load remembers what traffic has shown of one way, because probes alone do not
// show that a way is throttled. Its zero value knows nothing.
type Load struct {
	loss      float64 // share of datagrams that was lost
	lossAt    time.Time
	goodput   float64 // bytes per second that got through when more was offered; 0: not known
	goodputAt time.Time
}

const (
	// loadedHalf is the time in which the memory of loss fades to a half. The goodput
	// is believed for as long, and unknown after that: then the way is worth a try.
	loadedHalf = 5 * time.Minute
	// presently is how long after it was measured more is taken to be offered still.
	presently = 10 * time.Second
	// freed is how many times the goodput passes without being held up, if the way
	// is not what it was.
	freed = 1.25
)

// Lost takes the share of the traffic's datagrams that is lost.
func (l *Load) Lost(now time.Time, share float64) { l.loss, l.lossAt = share, now }

// Passed takes what passed, in bytes per second; limited: more was offered.
func (l *Load) Passed(now time.Time, rate float64, limited bool) {
	switch {
	case limited:
		l.goodput, l.goodputAt = rate, now
	case rate > freed*l.goodput:
		l.goodput = 0
	}
}

// Loss is the share of the traffic that was lost, as it is remembered.
func (l *Load) Loss(now time.Time) float64 {
	if l.lossAt.IsZero() {
		return 0
	}
	share, age := l.loss, now.Sub(l.lossAt)
	for ; age >= loadedHalf && share > 0.001; age -= loadedHalf {
		share /= 2
	}
	return share * (1 - float64(min(max(age, 0), loadedHalf))/float64(2*loadedHalf))
}

// Goodput is how many bytes per second got through when more was offered; 0: not
// known, or not any more.
func (l *Load) Goodput(now time.Time) float64 {
	if now.Sub(l.goodputAt) >= loadedHalf {
		return 0
	}
	return l.goodput
}

// Limited says whether more than the goodput is offered now.
func (l *Load) Limited(now time.Time) bool {
	return l.goodput > 0 && now.Sub(l.goodputAt) < presently
}

// FillLoad puts what traffic has shown into a candidate. Of the way in use the
// goodput counts only while more is offered: what is idle is not worth a change.
func FillLoad[P comparable](c *Candidate[P], l *Load, now time.Time, inUse bool) {
	c.Loss = max(c.Loss, l.Loss(now))
	if !inUse || l.Limited(now) {
		c.Goodput = l.Goodput(now)
	}
}
