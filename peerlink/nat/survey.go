package nat

import (
	"net/netip"
	"slices"
	"time"
)

// role says for what a survey uses a socket. The mapper and the filter are fresh
// ones: links keep mappings and holes open on the socket that carries data, where
// nothing could be seen of steps and filters.
type role uint8

const (
	dataRole   role = iota // the socket that carries data: its endpoint is a candidate
	mapperRole             // shows what the mapping depends on
	filterRole             // shows from whom answers come in
)

// SurveyRequests is the most requests that a survey sends, if nobody answers in
// time or all of them late: the sockets ask, each question is asked
// Transmissions times.
const SurveyRequests = (dataAsks + maxServers + otherAsks + filterAsks + hairpinAsks) * Transmissions

const (
	dataAsks    = 4 // two servers, one of the other family, one from another port
	otherAsks   = 2 // a server's other endpoints
	filterAsks  = 2 // another address, another port
	hairpinAsks = 1
)

// survey is one round of questions. It is pure: ask is how it speaks, and each
// done may make it ask more.
type survey struct {
	servers []Server
	// ask asks one question; false: there is no such socket, and done is not called.
	ask func(now time.Time, r role, s Server, c Change, done func(time.Time, answer)) bool
	// self is how questions to this node itself are asked, for the hairpin test.
	self Server

	own       []netip.Addr
	port      uint16 // the mapper's
	shared    bool   // there is no mapper, the data socket stands in
	seen      []Observation
	mapping   int // questions of the mapper that are open
	open      int // questions that are open at all
	tester    bool
	otherAddr Outcome
	otherPort Outcome
	dataPort  Outcome
	hairpin   Outcome
	data      Observation
	dataTries int
	tried     []Try
	first     time.Time // when the first answer came
	mapped    time.Time // when the mapper's questions were answered or given up; zero: one is open
	told      bool      // what was known then has been published
}

// Try is one server that a survey asked, for people.
type Try struct {
	Server Server
	Mapped netip.AddrPort // not valid: it did not answer
	RTT    time.Duration
}

func (s *survey) start(now time.Time) {
	// The mapper's questions go out one behind the other, so that a step shows.
	if !s.shared && len(s.servers) > 0 {
		s.askData(now, s.servers[0])
	}
	for _, server := range s.servers {
		s.map1(now, server, true)
	}
}

// done says that no question is open.
func (s *survey) done() bool { return s.open == 0 }

// tellAt is when what has been seen so far is worth publishing: links wait for the
// mapping. The filter's questions were asked with the mapper's last, and their
// answers come from further away: they get as long again. Zero: nothing has been
// seen, or it has been published, which is done once, because the end comes soon.
func (s *survey) tellAt() time.Time {
	if s.first.IsZero() || s.told {
		return time.Time{}
	}
	at := s.first.Add(settle)
	if s.mapped.IsZero() || !s.data.Mapped.IsValid() {
		return at
	}
	if soon := s.mapped.Add(max(s.mapped.Sub(s.first), filterSettle)); soon.Before(at) {
		return soon
	}
	return at
}

// evidence is what has been seen so far.
func (s *survey) evidence() Evidence {
	return Evidence{
		Own: s.own, Port: s.port, Seen: answered(s.seen),
		OtherAddress: s.otherAddr, OtherPort: s.otherPort, DataPort: s.dataPort, Hairpin: s.hairpin,
	}
}

// answered are the observations that have been made.
func answered(seen []Observation) []Observation {
	return slices.DeleteFunc(slices.Clone(seen), func(o Observation) bool { return !o.Mapped.IsValid() })
}

// map1 asks how server sees the mapper.
func (s *survey) map1(now time.Time, server Server, report bool) {
	place := len(s.seen)
	s.seen = append(s.seen, Observation{To: server.Addr})
	s.question(now, mapperRole, server, 0, &s.mapping, func(now time.Time, a answer) {
		if report {
			s.tried = append(s.tried, Try{Server: server, Mapped: a.message.Mapped, RTT: a.rtt})
		}
		if a.outcome != Answered || a.message.Class != Success {
			return
		}
		if s.first.IsZero() {
			s.first = now
		}
		s.seen[place].Mapped = a.message.Mapped
		if s.shared && !s.data.Mapped.IsValid() {
			s.data = s.seen[place]
		}
		if report {
			s.test(now, server, a.message.Other)
		}
	})
}

// question asks and keeps count; n is one more counter.
func (s *survey) question(now time.Time, r role, server Server, c Change, n *int, done func(time.Time, answer)) {
	ok := s.ask(now, r, server, c, func(now time.Time, a answer) {
		s.open--
		*n--
		done(now, a)
		s.goOn(now)
	})
	if ok {
		s.open++
		*n++
	}
}

// test asks the first server that can answer from elsewhere to do so.
func (s *survey) test(now time.Time, server Server, other netip.AddrPort) {
	if s.tester || !other.IsValid() {
		return
	}
	if other.Addr().IsUnspecified() {
		other = netip.AddrPortFrom(server.Addr.Addr(), other.Port())
	}
	if other == server.Addr || other.Addr().Is4() != server.Addr.Addr().Is4() || !usable(other.Addr()) {
		return
	}
	s.tester = true
	second := server
	second.Addr = other
	s.map1(now, second, false)
	if other.Addr() != server.Addr.Addr() && other.Port() != server.Addr.Port() {
		second.Addr = netip.AddrPortFrom(other.Addr(), server.Addr.Port())
		s.map1(now, second, false)
	}
	var filters int
	s.question(now, filterRole, server, ChangeAddress|ChangePort, &filters, func(_ time.Time, a answer) {
		s.otherAddr = outcome(a, a.from.Addr() != server.Addr.Addr())
	})
	fromOtherPort := func(into *Outcome) func(time.Time, answer) {
		return func(_ time.Time, a answer) {
			*into = outcome(a, a.from.Addr() == server.Addr.Addr() && a.from != server.Addr)
		}
	}
	s.question(now, filterRole, server, ChangePort, &filters, fromOtherPort(&s.otherPort))
	if !s.shared {
		s.question(now, dataRole, server, ChangePort, &filters, fromOtherPort(&s.dataPort))
	}
}

// outcome judges the answer to a Change; elsewhere says whether it came from
// where it should. A server that answered otherwise cannot do it.
func outcome(a answer, elsewhere bool) Outcome {
	if a.outcome == Answered && (a.message.Class != Success || !elsewhere) {
		return NotTried
	}
	return a.outcome
}

// goOn begins what had to wait for answers.
func (s *survey) goOn(now time.Time) {
	if s.mapping > 0 || !s.mapped.IsZero() {
		return
	}
	s.mapped = now
	// Where each destination has another port, there is none to be asked.
	if e := s.evidence(); e.mapping() == EndpointIndependent {
		var n int
		server := s.self
		server.Addr = e.Seen[0].Mapped
		s.question(now, mapperRole, server, 0, &n, func(_ time.Time, a answer) { s.hairpin = a.outcome })
	}
}

// askData asks how server sees the data socket; if it is silent, one that answered
// the mapper is asked.
func (s *survey) askData(now time.Time, server Server) {
	s.dataTries++
	var n int
	s.question(now, dataRole, server, 0, &n, func(now time.Time, a answer) {
		if a.outcome == Answered && a.message.Class == Success {
			s.data = Observation{To: server.Addr, Mapped: a.message.Mapped}
			if s.first.IsZero() {
				s.first = now
			}
			return
		}
		i := slices.IndexFunc(s.tried, func(t Try) bool { return t.Mapped.IsValid() && t.Server != server })
		if i >= 0 && s.dataTries < dataAsks-2 {
			s.askData(now, s.tried[i].Server)
		}
	})
}
