// Package impair makes a good cable bad: it bridges two network devices of a
// network namespace and adds, to each direction on its own, delay, jitter,
// random loss, loss in bursts, reordering, duplication, a rate limit with a
// bounded drop-tail queue, a path MTU with ICMP swallowed, and blackholes for
// everything or for single flows. All of it can be changed while packets flow.
//
// Line is the whole truth about one direction and does no I/O: a packet and a
// time go in, a decision comes out. Bridge moves real frames by it.
//
// A packet meets the knobs in this order, as on a path whose bottleneck comes
// before its lossy radio:
//
//	blackhole, vanished flow -> MTU -> rate and queue -> burst loss, loss -> duplicate -> delay, jitter, reorder
//
// All sizes and rates count whole Ethernet frames without checksum and gap, as
// the kernel's device counters do.
package impair

import (
	"math/rand/v2"
	"time"
)

// Line decides what becomes of each packet of one direction. It belongs to one
// goroutine. Its zero value is not usable, see NewLine.
//
// Packets that reach the lossy part are numbered, and every random decision
// about number n depends on the seed and n alone: changing one knob leaves the
// decisions of the others as they were, and a second run repeats the first.
type Line struct {
	profile Profile
	dice    [diceKinds]*rand.PCG
	bad     bool // the state of the burst loss chain

	free     time.Duration // when the bottleneck has sent all it was given
	last     time.Duration // when the latest packet in order arrives
	flows    map[Flow]*flowState
	counters Counters
}

// The random decisions that are made once per packet, each from a stream of its own.
const (
	diceLoss = iota
	diceBurst
	diceDuplicate
	diceJitter
	diceReorder
	diceKinds
)

type flowState struct {
	packets  uint64
	vanished bool
}

// maxFlows bounds what a line remembers. Packets of further flows pass, but
// those flows cannot vanish.
const maxFlows = 4096

// NewLine makes a line. Equal seeds and equal packets at equal times give equal
// decisions.
func NewLine(seed uint64, p Profile) *Line {
	l := &Line{profile: p, flows: map[Flow]*flowState{}}
	for kind := range l.dice {
		l.dice[kind] = rand.NewPCG(seed, uint64(kind)+1)
	}
	return l
}

// Packet is what a line needs to know of a frame.
type Packet struct {
	Bytes int  // of the Ethernet frame
	Flow  Flow // its zero value: no flow
}

// Decision says what becomes of a packet.
type Decision struct {
	Drop   Reason        // Passed, or why it is dropped
	Copies int           // 1, or 2 if it is duplicated; 0 if it is dropped
	At     time.Duration // when they leave the line, never before now
}

// Offer gives the line its next packet. now counts from any origin and never
// goes back. It does not allocate once it knows the flow.
func (l *Line) Offer(now time.Duration, p Packet) Decision {
	l.counters.In.add(p.Bytes)
	d := l.decide(now, p)
	if d.Drop != Passed {
		l.counters.Dropped[d.Drop].add(p.Bytes)
	}
	for range d.Copies {
		l.counters.Out.add(p.Bytes)
	}
	return d
}

func (l *Line) decide(now time.Duration, p Packet) Decision {
	if l.vanished(p.Flow) {
		return Decision{Drop: Vanished}
	}
	if l.profile.Blackhole {
		return Decision{Drop: Blackholed}
	}
	if l.profile.MTU > 0 && p.Bytes-ethernetHeader > l.profile.MTU {
		return Decision{Drop: TooBig}
	}
	sent, fits := l.enqueue(now, p.Bytes)
	if !fits {
		return Decision{Drop: QueueFull}
	}
	// Every die is cast for every packet: that keeps the streams in step.
	lost, burst, twice, held := l.lost(), l.inBurst(), l.chance(diceDuplicate, l.profile.Duplicate), l.chance(diceReorder, l.profile.Reorder)
	at := sent + max(0, l.profile.Delay+l.jitter())
	switch {
	case burst:
		return Decision{Drop: LostInBurst}
	case lost:
		return Decision{Drop: Lost}
	case held:
		at += l.profile.ReorderBy // and whoever comes next may overtake it
	default:
		at = max(at, l.last)
		l.last = at
	}
	if twice {
		return Decision{Copies: 2, At: at}
	}
	return Decision{Copies: 1, At: at}
}

// enqueue puts a packet into the bottleneck's queue and says when its last bit
// has left it.
func (l *Line) enqueue(now time.Duration, bytes int) (sent time.Duration, fits bool) {
	if l.profile.Rate == 0 {
		l.free = max(l.free, now) // what is queued already goes first
		return l.free, true
	}
	takes := l.profile.transmission(bytes)
	backlog := max(0, l.free-now)
	if limit := l.profile.queueLimit(); limit > 0 && backlog+takes > limit && backlog > 0 {
		return 0, false
	}
	l.free = now + backlog + takes
	l.counters.LongestQueue = max(l.counters.LongestQueue, backlog+takes)
	return l.free, true
}

func (l *Line) lost() bool { return l.chance(diceLoss, l.profile.Loss) }

// inBurst steps the two-state chain of Gilbert and Elliott with loss 0 in the
// good and 1 in the bad state.
func (l *Line) inBurst() bool {
	loss, length := l.profile.BurstLoss, max(1, l.profile.BurstLength)
	turn := 1 / length // bad to good
	if !l.bad {
		turn = loss / (length * (1 - loss))
	}
	if l.chance(diceBurst, turn) {
		l.bad = !l.bad
	}
	if loss == 0 {
		l.bad = false
	}
	return l.bad
}

// chance casts one die.
func (l *Line) chance(kind int, probability float64) bool {
	return l.uniform(kind) < probability
}

// jitter is uniform within the profile's jitter to both sides.
func (l *Line) jitter() time.Duration {
	return time.Duration((2*l.uniform(diceJitter) - 1) * float64(l.profile.Jitter))
}

// uniform is at least 0 and below 1.
func (l *Line) uniform(kind int) float64 {
	return float64(l.dice[kind].Uint64()>>11) / (1 << 53)
}

// vanished notes a packet of a flow and says whether the flow has vanished.
func (l *Line) vanished(f Flow) bool {
	if f == (Flow{}) {
		return false
	}
	state := l.flows[f]
	if state == nil {
		if len(l.flows) >= maxFlows {
			return false
		}
		state = new(flowState)
		l.flows[f] = state
	}
	state.packets++
	return state.vanished
}

// Profile is what the line does at present.
func (l *Line) Profile() Profile { return l.profile }

// SetProfile changes what the line does to packets that come from now on. What
// is under way stays under way.
func (l *Line) SetProfile(p Profile) { l.profile = p }

// Vanish makes a flow disappear from the line without a word: its packets are
// dropped, those of any other flow pass. The direction within f does not matter.
func (l *Line) Vanish(f Flow) {
	if state := l.flows[f.canonical()]; state != nil {
		state.vanished = true
		return
	}
	l.flows[f.canonical()] = &flowState{vanished: true}
}

// Heal ends the blackhole and brings vanished flows back.
func (l *Line) Heal() {
	l.profile.Blackhole = false
	for _, state := range l.flows {
		state.vanished = false
	}
}

// Flows are the TCP and UDP flows seen so far, with their packets, dropped ones
// included.
func (l *Line) Flows() map[Flow]uint64 {
	seen := make(map[Flow]uint64, len(l.flows))
	for f, state := range l.flows {
		seen[f] = state.packets
	}
	return seen
}

// Counters are the line's since it began, or since the last ResetCounters.
func (l *Line) Counters() Counters { return l.counters }

// ResetCounters sets them to zero and forgets the flows that have not vanished.
func (l *Line) ResetCounters() {
	l.counters = Counters{}
	for f, state := range l.flows {
		if !state.vanished {
			delete(l.flows, f)
		}
	}
}
