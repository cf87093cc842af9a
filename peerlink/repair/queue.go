package repair

import (
	"math"
	"slices"
	"time"
)

// queueMeter learns from the stamps of a stream how long the queues on its way
// are, without common clocks: a datagram is as much late as it took longer than
// the fastest lately. Its zero value has seen nothing.
type queueMeter struct {
	seen bool
	ref  uint16 // the first difference of arrival and stamp
	last int32  // what the newest was late, in units of stamp

	least    [2]int32 // differences, relative to ref; of this period and the one before
	deepest  [2]int32 // lateness, the same
	batch    int64    // when the newest came; those that are read at once say one thing
	low      int32    // least lateness since lowSince
	lowSince int64
	batches  int   // since then
	at       int64 // of the newest sample
	stalled  int64 // until when what came late may have waited for a stall; 0: there was none
	calm     int32 // lateness at which the stall is over
	empty    int64 // when there was no queue last
	rtt      int64 // 0: not known
	since    int64 // beginning of this period

	// Datagrams that came while the queue was short, and that did not: whether the
	// line loses by itself.
	came, lost float64
	bursts     float64
	chance     float64 // how much of a window is lost by chance at most
	density    float64 // share of the newest that was lost
	long       bool    // the queue, when the newest came
	doubt      doubt

	// When the newest datagrams were found missing that it dropped, and that the line lost.
	given, spared judged
}

// judged are the times of the newest holes that were judged alike.
type judged struct {
	at     [64]int64
	newest int
}

// add notes what was found missing at a time.
func (j *judged) add(since int64) {
	if j.at[j.newest] != since {
		j.newest = (j.newest + 1) % len(j.at)
		j.at[j.newest] = since
	}
}

// has says whether what was found missing at a time was judged so.
func (j *judged) has(since int64) bool { return slices.Contains(j.at[:], since) }

const (
	// queuePeriod is how long a fastest datagram counts, at least: long enough for
	// a congestion control to empty the queue now and then, short enough for clocks
	// to drift by no more than a millisecond or two.
	queuePeriod = int64(20 * time.Second)

	// A queue shorter than shortQueue is none: scheduling and bursts make as much.
	shortQueue = int64(4 * time.Millisecond)

	// A queue is as long as the least lateness within lowPeriod, seen in more than
	// lowBatches batches.
	lowPeriod  = int64(12 * time.Millisecond)
	lowBatches = 2

	// Nothing came for at least stallGap, and what came then was late by most of it:
	// something on the way stood still. What it kept is late until that is drained,
	// at most stallDrain times as long.
	stallGap   = int64(8 * time.Millisecond)
	stallDrain = 10

	// A line is lossy that loses lossyShare of the newest datagrams, and at least
	// lossyLeast of them.
	lossyWindow = 8192
	lossyShare  = 0.004
	lossyLeast  = 4
	// How dense losses are is judged by the newest densityWindow datagrams.
	densityWindow = 256
)

// sample takes the stamp of a datagram that was received now.
func (q *queueMeter) sample(now int64, sent uint16) {
	diff := stamp(now) - sent
	if !q.seen || now-q.since > 3*queuePeriod {
		*q = queueMeter{seen: true, ref: diff, since: now, rtt: q.rtt, came: q.came, lost: q.lost, bursts: q.bursts, chance: q.chance, doubt: q.doubt}
	}
	d := int32(int16(diff - q.ref))
	if now-q.since > queuePeriod {
		q.since = now
		q.least[1], q.deepest[1] = q.least[0], q.deepest[0]
		q.least[0], q.deepest[0] = d, 0
	}
	q.least[0] = min(q.least[0], d)
	before := q.last
	q.last = max(d-min(q.least[0], q.least[1]), 0)
	q.stall(now, before)
	// A host or a line that was busy elsewhere makes late what comes next, a queue
	// makes late all that comes for a while.
	if now != q.batch {
		q.batch = now
		q.batches++
	}
	if now-q.lowSince > lowPeriod {
		if q.batches > lowBatches && q.stalled == 0 {
			q.deepest[0] = max(q.deepest[0], q.low)
		}
		q.low, q.lowSince, q.batches = q.last, now, 1
	}
	q.low = min(q.low, q.last)
	if q.late() < shortQueue/2 || now-q.at > shortQueue {
		q.empty = now
	}
	q.at = now
	q.long = q.full(q.late())
	if q.stalled > 0 {
		q.doubt.spoilt = true
	}
	if q.doubt.open {
		q.doubt.heard(now, q.late())
	}
}

// stall notices that something on the way stood still. The queue that this leaves is
// longer than the bottleneck's can be: taken for the longest, it would make losses of
// a full queue look like the line's own.
func (q *queueMeter) stall(now int64, before int32) {
	gap := now - q.at
	switch {
	case q.at > 0 && gap >= stallGap && int64(q.last-before)*stampUnit > gap/2:
		if q.stalled == 0 {
			q.calm = before + int32(shortQueue/stampUnit)
		}
		q.stalled = max(q.stalled, now+stallDrain*gap)
	case q.stalled > 0 && (q.last <= q.calm || now > q.stalled):
		q.stalled, q.low, q.lowSince, q.batches = 0, q.last, now, 0
	}
}

// late is what the newest datagram was late, in nanoseconds.
func (q *queueMeter) late() int64 { return int64(q.last) * stampUnit }

// full says whether a loss now, with the queue late nanoseconds long, was
// probably the queue's doing: it is long in relation to the longest seen lately.
//
// A line that loses by itself does so at any length of the queue. There the queue is
// to blame for what is lost while it is long and more is lost than chance explains.
func (q *queueMeter) full(late int64) bool {
	if late <= shortQueue {
		return false
	}
	deepest := int64(max(q.deepest[0], q.deepest[1])) * stampUnit
	if !q.lossy() {
		return late > deepest*3/5
	}
	if late > deepest*3/4 && q.density > q.chance {
		return true
	}
	// Single losses are mended by parity, whoever is to blame, so there it costs little
	// to be careful.
	return !q.runs() && late > max(deepest*7/8, q.rtt/4, 3*shortQueue)
}

// roundTrip is the round trip, or a guess.
func (q *queueMeter) roundTrip() int64 {
	if q.rtt > 0 {
		return q.rtt
	}
	return usualRTT
}

// runs says whether losses come in long runs, which parity does not mend.
func (q *queueMeter) runs() bool { return q.lost >= longBurst*q.bursts }

// doubts says whether the queue is not simply to blame for what is lost while it is long.
func (q *queueMeter) doubts(now int64) bool { return !q.lossy() && q.stalled == 0 && q.doubt.may(now) }

// lossy says whether the line loses though its queue is short.
func (q *queueMeter) lossy() bool { return q.lost >= lossyLeast && q.lost >= lossyShare*q.came }

// arrived takes a datagram that came.
func (q *queueMeter) arrived() {
	q.density -= q.density / densityWindow
	if q.long {
		return
	}
	if q.came++; q.came > lossyWindow {
		q.came, q.lost, q.bursts = q.came/2, q.lost/2, q.bursts/2
	}
}

// missed takes a datagram that did not come; long: while the queue was, again: right
// behind another one.
func (q *queueMeter) missed(long, again bool) {
	q.density += (1 - q.density) / densityWindow
	if long {
		return
	}
	q.lost++
	if !again {
		q.bursts++
	}
	// Three standard deviations of what a window loses in bursts of such a length.
	share, length := q.lost/(q.came+q.lost), q.lost/max(q.bursts, 1)
	q.chance = share + 3*math.Sqrt(2*length*share/densityWindow)
}
