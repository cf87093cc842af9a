package repair

// repeat is one entry of the queue of repeats.
type repeat struct {
	number uint64
	copies int
	at     int64 // not before
}

// again is the next repeat, nil if the first in the queue is not worth one any more.
func (s *Sender) again(now int64, index uint32, counter uint64) []byte {
	r := &s.queue[s.first]
	e := s.ring.byNumber(r.number)
	if r.copies--; r.copies <= 0 || e == nil {
		s.first++
	}
	if e == nil || e.done {
		return nil
	}
	e.queued = r.copies > 0
	if age := counter - e.first; now-e.sent > repeatLife || e.index != index || age > 1<<16-1 {
		s.giveUp(e)
		return nil
	}
	e.shim.Repeat, e.shim.Grouped, e.shim.Age = true, false, uint16(counter-e.first)
	e.shim.Stamp, e.shim.Again = stamp(now), e.repeats > 1
	e.group, e.last = 0, counter
	s.ring.note(e, r.number)
	s.tokens -= float64(len(e.buf))
	return e.plain()
}

// AppendRepeat appends to dst what repeats a packet of which no sender has a copy:
// the content of a wire.Repairable datagram under counter. It went under first of the same
// session before, and the receiver drops it if it came then. Nobody asked for it, so it
// says nothing of how long a repeat takes. False: that was too long ago for a receiver
// to tell.
func AppendRepeat(dst []byte, now int64, first, counter uint64, partial bool, packet []byte) (plain []byte, ok bool) {
	if counter-first >= trackSize {
		return dst, false
	}
	s := Shim{Partial: partial, Repeat: true, Final: true, Stamp: stamp(now), Age: uint16(counter - first)}
	return append(s.Append(dst), packet...), true
}

// giveUp leaves a packet lost.
func (s *Sender) giveUp(e *entry) {
	if e.done {
		return
	}
	e.done = true
	s.meter.gone++
	if e.shim.Ordered {
		s.skips = append(s.skips, skip{slot: e.shim.Slot, seq: e.shim.Seq})
	}
}

// Overrun says that the datagrams under the counters from first on, n of them, did
// not leave this host, because the path was full: to repeat them would fill it again.
func (s *Sender) Overrun(index uint32, first uint64, n int) {
	for c := first; c < first+uint64(n); c++ {
		if e, _ := s.ring.get(index, c); e != nil {
			s.giveUp(e)
		}
	}
}

// missing takes a counter that did not come.
func (s *Sender) missing(now int64, r *Report, counter uint64) {
	e, number := s.ring.get(r.Index, counter)
	if e == nil || e.queued || e.done || len(s.queue)-s.first >= maxQueue {
		return
	}
	if e.group != 0 && !s.parity[(e.group-1)%lanes].over(e.group-1, r.Newest) {
		return // parity has not had its chance; the next report will say
	}
	if now-e.sent > repeatLife || e.repeats >= maxRepeats {
		s.giveUp(e)
		return
	}
	copies := max(s.plan.Copies[min(e.repeats, 1)], 1)
	if !e.shim.Ordered && e.repeats == 0 {
		copies = 1 // nobody stalls for it
	}
	if s.plan.Spread > 0 && e.repeats == 0 && e.shim.Ordered && len(s.later) < maxQueue {
		s.later = append(s.later, repeat{number: number, copies: 1, at: now + int64(s.plan.Spread)})
	}
	e.repeats++
	e.queued = true
	s.queue = append(s.queue, repeat{number: number, copies: copies})
}

// ripen queues the second copies whose time has come, and returns when the next is due;
// 0: there is none.
func (s *Sender) ripen(now int64) int64 {
	n := 0
	for ; n < len(s.later) && s.later[n].at <= now; n++ {
		e := s.ring.byNumber(s.later[n].number)
		if e == nil || e.done || e.queued || len(s.queue)-s.first >= maxQueue {
			continue
		}
		e.queued = true
		s.queue = append(s.queue, s.later[n])
	}
	s.later = s.later[:copy(s.later, s.later[n:])]
	if len(s.later) == 0 {
		return 0
	}
	return s.later[0].at
}

// compact forgets the part of the queue that is done.
func (s *Sender) compact() {
	if s.first > 0 {
		s.queue = s.queue[:copy(s.queue, s.queue[s.first:])]
		s.first = 0
	}
}

// span is how long copies are of use, and how many may be kept. Where a round trip
// is short a loss is known soon, and what comes at a higher rate than a few copies
// can follow is nothing that a repeat could mend.
func (s *Sender) span() (life int64, most int) {
	if s.rtt < nearRTT {
		return nearLife, nearEntries
	}
	return min(6*s.rtt+nearLife, repeatLife), maxEntries
}
