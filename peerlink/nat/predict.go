package nat

import (
	"net/netip"
	"slices"
)

// MaxPredictions is how many steps ahead it is worth to guess.
const MaxPredictions = 8

// Predict returns the endpoints that a NAT of behaviour b gives to the next
// destination of a socket that was seen as observed (oldest first): at most n, the
// likeliest first. Without translation or with an endpoint-independent mapping it
// is the newest one observed; with a step it is the n that follow on the newest;
// a random NAT has just its address to offer, with the newest port.
func Predict(observed []netip.AddrPort, b Behaviour, n int) []netip.AddrPort {
	if len(observed) == 0 || n <= 0 {
		return nil
	}
	last := observed[len(observed)-1]
	if !b.Symmetric() || b.Step == 0 {
		return []netip.AddrPort{last}
	}
	// The newest mapping is the one furthest along: answers overtake each other.
	for _, o := range observed {
		if ahead := int(int16(o.Port() - last.Port())); o.Addr() == last.Addr() && ahead*b.Step > 0 &&
			abs(ahead) <= len(observed)*max(stepReach, abs(b.Step)) {
			last = o
		}
	}
	next := make([]netip.AddrPort, 0, n)
	port := last.Port()
	for range 2 * n {
		if port += uint16(b.Step); port < firstPort {
			continue // wrapped: the NAT leaves these out
		}
		if p := netip.AddrPortFrom(last.Addr(), port); !slices.Contains(next, p) {
			next = append(next, p)
		}
		if len(next) == n {
			break
		}
	}
	return next
}

// firstPort is the least port that NATs give out (RFC 4787, 4.2.1 keeps the
// well-known ones apart).
const firstPort = 1024

func abs(n int) int { return max(n, -n) }
