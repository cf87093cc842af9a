package repair

import (
	"math"
	"time"

	"github.com/openbmx/lightweight-tunnel/peerlink/fec"
)

// Lane is a kind of traffic that is insured in groups of its own.
type Lane int

// The lanes.
const (
	PromptLane   Lane = iota // what cannot wait
	StartingLane             // bulk flows that still grow: a stall would end that for good
	BulkLane                 // bulk flows that have found their rate

	lanes = 3
)

// Code is how the packets of one lane are insured.
type Code struct {
	Data, Parity int           // packets per group; Parity 0: not at all
	Depth        int           // groups that are filled in turn, against bursts
	Deadline     time.Duration // of a group that does not fill

	losses losses  // what it was chosen for
	left   float64 // how much of them it may leave; 0: the user chose it
	round  int     // packets that came within Deadline then, if Depth is of use
}

// Plan says how losses of one direction are met.
type Plan struct {
	Repeat bool // copies are kept and repeated; bulk flows are put in order
	// Copies is how often a packet is sent at its first repeat, and at later ones.
	Copies [2]int
	// Spread is how much later than the first repeat another one is sent; 0: none is.
	Spread time.Duration
	Lanes  [lanes]Code
}

// Conditions are what a plan is made for.
type Conditions struct {
	Loss  float64        // share lost though the queues were short, 0 to 1
	Burst float64        // mean length of a run of losses; at least 1
	RTT   time.Duration  // 0: not known
	Rate  [lanes]float64 // packets per second
}

// total is the packets per second of all lanes.
func (c *Conditions) total() float64 {
	return c.Rate[PromptLane] + c.Rate[StartingLane] + c.Rate[BulkLane]
}

const (
	promptDeadline = 9 * time.Millisecond
	startDeadline  = 4 * time.Millisecond // a sixteenth of the round trip, if that is less
	fixedDeadline  = 5 * time.Millisecond

	// Parity begins at lossOn and ends below lossOff.
	lossOn, lossOff = 0.004, 0.002
	// Up to repeatRTT a repeat mends what parity did not, so parity may leave
	// something; beyond, everything rests on it.
	repeatRTT    = 200 * time.Millisecond
	leftToRepeat = 0.0065 // of what cannot wait
	leftOfBulk   = 0.0001 // each time, the TCP inside stalls for a round trip
	costlyLoss   = 0.04
	leftOfStart  = 0.00005
	leftForGood  = 0.0005
	spread       = 8 * time.Millisecond
	longBurst    = 2.2 // parity against longer runs costs more than it mends, if repeats are possible
	maxPrompt    = 32
	startGroup   = 20 // what is not full at the deadline gets the parity of a short group
	// Between neighbours TCP mends a few losses in no time, and what is lost at such
	// a rate (packets per second) the machines themselves could not keep up with.
	fastRate      = 30_000
	hopelessLoss  = 0.4 // beyond, parity only feeds what swallows it
	maxParityCost = 0.6 // of bulk
)

// Decide makes a plan for what is measured. before is the plan in force.
func Decide(c Conditions, before Plan) Plan {
	if c.RTT > 0 && c.RTT < time.Duration(nearRTT) && (c.Loss < lossOff || c.total() > fastRate) {
		return Plan{}
	}
	p := Plan{Repeat: true, Copies: [2]int{1, 1}}
	if c.Loss > 0.05 {
		p.Copies[1] = 3
	} else if c.Loss > 0.01 {
		p.Copies[1] = 2
	}
	on := c.Loss >= lossOn || before.insured() && c.Loss >= lossOff
	if !on || c.Loss > hopelessLoss {
		return p
	}
	late := repeatRTT
	if before.deep() { // it takes more to leave it than to enter it
		late = late * 9 / 10
	}
	repeats, bursts := c.RTT <= late, c.Burst > longBurst
	if !repeats && c.spreads(before) {
		for lane := range p.Lanes {
			p.Lanes[lane] = c.interleaved(Lane(lane), leftForGood, before.Lanes[lane])
		}
		return p
	}
	start := startDeadline
	if c.RTT > 0 {
		start = min(max(c.RTT/16, 2*time.Millisecond), start)
	}
	if !bursts { // parity that a run does not swallow with its group would fill the line
		p.Lanes[StartingLane] = choose(c, StartingLane, start, leftOfStart, startGroup, 2*startGroup, before)
	}
	if bursts && repeats {
		p.Spread = spread // what swallows a repeat swallows one right behind it, too
		return p
	}
	left, leftBulk := leftToRepeat, leftOfBulk
	if c.Loss > costlyLoss { // the more is lost, the more the last bit of safety costs
		leftBulk *= 2
	}
	if !repeats {
		left = leftForGood
	} else {
		p.Copies = [2]int{2, 3} // few are needed, and these should arrive
	}
	p.Lanes[PromptLane] = choose(c, PromptLane, promptDeadline, left, 1, maxPrompt, before)
	p.Lanes[BulkLane] = choose(c, BulkLane, bulkDeadline(c.Loss, before.Lanes[BulkLane].losses.share), leftBulk, startGroup, fec.MaxData, before)
	if l := p.Lanes[BulkLane]; repeats && float64(l.Parity) > maxParityCost*float64(l.Data) {
		p.Lanes[BulkLane] = Code{} // too slow a flow, or too much loss: repeats are cheaper
	}
	return p
}

// bulkDeadline is how long the group of a bulk flow may take to fill. All of the flow is held
// for as long, which costs it speed while its window is small; but a larger group needs
// less parity, and the more so the more is lost. before is the loss that the
// code in force was chosen for.
func bulkDeadline(loss, before float64) time.Duration {
	deadline := 9 * time.Millisecond
	for _, step := range [...]float64{0.02, 0.04} {
		if before > step { // it takes more to leave a step than to enter it
			step *= 0.85
		}
		if loss > step {
			deadline += 6500 * time.Microsecond
		}
	}
	return deadline
}

// choose finds the code of one lane: the cheapest that fits the deadline. Another
// one of nearly the same worth is no reason to change.
func choose(c Conditions, lane Lane, deadline time.Duration, left float64, least, most int, before Plan) Code {
	fits := max(int(c.Rate[lane]*deadline.Seconds()), least)
	code := Code{Depth: 1, Deadline: deadline, losses: losses{c.Loss, c.Loss}, left: left}
	code.Data, code.Parity = code.losses.cheapest(min(fits, most), left)
	old, slack := before.Lanes[lane], 1.15
	if lane != PromptLane {
		slack = 2 // so small a share follows the loss steeply
	}
	if old.Parity > 0 && old.Depth == 1 && old.Deadline == deadline && old.Data <= fits*5/4 &&
		Unrecovered(old.Data, old.Parity, c.Loss) <= left*slack &&
		old.cost() <= 1.1*code.cost() {
		return old
	}
	return code
}

func (c Code) cost() float64 { return float64(c.Parity) / float64(c.Data) }

func (p *Plan) insured() bool {
	for _, l := range p.Lanes {
		if l.Parity > 0 {
			return true
		}
	}
	return false
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
func Fixed(data, parity int) (p Plan) {
	c := Code{
		Data: min(max(data, 1), fec.MaxData), Parity: min(max(parity, 1), fec.MaxParity), Depth: 1, Deadline: fixedDeadline,
	}
	for lane := range p.Lanes {
		p.Lanes[lane] = c
	}
	return p
}
