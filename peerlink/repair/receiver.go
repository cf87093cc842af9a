package repair

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/fec"
)

// Receiver is the receiving half of the repair of one link. It belongs to the pump
// that receives the peer's datagrams. After each call, Due says when the next is due.
type Receiver struct {
	deliver func(partial bool, packet []byte)

	trackers [2]tracker // of the newest two sessions; a rekey changes them
	current  int
	queue    queueMeter
	flows    map[uint16]*flow
	decoder  *fec.Decoder
	free     buffers
	budget   *packet.Budget // of what waits, with all that this takes
	room     int            // bytes that may wait
	decoding int            // bytes taken for the decoder
	held     int            // bytes in flows
	waiting  int            // packets in flows
	most     int            // of them
	peak     int            // of them, so far
	places   int            // of all flows
	swept    int64

	// What is known of the peer's way of sending.
	shims     bool // it marks packets, so it listens to reports
	stamped   uint16
	stampedAt int64
	unmarked  int    // datagrams since then without a stamp
	group     uint32 // session of the group that is being decoded
	head      []byte // scratch
	now       int64

	// How long repairs take, and how long flows are held for their sake.
	repairTime int64 // of one repeat, from the gap on; 0: none came yet
	parityTime int64 // what parity takes at most, as seen lately
	insured    bool  // the newest packet of an ordered flow is under parity
	playout    int64
	needed     [2]int64 // most that was needed lately: this period and the one before
	neededFrom int64
	adapted    int64

	reportGot uint32 // datagrams that the last report counted
	quiet     int64  // time between reports to a peer that does not listen
}

const (
	// DefaultWindow is how many packets of a peer may wait to be put in order.
	DefaultWindow = 5000

	maxHeld      = 6 << 20 // bytes
	maxPlayout   = int64(600 * time.Millisecond)
	neededPeriod = int64(100 * time.Millisecond)

	askInterval = int64(10 * time.Millisecond)
	// While a flow waits for what was missed a moment ago, reports are all that goes
	// back: on a line whose losses come in runs several of them may be lost.
	askQuickly   = int64(10 * time.Millisecond / 3)
	askSoon      = int64(25 * time.Millisecond)
	tellInterval = int64(250 * time.Millisecond)
	maxQuiet     = int64(5 * time.Second)

	blindAfter   = int64(time.Second) // without a stamp
	blindPackets = 32                 // that came meanwhile
	groupLife    = int64(300 * time.Millisecond)
	usualRTT     = int64(50 * time.Millisecond)
	firstGiveUp  = int64(150 * time.Millisecond) // before the first repeat showed how long it takes
	finalGiveUp  = int64(20 * time.Millisecond)  // where only parity helps
	// Where a queue is full, a hole waits for parity no longer: the flow is to hear of
	// it while that helps. Rounds over a long way take more time; what their parity gives
	// back then is out of order, which says the same more gently.
	maxParityTime = int64(40 * time.Millisecond)
)

// NewReceiver returns a receiver that gives packets to deliver, in the order in
// which they should reach the kernel. deliver may keep the bytes no longer than the
// call lasts, and calls nothing of the receiver.
func NewReceiver(deliver func(partial bool, packet []byte)) *Receiver {
	return &Receiver{deliver: deliver, flows: map[uint16]*flow{}, quiet: askInterval, parityTime: finalGiveUp, most: DefaultWindow, room: maxHeld}
}

// Limit bounds how many packets may wait to be put in order. Whoever would wait
// beyond that goes on at once, and the holes before it are given up.
func (r *Receiver) Limit(packets int) { r.most = packets }

// crowded says that nothing more may wait.
func (r *Receiver) crowded() bool {
	return r.held >= r.room || r.waiting >= r.most || r.budget.Spent()
}

// Seen takes the counter of every datagram that was authenticated, of any kind,
// before anything else is done with it. False: what it carries is known already.
func (r *Receiver) Seen(now int64, index uint32, counter uint64) bool {
	t := &r.trackers[r.current]
	if t.index != index || t.next == 0 {
		t = r.tracker(index)
	}
	r.now = now
	r.unmarked++
	if r.queue.arrived(); !r.queue.long {
		t.calm++
	}
	return t.seen(now, counter, r.queue.late())
}

// tracker finds that of a session, or begins it in place of the older one.
func (r *Receiver) tracker(index uint32) *tracker {
	for i := range r.trackers {
		if t := &r.trackers[i]; t.index == index && t.next != 0 {
			return t
		}
	}
	r.current = 1 - r.current
	r.trackers[r.current] = tracker{index: index}
	return &r.trackers[r.current]
}

// Repairable takes the plaintext of a Repairable datagram. fresh is what Seen said.
func (r *Receiver) Repairable(now int64, index uint32, counter uint64, fresh bool, plain []byte) error {
	s, packet, err := ParseShim(plain)
	if err != nil {
		return err
	}
	r.shims, r.stamped, r.stampedAt, r.unmarked = true, s.Stamp, now, 0
	r.queue.sample(now, s.Stamp)
	switch {
	case s.Repeat:
		t, original := r.tracker(index), counter-uint64(s.Age)
		if h := t.hole(original); h != nil && !s.Final {
			r.learn(now-h.since, s.Again)
		}
		if !t.mended(original, &r.queue, r.blind(now)) {
			return nil
		}
	case !fresh:
		return nil
	case s.Grouped:
		r.insured = true
		sh := shard{shim: s, offset: s.Back, packet: packet}
		r.group, r.head = index, sh.appendHead(r.head[:0])
		if r.decodes() {
			r.decoder.Data(now, groupKey(index, counter-uint64(s.Back)), int(s.Index), r.head, packet)
		}
	}
	if !s.Grouped && !s.Repeat && s.Ordered {
		r.insured = false
	}
	r.accept(now, &s, packet, s.Repeat)
	return nil
}

// Parity takes the plaintext of a Parity datagram.
func (r *Receiver) Parity(now int64, index uint32, counter uint64, plain []byte) error {
	p, err := parseParity(plain)
	if err != nil {
		return err
	}
	r.group, r.now = index, now
	if r.decodes() {
		r.decoder.Parity(now, groupKey(index, counter-uint64(p.back)), int(p.k), int(p.row), p.shard)
	}
	return nil
}

// Beat takes the plaintext of a Beat datagram.
func (r *Receiver) Beat(now int64, plain []byte) {
	r.unmarked--
	for ; len(plain) >= skipLen; plain = plain[skipLen:] {
		r.skip(now, parseSkip(plain))
	}
}

func groupKey(index uint32, base uint64) uint64 { return uint64(index)<<32 | base&(1<<32-1) }

// rebuilt takes a packet that parity gave back.
func (r *Receiver) rebuilt(key uint64, _ int, b []byte) {
	s, err := parseShard(b)
	if err != nil {
		return
	}
	t := r.tracker(r.group)
	base := t.next&^(1<<32-1) | key&(1<<32-1)
	if base >= t.next && base >= 1<<32 {
		base -= 1 << 32
	}
	if h := t.hole(base + uint64(s.offset)); h != nil {
		r.parityTime = min(max(r.now-h.since+int64(time.Millisecond), r.parityTime-r.parityTime/64), maxParityTime)
	}
	if t.mended(base+uint64(s.offset), &r.queue, r.blind(r.now)) {
		r.accept(r.now, &s.shim, s.packet, true)
	}
}

func (r *Receiver) accept(now int64, s *Shim, packet []byte, repaired bool) {
	if s.Ordered {
		r.ordered(now, s, packet, repaired)
		return
	}
	r.deliver(s.Partial, packet)
}

// blind says that nothing is known of the queues just now: what came was not stamped.
func (r *Receiver) blind(now int64) bool {
	return !r.shims || now-r.stampedAt > blindAfter && r.unmarked > blindPackets
}

// Learn takes a round trip that the link has measured, in nanoseconds; 0: none.
func (r *Receiver) Learn(rtt int64) { r.queue.rtt = rtt }

// roundTrip is the round trip, or a guess.
func (r *Receiver) roundTrip() int64 {
	if r.queue.rtt == 0 && r.repairTime > 0 {
		return r.repairTime
	}
	return r.queue.roundTrip()
}

// learn takes how long a repeat took; what took two says less.
func (r *Receiver) learn(took int64, again bool) {
	switch {
	case r.repairTime == 0:
		r.repairTime = took
	case !again:
		r.repairTime += (took - r.repairTime) / 8
	}
}

// giveUp is how long a hole in the counters may wait for repair.
func (r *Receiver) giveUp() int64 {
	if r.repairTime == 0 {
		return firstGiveUp
	}
	return min(r.repairTime*5/2+int64(15*time.Millisecond), maxPlayout)
}

// need takes the playout delay with which a hole would not have been noticed.
func (r *Receiver) need(delay int64) {
	delay = min(delay, r.giveUp(), maxPlayout)
	r.needed[0] = max(r.needed[0], delay)
	r.playout = max(r.playout, delay)
}

// adapt lets the playout delay fall to what was needed lately, no faster than a
// queue that empties, so that what was held does not arrive as a burst. Where holes
// are frequent it is as good as constant.
func (r *Receiver) adapt(now int64) {
	if now-r.neededFrom > neededPeriod {
		r.neededFrom = now
		r.needed[0], r.needed[1] = 0, r.needed[0]
	}
	if want := max(r.needed[0], r.needed[1]); r.playout > want {
		r.playout = max(r.playout-min(now-r.adapted, askInterval)/2, want)
	}
	r.adapted = now
}

// Due does what time has made due, and returns when to call again; 0: not before
// something comes.
func (r *Receiver) Due(now int64) (next int64) {
	soonest := func(at int64) {
		if at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	if known, line := r.queue.doubt.verdict(now); known {
		for i := range r.trackers {
			r.trackers[i].resolve(line, &r.queue)
		}
	}
	if r.queue.doubt.open {
		soonest(r.queue.doubt.until)
	}
	for i := range r.trackers {
		t := &r.trackers[i]
		if len(t.holes) == 0 {
			continue
		}
		t.settle(now, &r.queue, r.blind(now), r.giveUp())
		soonest(t.nextJudged())
	}
	if r.held > 0 {
		r.adapt(now)
		for _, f := range r.flows {
			if f.held > 0 {
				soonest(r.drain(now, f))
			}
		}
	}
	if r.decoder != nil {
		r.decoder.Expire(now - groupLife)
	}
	soonest(r.sweep(now))
	for i := range r.trackers {
		if at := r.reportDue(&r.trackers[i]); at > 0 {
			soonest(max(at, now+1))
		}
	}
	return next
}

// reportDue is when the next report about t is due; 0: not before something comes.
func (r *Receiver) reportDue(t *tracker) int64 {
	wants := t.wants()
	switch {
	case t.next == 0:
		return 0
	case wants && !r.shims:
		return max(t.asked+r.quiet, 1)
	case wants && r.waiting > 0 && r.roundTrip() <= int64(repeatRTT) && t.newestHole()+askSoon > t.asked:
		return max(t.asked+askQuickly, 1)
	case wants:
		return max(t.asked+askInterval, 1)
	case r.shims && t == &r.trackers[r.current] && t.got-r.reportGot >= 32:
		return max(t.asked+tellInterval, 1)
	}
	return 0
}

// Report fills in a report that is due now, if one is. Ask until there is none.
func (r *Receiver) Report(now int64, to *Report) bool {
	for i := range r.trackers {
		t := &r.trackers[i]
		if at := r.reportDue(t); at == 0 || at > now {
			continue
		}
		if !r.shims {
			r.quiet = min(r.quiet*2, maxQuiet)
		} else {
			r.quiet = askInterval
		}
		t.asked = now
		t.fill(to)
		to.Stamp, to.Held = r.stamped, uint16(min((now-r.stampedAt)/stampUnit, 1<<16-1))
		if !r.shims {
			to.Held = 1<<16 - 1 // there is no stamp
		}
		to.Queue = uint16(min(r.queue.last, 1<<16-1))
		if i == r.current {
			r.reportGot = t.got
		}
		return true
	}
	return false
}

// Waiting is how many packets are held.
func (r *Receiver) Waiting() int { return r.waiting }

// Peak is how many packets were held at most.
func (r *Receiver) Peak() int { return r.peak }

// Troubled says whether a datagram is missing: that Due should be called.
func (r *Receiver) Troubled() bool { return len(r.trackers[r.current].holes) > 0 }
