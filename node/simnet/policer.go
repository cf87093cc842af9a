package simnet

import "time"

// policer drops what is above a rate. Its zero value lets everything pass. It is
// pure: time is an argument.
type policer struct {
	rate int64 // bits per second
	full int64 // bits of the bucket that are used
	at   time.Time
}

// policerBurst is what passes at once, in bits.
const policerBurst = 8 * 16 << 10

// pass says whether a packet of size bytes is within the rate.
func (p *policer) pass(now time.Time, size int) bool {
	if p.rate == 0 {
		return true
	}
	idle := min(now.Sub(p.at), time.Minute)
	p.at = now
	if drained := int64(float64(p.rate) * idle.Seconds()); drained >= p.full {
		p.full = 0
	} else {
		p.full -= drained
	}
	if p.full+8*int64(size) > policerBurst {
		return false
	}
	p.full += 8 * int64(size)
	return true
}
