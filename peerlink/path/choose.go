// Package path decides which of several ways to a node is taken. It is pure.
package path

import "time"

// Candidate is one way to a node.
type Candidate struct {
	Direct   bool
	Alive    bool
	Failures int           // how often in a row it went dead or a handshake on it got no answer, lately
	Seed     bool          // of a relayed way: the relay is a configured seed
	RTT      time.Duration // as far as known; of a relayed way that to the relay
}

// Choose returns the index of the best candidate, -1 if none is alive. What has
// not failed lately comes first, then direct before relayed, seeds before other
// relays, then the shorter round trip, then the order given.
func Choose(candidates []Candidate) int {
	best := -1
	for i, c := range candidates {
		if c.Alive && (best < 0 || better(c, candidates[best])) {
			best = i
		}
	}
	return best
}

func better(a, b Candidate) bool {
	switch {
	case a.Failures != b.Failures:
		return a.Failures < b.Failures
	case a.Direct != b.Direct:
		return a.Direct
	case a.Seed != b.Seed:
		return a.Seed
	}
	return a.RTT < b.RTT
}
