package repair

import (
	"math"
	"time"

	"github.com/openbmx/lightweight-tunnel/peerlink/fec"
)

// Plan says how losses of one direction are met.
type Plan struct {
	Repeat bool // copies are kept and repeated; bulk flows are put in order
	Copies int  // of the second and later repeats of one packet
	// Data and Parity are the code for what cannot wait: Parity 0 is none. All:
	// the code is for bulk flows as well.
	Data, Parity int
	All          bool
	Depth        int // groups that are filled in turn, against bursts
	Deadline     time.Duration
}

// Conditions are what a plan is made for.
type Conditions struct {
	Loss  float64       // share lost though the queues were short, 0 to 1
	Burst float64       // mean length of a run of losses; at least 1
	RTT   time.Duration // 0: not known
	Rate  float64       // packets per second that cannot wait
}

const (
	autoDeadline  = 8 * time.Millisecond
	fixedDeadline = 5 * time.Millisecond

	// Parity begins at lossOn and ends below lossOff.
	lossOn, lossOff = 0.004, 0.002
	// Up to repeatRTT a repeat mends what parity did not, so parity may leave
	// leftToRepeat; beyond, everything rests on it.
	repeatRTT     = 200 * time.Millisecond
	leftToRepeat  = 0.006
	leftForGood   = 0.0005
	longBurst     = 2.2 // parity against longer runs costs more than it mends, if repeats are possible
	maxAutoData   = 32
	maxAutoParity = 16
	maxDepth      = 8
	hopelessLoss  = 0.4 // beyond, parity only feeds what swallows it
)

// Decide makes a plan for what is measured. before is the plan in force.
func Decide(c Conditions, before Plan) Plan {
	p := Plan{Repeat: true, Copies: 1, Depth: 1, Deadline: autoDeadline}
	if c.Loss > 0.05 {
		p.Copies = 3
	} else if c.Loss > 0.01 {
		p.Copies = 2
	}
	repeats := c.RTT <= repeatRTT
	on := c.Loss >= lossOn || before.Parity > 0 && c.Loss >= lossOff
	switch {
	case !on, c.Loss > hopelessLoss, repeats && c.Burst > longBurst:
		return p
	}
	left := leftToRepeat
	if !repeats {
		left, p.All = leftForGood, true
		if c.Burst > 1.5 {
			p.Depth = min(int(math.Ceil(c.Burst)), maxDepth)
		}
	}
	k := int(c.Rate * p.Deadline.Seconds())
	p.Data, p.Parity = cheapest(min(max(k/p.Depth, 1), maxAutoData), c.Loss, left)
	// Another code of nearly the same worth is no reason to change.
	if before.Parity > 0 && before.All == p.All && before.Depth == p.Depth && before.Data <= max(k/p.Depth, 1)*5/4 &&
		Unrecovered(before.Data, before.Parity, c.Loss) <= left*1.3 &&
		float64(before.Parity)/float64(before.Data) <= 1.15*float64(p.Parity)/float64(p.Data) {
		p.Data, p.Parity = before.Data, before.Parity
	}
	return p
}

// cheapest is the code of up to most packets a group that leaves no more than left
// unrecovered with the least parity per packet.
func cheapest(most int, loss, left float64) (data, parity int) {
	best := math.Inf(1)
	for k := 1; k <= most; k++ {
		m := parityFor(k, loss, left)
		if cost := float64(m) / float64(k); cost < best {
			best, data, parity = cost, k, m
		}
	}
	return data, parity
}

// parityFor is how much parity k packets need.
func parityFor(k int, loss, left float64) int {
	m := 1
	for m < maxAutoParity && Unrecovered(k, m, loss) > left {
		m++
	}
	return m
}

// Unrecovered is the share of packets that stay lost under k+m when each
// datagram is lost with probability loss on its own.
func Unrecovered(k, m int, loss float64) float64 {
	n := k + m
	// Binomial terms, from 0 losses up.
	term := math.Pow(1-loss, float64(n))
	share := 0.0
	for x := 0; x <= n; x++ {
		if x > m {
			share += term * float64(x) / float64(n)
		}
		term *= float64(n-x) / float64(x+1) * loss / (1 - loss)
	}
	return share
}

// Fixed is the plan for a code that the user chose.
func Fixed(data, parity int) Plan {
	return Plan{
		Data: min(max(data, 1), fec.MaxData), Parity: min(max(parity, 1), fec.MaxParity),
		All: true, Depth: 1, Deadline: fixedDeadline,
	}
}
