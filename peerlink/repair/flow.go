package repair

import (
	"time"
	"unsafe"
)

// flow puts one flow's packets back in order. A packet is due when as much time
// has passed since it was sent as one that had to be repeated would have taken;
// so what is repaired does not show as a change of the round trip.
type flow struct {
	base  uint16 // where the flow began, as its first packets say
	next  uint16 // the next to be handed on
	end   uint16 // behind the highest that came
	held  int
	slots []place // a ring by sequence number; its length is a power of two
	last  int64   // when something came

	settled bool  // it started and filled a queue, so it is to hear of it
	ends    bool  // nothing is known of what follows
	gather  int64 // until then what a repeat released waits for more; 0: nothing does
}

// place is one number between next and end: a packet that waits, or a hole.
type place struct {
	present bool
	partial bool
	stuck   bool  // stood behind a hole when it was due
	zero    int64 // when it would have come without queues; of a hole: when it was found
	limit   int64 // of a hole: when it is given up
	buf     []byte
}

const (
	// firstWindow is what a TCP sends before it measures (RFC 6928; HyStart looks
	// at windows of 16 and more).
	firstWindow = 12
	flowWindow  = 8192 // packets between next and end; a power of two
	minWindow   = 64
	maxPlaces   = 1 << 16 // of all flows, 3 MB
	placeCost   = int(unsafe.Sizeof(place{}))
	// A flow that starts on a line that loses by itself does not notice that it has filled the
	// line: its TCP looks for growing delays (HyStart), but repairs blur them, and
	// losses are mended. If nobody tells it, it ends its start with a queue that overflows
	// by as much as the line holds. So once the line is busy for most of a round trip, it
	// is delayed by settleDelay, more than HyStart ever takes for chance.
	settleDelay = int64(18 * time.Millisecond)
	// gatherTime is how long the first repeat to a flow that starts waits for those of the
	// same run, so that they are acknowledged at once: HyStart takes eight late
	// acknowledgements for a queue.
	gatherTime = int64(4 * time.Millisecond)
	// flowIdle is how long a flow without packets is remembered.
	flowIdle = int64(5 * time.Second)
)

func (f *flow) at(seq uint16) *place { return &f.slots[int(seq)&(len(f.slots)-1)] }

// lacks is by how many places a flow must grow for n of them.
func (f *flow) lacks(n int) int {
	if n <= len(f.slots) {
		return 0
	}
	size := max(minWindow, len(f.slots))
	for size < n {
		size *= 2
	}
	return size - len(f.slots)
}

// grow makes the ring as long as size, a power of two.
func (f *flow) grow(size int) {
	old := f.slots
	f.slots = make([]place, size)
	for s := f.next; s != f.end; s++ {
		f.slots[int(s)&(size-1)] = old[int(s)&(len(old)-1)]
	}
}

// ordered takes a packet of an ordered flow. One that was
// repaired is due at once.
func (r *Receiver) ordered(now int64, s *Shim, packet []byte, repaired bool) {
	f := r.flows[s.Slot]
	begin := s.Seq &^ 255
	switch {
	case f == nil:
		f = &flow{base: s.Seq, next: s.Seq, end: s.Seq}
		if s.Fresh {
			f.base, f.next, f.end = begin, begin, begin
		}
		r.flows[s.Slot] = f
	case s.Fresh && begin != f.base && int16(s.Seq-f.next) >= 0 && int16(begin-f.end) >= 0, int16(s.Seq-f.next) >= flowWindow:
		r.flush(f)
		f.base, f.next, f.end = begin, begin, begin
		if !s.Fresh {
			f.next, f.end = s.Seq, s.Seq
		}
	}
	f.last = now
	ahead := int16(s.Seq - f.next)
	if ahead < 0 { // its time is over: better late than never
		r.deliver(s.Partial, packet)
		return
	}
	zero := now - r.queue.late()
	hasty := s.Hasty
	if hasty && f.end-f.base >= firstWindow && r.queue.lossy() {
		if f.settled = f.settled || now-r.queue.empty > r.roundTrip()*7/10; f.settled {
			hasty = false
			r.need(settleDelay)
		}
	}
	if repaired || hasty {
		zero = now - maxPlayout
	}
	if ahead == 0 && repaired && s.Hasty && f.gather == 0 {
		f.gather, f.ends = now+gatherTime, s.Seq == f.end || s.Seq+1 == f.end
	}
	if ahead == 0 && f.held == 0 && zero+r.playout <= now && f.gather <= now {
		f.next++
		if int16(f.end-f.next) < 0 {
			f.end = f.next
		}
		r.deliver(s.Partial, packet)
		return
	}
	if more := f.lacks(int(ahead) + 1); more > 0 {
		if r.places+more > maxPlaces || !r.budget.Take(more*placeCost) { // too much is open at once
			r.flush(f)
			f.base, f.next, f.end = begin, s.Seq+1, s.Seq+1
			r.deliver(s.Partial, packet)
			return
		}
		r.places += more
		f.grow(len(f.slots) + more)
	}
	for int16(s.Seq-f.end) > 0 { // holes between what came before and this
		hole := place{zero: now, limit: now + r.patience(s)}
		hole.limit = r.limit(&hole)
		*f.at(f.end) = hole
		f.end++
	}
	p := f.at(s.Seq)
	if s.Seq == f.end {
		p.present = false
		f.end++
	}
	if p.present {
		return
	}
	if ahead == 0 {
		f.mark(now, r.playout)
	}
	*p = place{present: true, partial: s.Partial, zero: zero, buf: append(r.free.take(len(packet)), packet...)}
	f.held++
	r.waiting++
	r.held += len(packet)
	r.drain(now, f)
	r.peak = max(r.peak, r.waiting)
}

// patience is how long a hole in front of a packet may wait.
func (r *Receiver) patience(s *Shim) int64 {
	if s.Final { // only parity can fill it
		return finalGiveUp
	}
	return r.giveUp()
}

// limit is when a hole is given up. The flow is to hear of what a full queue dropped,
// unless parity has it.
func (r *Receiver) limit(hole *place) int64 {
	switch {
	case r.trackers[r.current].swamped(&r.queue):
		return hole.zero
	case r.queue.lossy() && r.queue.spared.has(hole.zero), !r.queue.given.has(hole.zero) && (!r.queue.long || r.queue.doubts(hole.zero)):
		return hole.limit
	case r.insured:
		return min(hole.limit, hole.zero+r.parityTime)
	}
	return hole.zero
}

// drain hands on what is due, in order, and gives up holes whose time is over.
// It returns when to look again; 0: when something comes.
func (r *Receiver) drain(now int64, f *flow) int64 {
	if f.gather > now && (f.ends || int(f.end-f.next) > f.held) && !r.crowded() {
		return f.gather
	}
	f.gather, f.ends = 0, false
	for f.next != f.end {
		p := f.at(f.next)
		if !p.present {
			if limit := r.limit(p); now < limit && !r.crowded() {
				f.mark(now, r.playout)
				return limit
			}
			f.next++
			if f.next != f.end {
				f.at(f.next).stuck = false
			}
			continue
		}
		due := p.zero + r.playout
		if p.stuck {
			// It waited for a hole that is filled now. With this much delay for all
			// it would not have had to.
			// The others behind it keep the distances at which they were sent.
			r.need(now - p.zero)
			due = now
		}
		if due > now && !r.crowded() {
			return due
		}
		r.handOn(f, p)
	}
	return 0
}

// mark notes which packets are due but stand behind the hole at next: only the
// first counts.
func (f *flow) mark(now, playout int64) {
	for s := f.next + 1; s != f.end; s++ {
		if p := f.at(s); p.present {
			p.stuck = p.stuck || p.zero+playout <= now && p.zero > now-maxPlayout
			return
		}
	}
}

func (r *Receiver) handOn(f *flow, p *place) {
	f.next++
	f.held--
	r.waiting--
	r.held -= len(p.buf)
	r.deliver(p.partial, p.buf)
	r.free.give(p.buf)
	if *p = (place{}); r.waiting == 0 && r.budget.Tight() {
		r.free.forget() // others want for room
	}
}

// flush hands on all that a flow holds.
func (r *Receiver) flush(f *flow) {
	for f.next != f.end {
		if p := f.at(f.next); p.present {
			r.handOn(f, p)
		} else {
			f.next++
		}
	}
}

// skip gives up a packet that will not be repeated.
func (r *Receiver) skip(now int64, s skip) {
	f := r.flows[s.slot]
	if f == nil || int16(s.seq-f.next) < 0 || int16(s.seq-f.end) >= 0 {
		return
	}
	if p := f.at(s.seq); !p.present {
		p.limit = now
	}
	r.drain(now, f)
}
