package gossip

import "time"

const (
	jumpWait    = time.Second
	jumpWaitMax = 5 * time.Minute
)

// seqJump decides when to publish above an advert that carries our own signature
// and a higher number than ours. That is usual after our clock went back, and
// then happens once. If a copy of our identity runs elsewhere, both would
// outbid each other for ever: so each jump doubles the wait before the next. The
// zero value is usable.
type seqJump struct {
	floor uint64 // to be exceeded; 0: nothing to do
	next  time.Time
	wait  time.Duration
}

// ahead notes the number of such an advert.
func (j *seqJump) ahead(seq uint64) { j.floor = max(j.floor, seq) }

// due returns the number to exceed now, if it is time to.
func (j *seqJump) due(now time.Time) (floor uint64, ok bool) {
	if j.floor == 0 || now.Before(j.next) {
		return 0, false
	}
	if now.Sub(j.next) > 2*jumpWaitMax { // long quiet: begin anew
		j.wait = 0
	}
	j.wait = min(max(2*j.wait, jumpWait), jumpWaitMax)
	j.next = now.Add(j.wait)
	floor, j.floor = j.floor, 0
	return floor, true
}
