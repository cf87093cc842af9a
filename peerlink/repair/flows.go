package repair

import "time"

// Class says what kind of packet waits to be sent, as far as repair cares.
type Class uint8

// The classes of packets.
const (
	Prompt  Class = iota // cannot wait: UDP, handshakes, keystrokes, and all that is not TCP
	Stream               // TCP with a payload of any size, or the end of a stream
	Bulk                 // TCP with a payload that fills a packet
	Ack                  // TCP that only acknowledges: the next one says it again
	Opening              // TCP that opens a connection; otherwise as Prompt
)

// flowTable numbers the packets of TCP flows. Bulk flows that share a slot are put
// in order together, which costs them a little delay and nothing else. Its zero value
// is empty.
type flowTable struct{ slots []numbering }

type numbering struct {
	hash  uint32
	seq   uint16
	fresh uint8 // packets left that say where the flow began
	bulk  bool
	last  int64

	// Whether the flow still grows, as TCP does in slow start: its packets in this
	// period and the most in one before.
	hasty  bool
	period int64 // beginning
	count  int
	most   int
	flat   int // periods in which it did not grow
}

const (
	flowSlots = 256
	// flowPause ends a flow: what comes later is numbered anew.
	flowPause    = int64(time.Second)
	freshPackets = 48
	// A flow has started when it did not grow by a quarter for flatPeriods periods.
	startPeriod = int64(100 * time.Millisecond)
	flatPeriods = 3
)

// number decides whether a packet is to be kept in order, numbers it and finds its
// lane. All TCP with a payload is: behind a hole it is of no use to anybody, and
// TCP would take it for a sign of loss.
func (t *flowTable) number(now int64, hash uint32, class Class, s *Shim) (lane Lane) {
	if class != Stream && class != Bulk {
		return PromptLane
	}
	if t.slots == nil {
		t.slots = make([]numbering, flowSlots)
	}
	slot := hash % flowSlots
	f := &t.slots[slot]
	switch {
	case now-f.last > flowPause || f.hash == 0, f.hash != hash && class == Bulk && !f.bulk:
		*f = numbering{hash: hash, fresh: freshPackets, seq: (f.seq + 256) &^ 255}
	case f.hash != hash && class != Bulk:
		return PromptLane // the slot is another flow's
	}
	if class == Bulk && !f.bulk {
		f.bulk, f.hasty, f.period = true, true, now
	}
	f.last = now
	lane = BulkLane
	switch {
	case !f.bulk:
		lane = PromptLane
	case f.hasty:
		lane = StartingLane
		f.grow(now)
	}
	s.Ordered, s.Slot, s.Seq, s.Hasty = true, uint16(slot), f.seq, lane != BulkLane
	f.seq++
	if f.fresh > 0 {
		f.fresh--
		s.Fresh = true
	}
	return lane
}

// grow counts a packet and finds out whether the flow still starts.
func (f *numbering) grow(now int64) {
	f.count++
	if now-f.period < startPeriod {
		return
	}
	if f.count*4 > f.most*5 {
		f.flat = 0
	} else if f.flat++; f.flat >= flatPeriods {
		f.hasty = false
	}
	f.period, f.most, f.count = now, max(f.most, f.count), 0
}
