package repair

import (
	"math"
	"sort"
	"time"

	"github.com/openbmx/lightweight-tunnel/peerlink/fec"
)

// Where a repeat comes too late, runs of losses are spread over groups that are filled
// in turn. That needs time, but less than a repeat.
const (
	maxDepth = 16
	// Runs are spread from this mean length on; once they are, down to a lower one.
	spreadOn, spreadOff = 1.5, 1.3
	// A round of groups takes this part of the round trip at most, and ends with as much
	// parity as its packets need: in one burst, so it is not to be long. It ends well before
	// the receiver forgets its groups.
	roundShare   = 4
	maxRoundTime = time.Duration(groupLife) * 2 / 3
	maxRound     = 256 // packets
	// To add a packet to a row takes as long as to send so much of it.
	rowCost = 0.004
)

// spreads says whether runs of losses are to be spread over groups.
func (c *Conditions) spreads(before Plan) bool {
	if before.deep() {
		return c.Burst > spreadOff
	}
	return c.Burst > spreadOn
}

// deep says whether groups are filled in turn.
func (p *Plan) deep() bool {
	for _, l := range p.Lanes {
		if l.Depth > 1 {
			return true
		}
	}
	return false
}

// interleaved is the cheapest code of a lane whose groups are filled in turn.
func (c *Conditions) interleaved(lane Lane, left float64, old Code) Code {
	round := min(c.RTT/roundShare, maxRoundTime)
	if old.Depth > 0 && old.Deadline < round*5/4 && round < old.Deadline*5/4 {
		round = old.Deadline // the round trip was measured anew, not another one
	}
	packets := min(int(c.Rate[lane]*round.Seconds()), maxRound)
	if old.Depth > 0 && old.Deadline == round && old.round <= packets*5/4 && packets <= old.round*5/4 {
		l := c.losses(old.Depth)
		if old.losses.share <= 1.25*l.share && old.losses.again <= 1.25*l.again && l.unrecovered(old.Data, old.Parity) <= 2*left {
			return old // not only for the sake of calm: the search takes a while
		}
	}
	best := Code{}
	for depth := 1; depth <= maxDepth; depth += max(1, depth/3) {
		code := Code{Depth: depth, Deadline: round, left: left, losses: c.losses(depth), round: packets}
		code.Data, code.Parity = code.losses.cheapest(max(min(packets/depth, fec.MaxData), 1), left)
		if best.Data == 0 || code.worth() < best.worth() {
			best = code
		}
	}
	return best
}

// losses is how the datagrams of one group are lost that lie depth apart.
func (c *Conditions) losses(depth int) losses {
	// Of a run, as Gilbert and Elliott have it, the same share of what is left goes on
	// with each datagram.
	memory := math.Max(1-1/c.Burst/(1-c.Loss), 0)
	return losses{share: c.Loss, again: c.Loss + (1-c.Loss)*math.Pow(memory, float64(depth))}
}

// worth is what a code costs, the less the better: its rows on the wire and, for each of
// them, the CPU; and what it leaves beyond what it may.
func (c *Code) worth() float64 {
	excess := math.Max(c.losses.unrecovered(c.Data, c.Parity)/c.left-1, 0)
	return c.cost() + rowCost*float64(c.Parity) + math.Min(excess, 1)
}

// losses is how the datagrams of a group are lost: a share of them, and of those that
// follow a lost one another. They are independent if these are equal.
type losses struct{ share, again float64 }

// unrecovered is the share of packets that stay lost under k+m.
func (l losses) unrecovered(k, m int) float64 {
	if l.again <= l.share {
		return Unrecovered(k, m, l.share)
	}
	c := l.begin()
	for range k + m - 1 {
		c.step()
	}
	return c.left(k+m, m)
}

// parityFor is how much parity k packets need, so that no more than left stays lost.
func (l losses) parityFor(k int, left float64) int {
	if l.again <= l.share {
		return 1 + sort.Search(fec.MaxParity-1, func(i int) bool { return Unrecovered(k, i+1, l.share) <= left })
	}
	c := l.begin()
	for range k - 1 {
		c.step()
	}
	m := 0
	for m < fec.MaxParity {
		m++
		if c.step(); c.left(k+m, m) <= left {
			break
		}
	}
	return m
}

// cheapest is the code of up to most packets a group that leaves no more than left
// unrecovered with the least parity per packet.
func (l losses) cheapest(most int, left float64) (data, parity int) {
	best := math.Inf(1)
	for k := most; k >= 1; k -= max(1, k/16) {
		m := l.parityFor(k, left)
		if cost := float64(m) / float64(k); cost < best {
			best, data, parity = cost, k, m
		}
	}
	return data, parity
}

// chain is how likely it is that of the datagrams so far so many were lost, and that the
// newest came (good) or not (bad).
type chain struct {
	losses
	good, bad [fec.MaxParity + 1]float64 // by number of losses
}

func (l losses) begin() *chain {
	c := &chain{losses: l}
	c.good[0], c.bad[1] = 1-l.share, l.share
	return c
}

// step takes one more datagram.
func (c *chain) step() {
	begins := c.share * (1 - c.again) / (1 - c.share)
	for x := fec.MaxParity; x >= 0; x-- {
		good, bad := c.good[x], c.bad[x]
		c.good[x] = good*(1-begins) + bad*(1-c.again)
		c.bad[x] = 0
		if x > 0 {
			c.bad[x] = c.good[x-1]*begins + c.bad[x-1]*c.again
		}
	}
}

// left is the share of n datagrams that stays lost if m of them can be made good.
func (c *chain) left(n, m int) float64 {
	mended := 0.0
	for x := 1; x <= m; x++ {
		mended += float64(x) * (c.good[x] + c.bad[x])
	}
	return c.share - mended/float64(n)
}
