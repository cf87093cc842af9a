// Package pmtu finds the largest datagram that a path carries, by padded probes
// alone (DPLPMTUD, RFC 8899): ICMP need not come through. It is pure: time is an
// argument, probes are sent by the caller.
//
// Unlike the RFC it begins with the size that the interface allows, because
// nearly all paths carry it and connections that start meanwhile should not be
// clamped; and when that does not pass, it asks for many sizes at once, so that
// a stalled transfer goes on soon.
package pmtu

import (
	"slices"
	"time"
)

// Search is the state for one path. Create it with [New]; it is for one goroutine.
type Search struct {
	min, max int
	limit    int // what may be sent
	low      int // the largest size that passed since the search began; 0: none
	high     int // a size that did not pass, and all above it
	top      int // a size that is tried before those between; 0: none

	phase phase
	round int           // of probes in this phase
	at    time.Time     // of the last round
	kept  bool          // the limit was confirmed in this phase
	since time.Time     // of the last confirmation
	raise time.Time     // when to look for more
	wait  time.Duration // from the last search for more to the next; 0: there was none

	id   uint32
	sent []Probe // the newest last
}

// Probe asks the caller to send a datagram of Size bytes that draws an answer with
// the ID.
type Probe struct {
	ID   uint32
	Size int // bytes
}

type phase uint8

const (
	check  phase = iota // does the limit pass?
	volley              // it does not: what does?
	refine              // between what passes and what does not
	done
)

// Times and counts. RFC 8899 5.1 has the names in parentheses.
const (
	leastWait    = 200 * time.Millisecond // for an answer (PROBE_TIMER)
	maxProbes    = 3                      // of one size (MAX_PROBES)
	doubtful     = 2                      // probes of the limit before other sizes are tried
	confirmEvery = time.Second            // while large datagrams are sent (CONFIRMATION_TIMER)
	raiseFirst   = 30 * time.Second       // after the path seemed to shrink, then doubled
	raiseEvery   = 10 * time.Minute       // at most (PMTU_RAISE_TIMER)
	rungs        = 12
	granularity  = 8 // bytes
	keepSent     = 64
)

// New returns a search for sizes from least to most bytes.
func New(least, most int) *Search {
	s := &Search{}
	s.Bound(least, most)
	return s
}

// Bound says that the sizes in question have changed; if so the search begins anew.
func (s *Search) Bound(least, most int) {
	if least = min(least, most); least == s.min && most == s.max {
		return
	}
	*s = Search{min: least, max: most, limit: most, high: most + 1, id: s.id, sent: s.sent[:0]}
}

// Limit is the largest datagram that should be sent now, in bytes.
func (s *Search) Limit() int { return s.limit }

// Confirmed says whether the limit is known to pass.
func (s *Search) Confirmed() bool { return s.low == s.limit }

// Busy says whether Step should be called again soon.
func (s *Search) Busy() bool { return s.phase != done }

// Step lets time pass and returns what is to be sent now. large: datagrams were
// sent lately that are so large that they could be too large. The slice is valid
// until the next call.
func (s *Search) Step(now time.Time, rtt time.Duration, large bool) []Probe {
	first := len(s.sent)
	switch {
	case s.phase == done && s.limit < s.max && !now.Before(s.raise):
		s.begin(refine)
		s.high = s.max + 1
	case s.phase == done && large && now.Sub(s.since) >= confirmEvery:
		s.begin(check)
	}
	if s.phase == done || s.round > 0 && now.Sub(s.at) < max(leastWait, 2*rtt) {
		return nil
	}
	s.judge(now)
	if s.phase == done {
		return nil
	}
	s.round++
	s.at = now
	switch s.phase {
	case check:
		s.probe(s.limit)
	case refine:
		s.probe(s.candidate())
		if s.round > 1 { // too large, or nothing passes any more?
			s.probe(s.limit)
		}
	case volley:
		for i := range rungs + 1 {
			s.probe(s.min + (s.limit-s.min)*i/rungs)
		}
	}
	probes := s.sent[first:]
	if drop := len(s.sent) - keepSent; drop > 0 {
		s.sent = slices.Clone(s.sent[drop:])
	}
	return probes
}

func (s *Search) begin(p phase) { s.phase, s.round, s.kept = p, 0, false }

// judge draws conclusions from the rounds so far, the last of which has had its time.
func (s *Search) judge(now time.Time) {
	switch {
	case s.phase == check && s.round == doubtful:
		s.begin(volley)
		s.low, s.high = 0, s.limit+1
	case s.phase == volley && s.round >= doubtful && s.low > 0:
		// What failed has failed several times.
		s.high = min(s.low+max((s.limit-s.min)/rungs, 1)+1, s.limit) + 1
		s.limit, s.top = s.low, s.high-1
		s.wait = 0
		s.begin(refine)
		s.rest(now)
	case s.phase == volley && s.round == maxProbes:
		// Nothing passes at all: that is not a question of size.
		s.finish(now)
	case s.phase == refine && s.round == maxProbes && !s.kept:
		s.begin(volley) // the path has shrunk meanwhile
		s.low, s.high = 0, s.limit+1
	case s.phase == refine && s.round == maxProbes:
		s.high, s.top = s.candidate(), 0
		s.begin(refine)
		s.rest(now)
	}
}

// candidate is the next size to try.
func (s *Search) candidate() int {
	if s.high > s.max {
		return s.max // most paths carry all or have one narrow place
	}
	if s.top > s.limit {
		return s.top
	}
	return (s.limit + s.high) / 2
}

// rest ends the search when it is fine enough.
func (s *Search) rest(now time.Time) {
	if s.limit == s.max || s.high-s.limit <= granularity {
		s.finish(now)
	}
}

// finish ends a search. The next one for more comes soon if the path has just seemed
// to shrink: a queue that is full and counted in bytes drops large datagrams only,
// which looks the same.
func (s *Search) finish(now time.Time) {
	s.begin(done)
	s.wait = min(max(2*s.wait, raiseFirst), raiseEvery)
	s.since, s.raise = now, now.Add(s.wait)
}

func (s *Search) probe(size int) {
	s.id++
	s.sent = append(s.sent, Probe{ID: s.id, Size: size})
}

// Answered takes the answer to a probe. One that is not known changes nothing.
func (s *Search) Answered(now time.Time, id uint32) {
	i := slices.IndexFunc(s.sent, func(p Probe) bool { return p.ID == id })
	if i < 0 {
		return
	}
	size := s.sent[i].Size
	if size > s.max {
		return
	}
	s.low = max(s.low, size)
	s.kept = s.kept || size == s.limit
	switch {
	case size >= s.limit && (s.phase == check || s.phase == volley):
		s.limit = size
		s.high = max(s.high, size+1)
		if s.raise.IsZero() || size == s.max {
			s.finish(now)
			return
		}
		s.begin(done)
		s.since = now
	case size > s.limit:
		s.limit, s.high = size, max(s.high, size+1)
		if s.phase == refine {
			s.begin(refine)
			s.rest(now)
		}
	}
}
