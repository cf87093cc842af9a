package repair

import "time"

// doubt is about losses at a queue of which nobody knows yet how long it can be, on a line
// that has lost nothing before: they may be the line's, which must be mended at once, for a
// flow that starts is ruined by them, or those of the queue, of which the flow must hear.
// They are repeated, and the flow waits, for little more than a round trip: by then a flow
// that starts has made the queue longer, if the queue has room. What it was not too
// full for later it was not too full for then. Its zero value is no doubt.
type doubt struct {
	open  bool
	since int64
	until int64 // then the queue is to blame
	late  int64 // the longest queue at which something was lost
	n     int   // how much was

	spoilt bool  // something stood still, so a longer queue means nothing
	longer int   // bursts of arrivals in a row that found a longer queue
	batch  int64 // the newest of them
	failed int64 // when the queue was to blame last; 0: never
}

const (
	maxDoubted    = 64                           // packets
	doubtSlack    = int64(20 * time.Millisecond) // beside the round trip
	enoughLonger  = 3
	doubtNotAgain = queuePeriod
)

// may says whether there may be a doubt now.
func (d *doubt) may(now int64) bool {
	if d.open {
		return d.n < maxDoubted
	}
	return d.failed == 0 || now-d.failed >= doubtNotAgain
}

// allows says whether something that was lost now, with the queue late nanoseconds
// long, is given the benefit of the doubt.
func (d *doubt) allows(now, late, rtt int64) bool {
	if !d.may(now) {
		return false
	}
	if !d.open {
		*d = doubt{open: true, since: now, failed: d.failed}
	}
	d.until = min(now+rtt+doubtSlack, d.since+2*rtt+doubtSlack)
	if late > d.late {
		d.late, d.longer = late, 0
	}
	d.n++
	return true
}

// heard takes what a datagram was late that came.
func (d *doubt) heard(now, late int64) {
	switch {
	case d.spoilt, late <= d.late*5/4+shortQueue/4:
		d.longer = 0
	case now != d.batch || d.longer == 0:
		d.longer++
		d.batch = now
	}
}

// verdict says whether it is known now who is to blame, and whether it is the line.
func (d *doubt) verdict(now int64) (known, line bool) {
	switch {
	case !d.open:
		return false, false
	case d.longer >= enoughLonger:
		d.open = false
		return true, true
	case now >= d.until:
		d.open, d.failed = false, now
		return true, false
	}
	return false, false
}
