// Package path decides which of several ways to a node is taken. It is pure:
// time is an argument, and what is known of a way is measured elsewhere.
//
// What was measured decides among ways of one class: round trip, jitter, loss, and
// what passes when more is offered. So a direct path over UDP that is throttled is
// left for fake TCP, and a narrow relay for a wide one. It never moves a link from a
// direct path to a relay. Most often the bottleneck is the node's own line, which all
// its ways share; the relay's line is somebody else's and carries everything twice;
// and whether a relay would do better is known only after that bandwidth was taken.
package path

import "time"

// Class says how near a way stays. A nearer class is preferred, whatever the
// measurements, as long as it works.
type Class uint8

// The classes, in order of preference.
const (
	Local  Class = iota + 1 // within one local network
	Direct                  // node to node
	Relayed
)

// Candidate is one way to a node and what is known of it.
type Candidate[P comparable] struct {
	Path     P
	Class    Class
	Alive    bool
	Failures int // how often in a row it went dead or a handshake on it got no answer, lately

	RTT     time.Duration // smoothed; of a relayed way both legs together; 0: not known
	Jitter  time.Duration // smoothed deviation of the round trip
	Loss    float64       // share of datagrams that are lost, 0 to 1
	Goodput float64       // bytes per second that got through when more was offered, see Gauge; 0: not known

	// Of a relayed way.
	Reaches bool // the relay said that it reaches the node; RTT holds both legs
	Seed    bool // the relay is a configured seed: worth trying unasked
	Hops    int  // relays on the way; 0: not known
}

const (
	// volume is what Cost moves: about what a page, a mail or a window's worth of
	// a video needs at once.
	volume = 64 << 10
	// lossWeight makes one datagram in twenty lost cost as much as the way being
	// twice as long: repair hides it, but takes time and bandwidth.
	lossWeight = 20
	// jitterWeight is that of RFC 6298 for its timeout.
	jitterWeight = 4
	// leastCost keeps differences of microseconds in a local network from counting.
	leastCost = 2 * time.Millisecond
)

// Cost is about how long it takes to get 64 KB across. It grows with round trip,
// jitter and loss, and falls with goodput.
func (c *Candidate[P]) Cost() time.Duration {
	cost := float64(leastCost + c.RTT + jitterWeight*c.Jitter)
	if c.Goodput > 0 {
		cost += volume / c.Goodput * float64(time.Second)
	}
	return time.Duration(cost * (1 + lossWeight*min(max(c.Loss, 0), 1)))
}

// rank orders what measurements cannot make up for: smaller is better.
func (c *Candidate[P]) rank() int {
	switch {
	case c.Class != Relayed:
		return int(c.Class)
	case c.Reaches:
		return int(Relayed)
	case c.Seed:
		return int(Relayed) + 1
	}
	return int(Relayed) + 2
}

// better says whether c is to be tried before o, without regard to what is in use.
func (c *Candidate[P]) better(o *Candidate[P]) bool {
	if c.Failures != o.Failures {
		return c.Failures < o.Failures
	}
	if a, b := c.rank(), o.rank(); a != b {
		return a < b
	}
	if a, b := c.Cost(), o.Cost(); a != b {
		return a < b
	}
	return c.Hops < o.Hops
}

// Best returns the index of the candidate to take when none is in use, -1 if none
// is alive: the one with the fewest failures lately, then of the nearest class,
// then of the least cost, then the first. Of relays those that are known to reach
// the node come first, then seeds.
func Best[P comparable](candidates []Candidate[P]) int {
	best := -1
	for i := range candidates {
		if candidates[i].Alive && (best < 0 || candidates[i].better(&candidates[best])) {
			best = i
		}
	}
	return best
}
