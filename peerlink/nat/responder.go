package nat

import (
	"net/netip"
	"time"
)

// responder decides what questions of the mesh are answered, and how. It is pure
// but for its memory; its zero value is ready; it belongs to one goroutine.
type responder struct {
	guard replayGuard
	rates sourceRates
	turn  int // whose turn it is to answer in our place
}

// reply is one message to be sent.
type reply struct {
	message Message
	// otherPort: from this node's second socket. otherwise from where the question came.
	otherPort bool
	to        netip.AddrPort // zero: back on the path of the question
}

// facts are what a responder must know of its node.
type facts struct {
	otherPort uint16           // port of the second socket; 0: none
	others    []netip.AddrPort // nodes that may answer in our place
}

// answer says what to send for message m that came from source; nothing for what
// is not worth it: an old or repeated message, or one of too many. Silence is also
// what one gets who plays a recorded question again.
func (r *responder) answer(now time.Time, m Message, source netip.AddrPort, f facts) (reply, bool) {
	if m.Class != Request && m.Class != Indication {
		return reply{}, false
	}
	if !r.rates.allow(now, source.Addr()) || !r.guard.admit(now, m.Time, m.ID) {
		return reply{}, false
	}
	seen := netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
	success := Message{Class: Success, ID: m.ID, Mapped: seen}
	switch {
	case m.Class == Indication:
		success.Mapped = m.Asker
		return reply{message: success, to: m.Asker}, true
	case m.Change&ChangeAddress != 0:
		if other, ok := r.other(f.others, seen); ok {
			return reply{message: Message{Class: Indication, ID: m.ID, Asker: seen, Time: now}, to: other}, true
		}
	case m.Change&ChangePort != 0:
		if f.otherPort != 0 {
			return reply{message: success, otherPort: true, to: seen}, true
		}
	default:
		if f.otherPort != 0 {
			success.Other = netip.AddrPortFrom(unspecified(seen.Addr()), f.otherPort)
		}
		return reply{message: success}, true
	}
	return reply{message: Message{Class: Failure, ID: m.ID, Code: codeUnknownAttribute}}, true
}

// other chooses who answers in our place, a different one each time: of the
// asker's family, and not at its address.
func (r *responder) other(others []netip.AddrPort, asker netip.AddrPort) (netip.AddrPort, bool) {
	for range others {
		r.turn++
		if o := others[r.turn%len(others)]; o.Addr().Is4() == asker.Addr().Is4() && o.Addr() != asker.Addr() {
			return o, true
		}
	}
	return netip.AddrPort{}, false
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

const (
	// ClockWindow is how far the asker's clock may be from ours.
	ClockWindow = 2 * time.Minute
	// maxSeen bounds the questions remembered of one window; more are not answered.
	maxSeen = 16384
)

// replayGuard admits each message once, and only from about now. Its zero value
// is ready.
type replayGuard struct {
	young, old map[TransactionID]struct{} // of this generation and the one before
	since      time.Time                  // when young began
}

func (g *replayGuard) admit(now, stamp time.Time, id TransactionID) bool {
	if off := stamp.Sub(now); off > ClockWindow || off < -ClockWindow {
		return false
	}
	// A clock that is ahead keeps its message valid for up to two windows.
	if age := now.Sub(g.since); age >= 2*ClockWindow || age < 0 || g.young == nil { // clocks are set back, too
		g.old = g.young
		if age >= 4*ClockWindow {
			g.old = nil
		}
		g.young, g.since = map[TransactionID]struct{}{}, now
	}
	_, young := g.young[id]
	_, old := g.old[id]
	if young || old || len(g.young) >= maxSeen {
		return false
	}
	g.young[id] = struct{}{}
	return true
}

const (
	sourceBurst     = 60 // a survey is about a dozen; many nodes may share an address
	sourcePerSecond = 10
	maxSources      = 2048
)

// sourceRates limits what one address (IPv6: one /64) gets answered. Its zero
// value is ready.
type sourceRates struct{ buckets map[netip.Prefix]bucket }

type bucket struct {
	tokens float64
	last   time.Time
}

func (s *sourceRates) allow(now time.Time, source netip.Addr) bool {
	source = source.Unmap()
	bits := 32
	if source.Is6() {
		bits = 64
	}
	key, err := source.Prefix(bits)
	if err != nil {
		return false
	}
	b, ok := s.buckets[key]
	if !ok {
		if !s.room(now) {
			return false
		}
		b.tokens = sourceBurst
	} else {
		b.tokens = refilled(b, now)
	}
	b.last = now
	allowed := b.tokens >= 1
	if allowed {
		b.tokens--
	}
	s.buckets[key] = b
	return allowed
}

func refilled(b bucket, now time.Time) float64 {
	return min(sourceBurst, b.tokens+max(now.Sub(b.last), 0).Seconds()*sourcePerSecond)
}

// room makes room for one more source: full buckets need not be remembered.
func (s *sourceRates) room(now time.Time) bool {
	if s.buckets == nil {
		s.buckets = map[netip.Prefix]bucket{}
	}
	if len(s.buckets) < maxSources {
		return true
	}
	for key, b := range s.buckets {
		if refilled(b, now) >= sourceBurst {
			delete(s.buckets, key)
		}
	}
	return len(s.buckets) < maxSources
}
