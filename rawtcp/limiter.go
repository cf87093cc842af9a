package rawtcp

import "time"

// limiter lets perSecond events a second through, a quarter second's worth at
// once. Its zero value with perSecond set starts full. For one goroutine.
type limiter struct {
	perSecond int
	tokens    float64
	last      time.Duration
}

func (l *limiter) allow(now time.Duration) bool {
	burst := float64(l.perSecond) / 4
	l.tokens = min(burst, l.tokens+(now-l.last).Seconds()*float64(l.perSecond))
	l.last = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}
