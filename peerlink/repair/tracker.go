package repair

import (
	"cmp"
	"slices"
	"time"
)

// tracker knows which datagrams of one session came, and which of those that
// did not are worth asking for. Its zero value has seen nothing.
type tracker struct {
	index uint32
	next  uint64 // highest counter that came, plus one
	bits  [trackWords]uint64
	holes []hole // ascending

	got, calm, lost, bursts, crowded uint32 // calm: that came while the queue was short
	overtaken                        bool   // a datagram came that had been missing
	lastLost                         uint64 // counter of the newest judged loss
	doubts, doubtRuns                uint32 // losses that are to be counted when it is known who is to blame
	asked                            int64  // time of the last report
}

// hole is one missing counter.
type hole struct {
	counter uint64
	since   int64
	late    int64 // the queue when it was found missing
	state   holeState
}

type holeState uint8

const (
	young   holeState = iota // it may only be late
	wanted                   // to be repeated
	given                    // counted and not asked for
	doubted                  // to be repeated, and not counted yet
)

// asked says that it is to be repeated.
func (h *hole) asked() bool { return h.state == wanted || h.state == doubted }

const (
	trackWords = 64 // a power of two
	trackSize  = (trackWords - 1) * 64
	maxHoles   = 1024
	// More than swamp holes that are more than one in swampShare of all since the oldest are more than
	// repeats can mend in time: they have a budget.
	swamp, swampShare = 96, 16
	// reorderWait is how long a datagram may be overtaken before it counts as lost.
	reorderWait = int64(2 * time.Millisecond)
)

// seen takes the counter of a datagram that came. False: its content was there
// already.
func (t *tracker) seen(now int64, counter uint64, late int64) bool {
	t.got++
	if counter == t.next && t.next&63 != 0 { // in order
		t.bits[counter>>6&(trackWords-1)] |= 1 << (counter & 63)
		t.next++
		return true
	}
	if counter >= t.next {
		t.advance(now, counter, late)
		return true
	}
	if h := t.hole(counter); h != nil {
		t.overtaken = true
		switch h.state { // it was not lost after all
		case wanted:
			t.lost--
		case doubted:
			t.doubts--
		}
	}
	return t.mark(counter)
}

// advance moves next behind counter and notes what was jumped over.
func (t *tracker) advance(now int64, counter uint64, late int64) {
	first := t.next
	if t.next == 0 {
		first = counter // what was before is of no interest
	}
	if n := counter>>6 - first>>6; first&63 != 0 || n > 0 {
		w := first >> 6
		if first&63 != 0 {
			w++
		} else {
			n++
		}
		for range min(n, trackWords) {
			t.bits[w&(trackWords-1)] = 0
			w++
		}
		if n > trackWords {
			clear(t.bits[:])
		}
	} else {
		t.bits[first>>6&(trackWords-1)] = 0
	}
	if jump := counter - first; jump > maxHoles/2 {
		// A path that was away, not a path that loses: nothing is worth a repeat.
		t.crowded += uint32(min(jump, 1<<20))
		t.holes = t.holes[:0]
		first = counter
	}
	if over := len(t.holes) + int(counter-first) - maxHoles; over > 0 {
		t.holes = t.holes[:copy(t.holes, t.holes[min(over, len(t.holes)):])]
	}
	for c := first; c < counter; c++ {
		t.holes = append(t.holes, hole{counter: c, since: now, late: late})
	}
	t.bits[counter>>6&(trackWords-1)] |= 1 << (counter & 63)
	t.next = counter + 1
}

// mended notes that the content of counter was repaired. False: it was there, or
// it is too old to tell.
func (t *tracker) mended(counter uint64, q *queueMeter, blind bool) bool {
	if h := t.hole(counter); h != nil && h.state == young {
		t.judge(h, q, blind) // a loss all the same
	}
	return t.mark(counter)
}

// mark notes that the content of counter is there, however it came. False: it
// was, or it is too old to tell.
func (t *tracker) mark(counter uint64) bool {
	if counter >= t.next || t.next-counter > trackSize {
		return false
	}
	word, bit := &t.bits[counter>>6&(trackWords-1)], uint64(1)<<(counter&63)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	if i, ok := t.find(counter); ok {
		t.holes = slices.Delete(t.holes, i, i+1)
	}
	return true
}

func (t *tracker) find(counter uint64) (int, bool) {
	return slices.BinarySearchFunc(t.holes, counter, func(h hole, c uint64) int { return cmp.Compare(h.counter, c) })
}

// hole is that of counter, nil if it is not missing.
func (t *tracker) hole(counter uint64) *hole {
	if i, ok := t.find(counter); ok {
		return &t.holes[i]
	}
	return nil
}

// judge counts a hole as a loss of one kind or the other.
func (t *tracker) judge(h *hole, q *queueMeter, blind bool) {
	late := max(h.late, q.late())
	full := q.full(late)
	h.state = given
	switch {
	case blind:
		h.state = wanted
		t.crowded++
	case full && q.doubts(h.since) && q.doubt.allows(h.since, late, q.roundTrip()):
		h.state = doubted
		t.doubts++
		if h.counter != t.lastLost+1 {
			t.doubtRuns++
		}
	case full:
		t.crowded++
		q.given.add(h.since)
		q.missed(true, false)
	default:
		h.state = wanted
		t.lost++
		q.spared.add(h.since)
		q.missed(false, h.counter == t.lastLost+1)
		if h.counter != t.lastLost+1 {
			t.bursts++
		}
	}
	t.lastLost = h.counter
}

// newestHole is when the newest datagram was missed; there must be one.
func (t *tracker) newestHole() int64 { return t.holes[len(t.holes)-1].since }

// resolve counts what was in doubt.
func (t *tracker) resolve(line bool, q *queueMeter) {
	for i := range t.holes {
		switch h := &t.holes[i]; {
		case h.state == doubted && line:
			h.state = wanted
			q.spared.add(h.since)
		case h.state == doubted:
			h.state = given
			q.given.add(h.since)
		}
	}
	for i := range t.doubts {
		q.missed(!line, i >= t.doubtRuns)
	}
	if line {
		t.lost += t.doubts
		t.bursts += t.doubtRuns
	} else {
		t.crowded += t.doubts
	}
	t.doubts, t.doubtRuns = 0, 0
}

// settle judges the holes that are no longer young and drops those that nobody
// waits for any more. blind: nothing is known of the queues, so nothing is learned from the losses.
func (t *tracker) settle(now int64, q *queueMeter, blind bool, giveUp int64) {
	kept, patience := t.holes[:0], t.patience()
	for _, h := range t.holes {
		if h.state == young && now-h.since >= patience {
			t.judge(&h, q, blind)
		}
		if now-h.since < giveUp {
			kept = append(kept, h)
		}
	}
	t.holes = kept
}

// swamped says that far more is missing than the line loses usually: a queue that a
// whole window overflowed, too much for repeats.
func (t *tracker) swamped(q *queueMeter) bool {
	n := len(t.holes)
	return q.lossy() && q.runs() && q.roundTrip() <= int64(repeatRTT) && n > swamp && uint64(n*swampShare) > t.next-t.holes[0].counter
}

// patience is how long a hole counts as young. The first of all is not waited for: a flow
// that starts is best insured before its first packets.
func (t *tracker) patience() int64 {
	if t.lost == 0 && !t.overtaken {
		return 0
	}
	return reorderWait
}

// wants says whether a report should ask for something.
func (t *tracker) wants() bool {
	for i := range t.holes {
		if t.holes[i].asked() {
			return true
		}
	}
	return false
}

// nextJudged is when the next hole stops being young; 0: never.
func (t *tracker) nextJudged() int64 {
	for i := range t.holes {
		if t.holes[i].state == young {
			return t.holes[i].since + t.patience()
		}
	}
	return 0
}

// fill writes what t knows into r, the newest holes first if not all fit.
func (t *tracker) fill(r *Report) {
	r.Index, r.Newest = t.index, t.next-1
	r.Got, r.Lost, r.Bursts, r.Crowded, r.N = t.calm, t.lost, t.bursts, t.crowded, 0
	for i := len(t.holes) - 1; i >= 0 && r.N < maxRanges; {
		h := t.holes[i]
		if !h.asked() || r.Newest-h.counter > 1<<16-1 {
			i--
			continue
		}
		first := i
		for first > 0 && t.holes[first-1].asked() && t.holes[first-1].counter+1 == t.holes[first].counter && i-first < 255 &&
			r.Newest-t.holes[first-1].counter <= 1<<16-1 {
			first--
		}
		r.Missing[r.N] = Range{Back: uint16(r.Newest - t.holes[first].counter), More: uint8(i - first)}
		r.N++
		i = first - 1
	}
}
