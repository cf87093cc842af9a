package rawtcp

import (
	"sync/atomic"
	"time"
)

// stream is the numbers of an established connection, in atomics: any goroutine
// sends, one receives, one runs the timers, and none waits for another. It has
// no clock and no socket; times are milliseconds of the Transport's clock.
type stream struct {
	tuple    tuple
	pseudo   uint32
	label    uint32
	ttl      uint8
	v6       bool
	stamps   bool   // timestamps were agreed
	offset   uint32 // of our timestamps
	ownScale uint8  // of the windows that we advertise
	initial  uint32 // receive window at the start, bytes
	ceiling  uint32 // receive window at most, bytes

	peerScale atomic.Uint32
	mss       atomic.Uint32 // the peer's MSS option

	sndNxt  atomic.Uint32 // next sequence number to send
	sndUna  atomic.Uint32 // highest acknowledgement received
	sndEdge atomic.Uint32 // highest acknowledgement plus window received: never send beyond
	ipID    atomic.Uint32
	lastOut atomic.Uint32 // ms of the last segment sent

	rcvNxt    atomic.Uint32 // one past the highest byte received: what we acknowledge
	ackSent   atomic.Uint32 // highest acknowledgement sent
	ackOldest atomic.Uint32 // ms at which the oldest unacknowledged byte came
	rcvWindow atomic.Uint32 // bytes, as advertised
	received  atomic.Uint64 // payload bytes
	quick     atomic.Int32  // segments that are still acknowledged at once
	recent    atomic.Uint32 // the peer's newest timestamp: what we echo
	oldest    atomic.Uint32 // no echo of ours older than this is believed
	lastDup   atomic.Uint32 // ms of the last challenge ACK
	rtt       atomic.Uint32 // ms from a timestamp of ours to its newest echo
}

const (
	// quickAcks is the number of segments that Linux acknowledges at once when a
	// connection is new.
	quickAcks = 16
	// ackDelay is Linux's shortest delay of an acknowledgement, in ms.
	ackDelay = 40
	// ackBytes is how much may arrive before an acknowledgement goes out at once:
	// two super-segments. At rates that bring more than that in a millisecond there
	// is one in each millisecond, which is how far Linux compresses them
	// (net.ipv4.tcp_comp_sack_delay_ns), so that acknowledging costs little.
	ackBytes = 128 << 10
	// openWindow is the receive window from the first data on: 80 Mbit/s at 50 ms.
	openWindow = 512 << 10
	// challengeEvery is the least time between two challenge ACKs of a flow, in
	// ms (net.ipv4.tcp_invalid_ratelimit).
	challengeEvery = 500
)

// before reports whether sequence number a lies before b (RFC 9293, 3.4).
func before(a, b uint32) bool { return int32(a-b) < 0 }

// raise sets v to n if n is later in sequence space.
func raise(v *atomic.Uint32, n uint32) bool {
	for {
		old := v.Load()
		if !before(old, n) {
			return false
		}
		if v.CompareAndSwap(old, n) {
			return true
		}
	}
}

// reserve takes sequence numbers for total bytes in slots of slot bytes, or for
// as many whole slots as fit the peer's window. granted is the bytes taken.
func (s *stream) reserve(slot, total int) (seq uint32, granted int) {
	for {
		nxt := s.sndNxt.Load()
		room := int(int32(s.sndEdge.Load() - nxt))
		granted = total
		if room < total {
			if granted = max(room, 0) / slot * slot; granted == 0 {
				return 0, 0
			}
		}
		if s.sndNxt.CompareAndSwap(nxt, nxt+uint32(granted)) {
			return nxt, granted
		}
	}
}

// inFlight is the number of bytes sent and not acknowledged.
func (s *stream) inFlight() uint32 { return s.sndNxt.Load() - s.sndUna.Load() }

// stamp is our timestamp clock at ms.
func (s *stream) stamp(ms uint32) uint32 { return ms + s.offset }

// window is the field that advertises the receive window: rounded up, so that
// scaling takes nothing away (as __tcp_select_window).
func (s *stream) window() uint16 {
	return uint16(min((s.rcvWindow.Load()+1<<s.ownScale-1)>>s.ownScale, 65535))
}

// verdict says what is to be done about a segment of an established connection.
type verdict uint8

const (
	accepted     verdict = iota
	acceptedAck          // and acknowledge at once
	refused              // drop it
	refusedStamp         // drop it: timestamps missing or impossible
	refusedProbe         // drop it, but answer with an ACK (RFC 5961, RFC 9293 3.10.7.4)
)

// take checks a segment that has ACK and no SYN or RST against the connection
// and takes in its acknowledgement, window, timestamp and length. A hole before
// it is forgotten. Only the receiving goroutine calls take.
func (s *stream) take(g *segment, ms uint32) verdict {
	if s.stamps {
		if !g.opts.stamps { // RFC 7323, 3.2
			return refusedStamp
		}
		// An echo of a timestamp that we never sent is forged: this is what keeps
		// a blind attacker, who may hit the window, from moving our numbers.
		if before(g.opts.ecr, s.oldest.Load()) || before(s.stamp(ms), g.opts.ecr) {
			return refusedStamp
		}
	}
	n := uint32(len(g.payload))
	end := g.seq + n
	next := s.rcvNxt.Load()
	window := uint32(s.window()) << s.ownScale
	// Behind a hole that was skipped, a late segment is as good as any other.
	behind := int32(g.seq - next)
	if before(next+window, end) || behind < -int32(s.ceiling) {
		return s.challenge(ms)
	}
	if before(s.sndNxt.Load(), g.ack) || int32(g.ack-s.sndUna.Load()) < -int32(s.ceiling) {
		return s.challenge(ms)
	}
	if raise(&s.sndUna, g.ack) && s.stamps {
		s.rtt.Store(s.stamp(ms) - g.opts.ecr)
	}
	raise(&s.sndEdge, g.ack+uint32(g.window)<<s.peerScale.Load())
	if s.stamps {
		raise(&s.recent, g.opts.val)
	}
	if n == 0 {
		if behind == -1 { // keepalive
			return s.challenge(ms)
		}
		return accepted
	}
	if next == s.ackSent.Load() {
		s.ackOldest.Store(ms)
	}
	raise(&s.rcvNxt, end)
	total := s.received.Load() + uint64(n)
	s.received.Store(total)
	// The window opens by twice what arrived, like the kernel's receive buffer
	// autotuning in slow start, and is never taken back. With the first data it
	// jumps to what a host with a large default buffer (tcp_rmem) shows: what is
	// in the tunnel is no slow start of ours, and must not be lost to one.
	if window < s.ceiling {
		s.rcvWindow.Store(uint32(min(uint64(max(s.initial, openWindow))+2*total, uint64(s.ceiling))))
	}
	if q := s.quick.Load(); q > 0 {
		s.quick.Store(q - 1)
		return acceptedAck
	}
	if n <= recordPrefix || s.unacked() >= window/4 || s.unacked() >= ackBytes && s.lastOut.Load() != ms {
		return acceptedAck
	}
	return accepted
}

// unacked is the number of bytes received and not acknowledged.
func (s *stream) unacked() uint32 {
	n := s.rcvNxt.Load() - s.ackSent.Load()
	if int32(n) < 0 {
		return 0
	}
	return n
}

func (s *stream) challenge(ms uint32) verdict {
	if last := s.lastDup.Load(); last != 0 && ms-last < challengeEvery {
		return refused
	}
	s.lastDup.Store(ms)
	return refusedProbe
}

// ackWait is the time until a delayed acknowledgement is due: 0 or less for now.
// waiting is false if everything is acknowledged.
func (s *stream) ackWait(ms uint32) (wait time.Duration, waiting bool) {
	if s.unacked() == 0 {
		return 0, false
	}
	age := int32(ms - s.ackOldest.Load())
	return time.Duration(ackDelay-age) * time.Millisecond, true
}

// fill completes h, whose flags and seq are set, with everything that a segment
// of this connection carries. ms is the time.
func (s *stream) fill(h *header, ms uint32) {
	h.tuple, h.pseudo, h.label, h.ttl = &s.tuple, s.pseudo, s.label, s.ttl
	h.window = s.window()
	h.opts = options{wscale: -1}
	if s.stamps {
		h.opts.stamps, h.opts.val, h.opts.ecr = true, s.stamp(ms), s.recent.Load()
	}
	h.ack = s.rcvNxt.Load()
	raise(&s.ackSent, h.ack)
	s.lastOut.Store(ms)
}
