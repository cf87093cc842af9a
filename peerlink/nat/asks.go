package nat

import (
	"net/netip"
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// The times at which a question is asked, after the first, and after which it is
// given up: the round trip may be half a second, and losses are worth three more
// tries.
var retransmissions = [...]time.Duration{500 * time.Millisecond, 1500 * time.Millisecond, 3 * time.Second}

const (
	// Transmissions is how often a question is asked at most.
	Transmissions = len(retransmissions) + 1
	// AskTimeout is when it is given up.
	AskTimeout = 5 * time.Second
)

// ask is one question to one server.
type ask struct {
	owner  any // the survey that asks; nil: somebody else
	path   packet.Path
	change Change
	asker  netip.AddrPort // whom the server shall answer instead of us; not valid: us
	mesh   bool           // sealed, to a node of the mesh; otherwise in the clear
	done   func(now time.Time, a answer)

	began time.Time
	tries int
	ids   []TransactionID
	times []time.Time // of the transmissions
}

// answer is what became of an ask.
type answer struct {
	outcome Outcome
	message Message        // of Success and Failure
	from    netip.AddrPort // who answered
	rtt     time.Duration
}

// asks are the questions that are open. It is pure; its zero value is ready.
type asks struct {
	open []*ask // in the order of asking
	byID map[TransactionID]*ask
}

// begin notes a; due will bring its first transmission.
func (s *asks) begin(now time.Time, a *ask) {
	a.began = now
	s.open = append(s.open, a)
}

// sent notes one transmission of a under id.
func (s *asks) sent(now time.Time, a *ask, id TransactionID) {
	if s.byID == nil {
		s.byID = map[TransactionID]*ask{}
	}
	a.tries++
	a.ids, a.times = append(a.ids, id), append(a.times, now)
	s.byID[id] = a
}

// at is when a is transmitted again, or given up.
func (a *ask) at() time.Time {
	switch {
	case a.tries == 0:
		return a.began
	case a.tries < Transmissions:
		return a.began.Add(retransmissions[a.tries-1])
	}
	return a.began.Add(AskTimeout)
}

// due returns what is to be transmitted now, and what is given up; the latter is
// forgotten.
func (s *asks) due(now time.Time) (send, silent []*ask) {
	for _, a := range s.open {
		switch {
		case now.Before(a.at()):
		case a.tries == Transmissions:
			silent = append(silent, a)
		default:
			send = append(send, a)
		}
	}
	for _, a := range silent {
		s.forget(a)
	}
	return send, silent
}

// next is when due will have something; zero: never.
func (s *asks) next() time.Time {
	var next time.Time
	for _, a := range s.open {
		if at := a.at(); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// lastSent is when the transmission called id went out.
func (a *ask) lastSent(id TransactionID) time.Time {
	for i, known := range a.ids {
		if known == id {
			return a.times[i]
		}
	}
	return a.began
}

// forgetAll forgets the questions of one survey; they are not done.
func (s *asks) forgetAll(of any) {
	for _, a := range slices.Clone(s.open) {
		if a.owner == of {
			s.forget(a)
		}
	}
}

// forget takes a question off the list, so that later answers meet nobody.
func (s *asks) forget(a *ask) {
	for _, id := range a.ids {
		delete(s.byID, id)
	}
	s.open = slices.DeleteFunc(s.open, func(o *ask) bool { return o == a })
}
