package repair

import "time"

// queueMeter learns from the stamps of a stream how long the queues on its way
// are, without common clocks: a datagram is as much late as it took longer than
// the fastest lately. Its zero value has seen nothing.
type queueMeter struct {
	seen bool
	ref  uint16 // the first difference of arrival and stamp
	last int32  // what the newest was late, in units of stamp

	least   [2]int32 // differences, relative to ref; of this period and the one before
	deepest [2]int32 // lateness, the same
	batch   int64    // when the newest came; those that are read at once say one thing
	low     [3]int32 // least lateness of this batch and the two before
	since   int64    // beginning of this period
}

const (
	// queuePeriod is how long a fastest datagram counts, at least: long enough for
	// a congestion control to empty the queue now and then, short enough for clocks
	// to drift by no more than a millisecond or two.
	queuePeriod = int64(20 * time.Second)

	// A queue shorter than shortQueue is none: scheduling and bursts make as much.
	shortQueue = int64(4 * time.Millisecond)
)

// sample takes the stamp of a datagram that was received now.
func (q *queueMeter) sample(now int64, sent uint16) {
	diff := stamp(now) - sent
	if !q.seen || now-q.since > 3*queuePeriod {
		*q = queueMeter{seen: true, ref: diff, since: now}
	}
	d := int32(int16(diff - q.ref))
	if now-q.since > queuePeriod {
		q.since = now
		q.least[1], q.deepest[1] = q.least[0], q.deepest[0]
		q.least[0], q.deepest[0] = d, 0
	}
	q.least[0] = min(q.least[0], d)
	q.last = max(d-min(q.least[0], q.least[1]), 0)
	// A receiver that was busy elsewhere makes one batch late, a queue makes all.
	if now != q.batch {
		q.deepest[0] = max(q.deepest[0], min(q.low[0], q.low[1], q.low[2]))
		q.low[2], q.low[1], q.low[0], q.batch = q.low[1], q.low[0], q.last, now
	}
	q.low[0] = min(q.low[0], q.last)
}

// late is what the newest datagram was late, in nanoseconds.
func (q *queueMeter) late() int64 { return int64(q.last) * stampUnit }

// full says whether a loss now, with the queue late nanoseconds long, was
// probably the queue's doing: it is long in relation to the longest seen lately.
func (q *queueMeter) full(late int64) bool {
	deepest := int64(max(q.deepest[0], q.deepest[1])) * stampUnit
	return late > max(shortQueue, deepest*3/5)
}
