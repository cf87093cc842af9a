package nat

import (
	"fmt"
	"time"
)

// Lifetime is how long the NAT keeps the mapping of a UDP path on which nothing
// is said, once both sides have said something. The zero Lifetime was not measured.
type Lifetime struct {
	Least time.Duration // the longest silence that a mapping was seen to outlive
	Most  time.Duration // the shortest that it did not; 0: none was found
}

// Known says whether it was measured.
func (l Lifetime) Known() bool { return l != Lifetime{} }

// Refresh is how often something must go out on a path so that its mapping is
// never half-way to its end; 0: not known.
func (l Lifetime) Refresh() time.Duration {
	if !l.Known() {
		return 0
	}
	return max(l.Least/2, time.Second)
}

// String says it for people.
func (l Lifetime) String() string {
	switch {
	case !l.Known():
		return "mapping lifetime not measured"
	case l.Most == 0:
		return fmt.Sprintf("mappings last %v or longer", l.Least)
	}
	return fmt.Sprintf("mappings last %v to %v", l.Least, l.Most)
}

const (
	// The silences that are tried: from the timeout of the worst common routers on,
	// each twice as long, to twice what RFC 4787 (REQ-5) recommends. Nothing need
	// be held open more rarely.
	firstSilence   = 30 * time.Second
	longestSilence = 10 * time.Minute
	// finestSilence and an eighth of the lifetime are as exact as is of use.
	finestSilence = 2 * time.Second
)

// lifetimeSearch finds a lifetime by trials (RFC 5780, 4.6). It is pure; its zero
// value has tried nothing.
type lifetimeSearch struct{ found Lifetime }

// next is the silence to be tried next; false: it is known well enough.
func (s *lifetimeSearch) next() (time.Duration, bool) {
	least, most := s.found.Least, s.found.Most
	switch {
	case most == 0 && least >= longestSilence, most != 0 && most-least <= max(least/8, finestSilence):
		return 0, false
	case most == 0:
		return min(max(2*least, firstSilence), longestSilence), true
	}
	return least + (most-least)/2, true
}

// survived takes the result of a trial. One that contradicts an earlier one is
// believed: a router was set otherwise, or an answer was lost.
func (s *lifetimeSearch) survived(silence time.Duration, alive bool) {
	if alive {
		s.found.Least = max(s.found.Least, silence)
		if s.found.Most <= s.found.Least {
			s.found.Most = 0
		}
		return
	}
	s.found.Most = silence
	if s.found.Least >= silence {
		s.found.Least = 0
	}
}
