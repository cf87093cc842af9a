package repair

import (
	"math"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// Sender is the sending half of the repair of one link, as one pump sees it. It
// belongs to that pump. For each packet:
//
//	if s.Active(class) { plain = s.Add(...) } // else it goes as it is
//	while s.Pending() { kind, plain = s.Next(...) }
//
// Plaintexts are valid until the next call. After each burst and at the time that
// it returned, Due is called, and what is pending then sent.
type Sender struct {
	plan  Plan
	fixed bool
	watch bool // packets are marked and kept
	calm  int  // packets since the last loss

	ring   ring
	used   int64 // when a packet was added to it
	flows  flowTable
	parity [lanes]insurer
	queue  []repeat // a ring by age: queue[first:]
	first  int
	later  []repeat // second copies and their times
	tokens float64  // bytes that may be repeated
	skips  []skip

	beatAt  int64 // 0: none is planned
	beats   int   // since the last packet
	beatDue bool
	probes  int // beats that are to be sent to find out whether the link loses
	probed  int
	probing bool
	scratch []byte
	meter   lossStats
	rtt     int64
	decided int64

	hurt  bool  // datagrams were lost that no queue dropped
	since int64 // of the last such loss; before the first: of the first packet
	rate  [lanes]rateMeter
}

const (
	// A link is taken for clean after so many packets and so much time without a
	// loss; after a loss it takes longer.
	calmPackets = 10_000
	calmTime    = int64(2 * time.Second)
	lossMemory  = int64(30 * time.Second)

	repeatLife = int64(500 * time.Millisecond) // a packet older than that is not repeated
	nearLife   = int64(50 * time.Millisecond)  // the same, beside the round trip
	nearRTT    = int64(5 * time.Millisecond)   // shorter ones are those of neighbours
	maxRepeats = 4
	maxQueue   = 2048
	// Repeats may take repeatShare of what is sent, and maxTokens at once.
	repeatShare = 0.25
	maxTokens   = 96 << 10

	// Probes of an unknown link: with the first packet of a flow, with each that
	// follows, and at most.
	firstProbes = 60
	moreProbes  = 2
	maxProbes   = 300

	copiesIdle  = int64(3 * time.Second) // longer than any copy is of use
	firstBeat   = int64(10 * time.Millisecond)
	maxBeats    = 4
	decideEvery = int64(250 * time.Millisecond)
	decideSoon  = int64(20 * time.Millisecond) // while fewer than fewCounted datagrams were reported
	fewCounted  = 2048
	restTime    = int64(5 * time.Second) // after the decision to let go
)

// NewSender returns a sender that chooses by itself: it watches the first packets
// and then only what loses.
func NewSender() *Sender {
	s := &Sender{plan: Decide(Conditions{Burst: 1}, Plan{}), watch: true, tokens: maxTokens / 2, scratch: make([]byte, 0, 1500)}
	s.numberGroups()
	return s
}

// NewFixedSender returns a sender that insures every packet with a code.
func NewFixedSender(data, parity int) *Sender {
	s := &Sender{plan: Fixed(data, parity), fixed: true, watch: true, scratch: make([]byte, 0, 1500)}
	s.numberGroups()
	return s
}

// Bound makes s keep the copies of what it sent within a budget that it may share
// with others. What there is no room for is left to parity. It is called before
// anything is added.
func (s *Sender) Bound(copies *packet.Budget) { s.ring.budget = copies }

// Forget lets go of all copies: s is not used any more.
func (s *Sender) Forget() { s.ring.forget() }

// numberGroups tells the groups of the lanes apart.
func (s *Sender) numberGroups() {
	for lane := range s.parity {
		s.parity[lane].number = uint32(lane)
	}
}

// Active says whether a packet of the class is to be given to Add.
func (s *Sender) Active(class Class) bool {
	return s.watch && (class != Ack || s.fixed) && (s.plan.Repeat || s.plan.insured())
}

// Add takes a packet that is about to be sent under counter of session index and
// returns what to send in its place as wire.Repairable. hash tells flows apart.
func (s *Sender) Add(now int64, index uint32, counter uint64, hash uint32, class Class, partial bool, packet []byte) []byte {
	keep := s.plan.Repeat && s.ring.ready()
	shim := Shim{Partial: partial, Stamp: stamp(now), Final: !keep}
	lane := s.flows.number(now, hash, class, &shim)
	group := uint32(0)
	s.rate[lane].count(now)
	if lane == StartingLane && s.unknown() {
		s.probes += moreProbes
		s.probed += moreProbes
	}
	if code := s.plan.Lanes[lane]; code.Parity > 0 {
		group = s.parity[lane].add(now, index, counter, code, &shim, packet) + 1
	}
	s.calm++
	s.rest(now) // the last one that is marked
	s.tokens = min(s.tokens+repeatShare*float64(len(packet)), maxTokens)
	if s.lossy(now) {
		s.beatAt, s.beats = now+firstBeat, 0
	}
	if !keep || !s.ring.ready() { // rest may just have let go of it
		s.scratch = append(shim.Append(s.scratch[:0]), packet...)
		return s.scratch
	}
	s.used = now
	life, most := s.span()
	e := s.ring.add(now, life, most, index, counter, len(packet))
	e.shim, e.group = shim, group
	copy(e.buf[maxShim:], packet)
	return e.plain()
}

// Open says that the next packet opens a TCP connection. Small datagrams are to be
// sent before it, while nothing is known of the link: one of them that is lost costs
// nothing, but a packet would cost the flow its slow start. What became of them is
// known when the connection stands, so that its first packets can be insured.
func (s *Sender) Open() {
	if s.unknown() {
		s.probes += firstProbes
		s.probed += firstProbes
		s.probing = true
	}
}

// unknown says that it is worth to find out whether the link loses.
func (s *Sender) unknown() bool {
	return s.watch && !s.hurt && !s.fixed && s.probed < maxProbes && s.plan.Repeat
}

// plain is the shim and the packet, in one piece.
func (e *entry) plain() []byte {
	start := maxShim - e.shim.Len()
	e.shim.Append(e.buf[start:start])
	return e.buf[start:]
}

// rest lets go of a link that has lost nothing for long enough.
func (s *Sender) rest(now int64) {
	if s.since == 0 {
		s.since = now
	}
	long := calmTime
	if s.hurt {
		long = lossMemory
	}
	if s.fixed || s.calm < calmPackets || now-s.since < long {
		return
	}
	s.ring.forget() // its memory may be megabytes
	*s = Sender{
		ring: s.ring,
		plan: Decide(Conditions{Burst: 1}, Plan{}), meter: lossStats{last: s.meter.last, known: s.meter.known},
		rtt: s.rtt, tokens: maxTokens / 2, flows: s.flows, parity: s.parity, scratch: s.scratch,
	}
}

func (s *Sender) lossy(now int64) bool { return s.hurt && now-s.since < lossMemory }

// Pending says whether Next has something to send.
func (s *Sender) Pending() bool {
	return s.parityDue() != nil || s.probing && s.probes > 0 || s.beatDue || len(s.skips) > 0 || s.first < len(s.queue) && s.tokens > 0
}

// parityDue is the lane that has rows to send, nil if none has.
func (s *Sender) parityDue() *insurer {
	for lane := range s.parity {
		if s.parity[lane].due > 0 {
			return &s.parity[lane]
		}
	}
	return nil
}

// Next is what to send next under counter of session index, if Pending said so.
// Without plaintext there is nothing after all; the counter is lost then.
func (s *Sender) Next(now int64, index uint32, counter uint64) (wire.Kind, []byte) {
	if parity := s.parityDue(); parity != nil {
		if s.scratch = parity.next(s.scratch[:0], index, counter); len(s.scratch) > 0 {
			if s.beatAt != 0 { // the last row shows the end of a burst as well
				s.beatAt, s.beats = now+firstBeat, max(s.beats, 1)
			}
			return wire.Parity, s.scratch
		}
	}
	for s.first < len(s.queue) && s.tokens > 0 {
		if plain := s.again(now, index, counter); plain != nil {
			s.beatAt, s.beats = now+firstBeat, 0
			return wire.Repairable, plain
		}
	}
	if s.beatDue = false; s.probes > 0 {
		s.probes--
	}
	s.scratch = s.scratch[:0]
	n := min(len(s.skips), maxSkips)
	for _, k := range s.skips[:n] {
		s.scratch = k.append(s.scratch)
	}
	s.skips = s.skips[:copy(s.skips, s.skips[n:])]
	return wire.Beat, s.scratch
}

// Report takes what the peer tells of what arrived.
func (s *Sender) Report(now int64, r *Report) {
	lost, crowded := s.meter.take(r)
	if r.Held != 1<<16-1 {
		if took := int64(stamp(now)-r.Stamp-r.Held) * stampUnit; took < int64(2*time.Second) {
			s.learn(took)
		}
	}
	if s.fixed {
		return
	}
	if lost > 0 {
		s.hurt, s.since = true, now
	}
	if lost > 0 || crowded > 0 && !s.watch {
		s.calm, s.watch = 0, true
		s.since = now
	}
	if s.plan.Repeat && s.watch {
		s.compact()
		for i := r.N - 1; i >= 0; i-- { // the oldest first
			c := r.Newest - uint64(r.Missing[i].Back)
			for range int(r.Missing[i].More) + 1 {
				s.missing(now, r, c)
				c++
			}
		}
	}
	if !s.plan.Repeat && !s.plan.insured() && now-s.decided < restTime {
		return // what passes unmarked is not counted: look again later
	}
	wait := decideEvery
	if s.meter.sent < fewCounted {
		wait = decideSoon
	}
	if now-s.decided > wait || lost > 0 && !s.plan.insured() {
		s.decided = now
		s.plan = Decide(s.conditions(now), s.plan)
	}
}

// RTTUnknown says whether [Sender.Learn] would be of use.
func (s *Sender) RTTUnknown() bool { return s.rtt == 0 }

// Learn takes a round trip that the link has measured, in nanoseconds; the
// reports tell later ones.
func (s *Sender) Learn(rtt int64) {
	if rtt <= 0 {
		return
	}
	s.learn(rtt)
	if !s.fixed && !s.hurt { // a neighbour need not be watched
		s.plan = Decide(Conditions{Burst: 1, RTT: time.Duration(s.rtt)}, s.plan)
	}
}

func (s *Sender) learn(rtt int64) {
	if s.rtt == 0 {
		s.rtt = rtt
	}
	s.rtt += (rtt - s.rtt) / 8
}

func (s *Sender) conditions(now int64) Conditions {
	c := Conditions{Burst: 1, RTT: time.Duration(s.rtt)}
	for lane := range s.rate {
		c.Rate[lane] = s.rate[lane].rate(now)
	}
	if s.hurt {
		// Few losses prove little: rather too much parity for a moment than the
		// start of a flow ruined.
		c.Loss = (s.meter.lost + 1) / math.Max(s.meter.sent, 100)
		c.Burst = math.Max(1, s.meter.lost/math.Max(s.meter.bursts, 1))
	}
	return c
}

// Due ends groups and plans beats, and returns when to call again; 0: not before a
// packet or a report comes.
func (s *Sender) Due(now int64) int64 {
	s.probing = s.probes > 0
	next := s.ripen(now)
	for lane := range s.parity {
		if at := s.parity[lane].expire(now); at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	if s.beatAt != 0 && now >= s.beatAt {
		s.beatDue = true
		if s.beats++; s.beats >= s.mostBeats() {
			s.beatAt = 0
		} else {
			s.beatAt = now + firstBeat<<min(s.beats, maxBeats-1)
		}
	}
	if s.beatAt != 0 && (next == 0 || s.beatAt < next) {
		next = s.beatAt
	}
	if at := s.forgetCopies(now); at != 0 && (next == 0 || at < next) {
		next = at
	}
	return next
}

// mostBeats is how many beats follow the last packet. A run of losses that
// it was in may go on, where repeats come in time.
func (s *Sender) mostBeats() int {
	if s.meter.lost > longBurst*s.meter.bursts && s.rtt <= int64(repeatRTT) {
		return 2 * maxBeats
	}
	return maxBeats
}

// forgetCopies lets go of the memory of a ring that nobody uses any more, which
// may be megabytes, and returns when to look again; 0: there is none.
func (s *Sender) forgetCopies(now int64) int64 {
	if len(s.ring.entries) == 0 {
		return 0
	}
	if at := s.used + copiesIdle; now < at {
		return at
	}
	s.ring.forget()
	s.queue, s.first, s.later = nil, 0, nil
	return 0
}

// View is what an operator sees of the repair of one direction.
type View struct {
	Data, Parity int     // the code in force; 0: none
	Depth        int     // groups that are filled in turn; 1: one after the other
	Loss         float64 // before repair, 0 to 1
	Residual     float64 // after it, as far as the sender knows
	Repeating    bool    // packets are kept and repeated
}

// View describes s.
func (s *Sender) View() View {
	v := View{Repeating: s.watch && s.plan.Repeat && s.hurt}
	if s.watch {
		for _, lane := range [...]Lane{StartingLane, PromptLane, BulkLane} {
			if c := s.plan.Lanes[lane]; c.Parity > 0 && (s.rate[lane].smooth > 0 || s.fixed) {
				v.Data, v.Parity, v.Depth = c.Data, c.Parity, c.Depth
			}
		}
	}
	if s.meter.sent > 0 {
		v.Loss, v.Residual = s.meter.lost/s.meter.sent, s.meter.gone/s.meter.sent
	}
	return v
}
