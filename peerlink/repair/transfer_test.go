package repair

import (
	"encoding/binary"
	"testing"
	"time"
)

// transfer is one TCP stream over a line, from a cold start.
type transfer struct {
	*line
	tcp     *tcpSender
	rcv     *tcpReceiver
	acks    []timedAck
	goodput float64 // Mbit/s
	wire    float64 // bytes per byte
	watch   func()  // called ten times per second, to look at a run
}

type timedAck struct {
	at  int64
	ack tcpAck
}

const segment = 1348 // payload of a packet of 1400 bytes

func newTransfer(t *testing.T, s *Sender, seed uint64) *transfer {
	x := &transfer{line: newLine(t, s, seed), rcv: &tcpReceiver{have: map[int]bool{}}}
	x.tcp = newTCPSender(func(seq int, _ bool) {
		p := make([]byte, 1400)
		binary.BigEndian.PutUint32(p, uint32(seq))
		binary.BigEndian.PutUint64(p[8:], uint64(x.now))
		x.put(77, Bulk, p)
	})
	x.r = NewReceiver(func(_ bool, p []byte) {
		if len(p) == 1400 {
			x.rcv.take(int(binary.BigEndian.Uint32(p)), int64(binary.BigEndian.Uint64(p[8:])))
		}
	})
	return x
}

// transferFor runs the stream for a while.
func (x *transfer) transferFor(d time.Duration) {
	began := false
	x.s.Learn(2 * x.oneWay)
	x.r.Learn(2 * x.oneWay)
	x.run(100*time.Millisecond, func() {
		if x.now%int64(20*time.Millisecond) < tick {
			x.put(5, Prompt, make([]byte, 100))
		}
	})
	x.put(77, Opening, make([]byte, 60))
	opened, bytes := x.now, x.bytes
	x.run(d, func() {
		if !began && x.now >= opened+2*x.oneWay {
			began = true
			x.tcp.transmit(x.now)
		}
		if len(x.rcv.came) > 0 {
			a := tcpAck{next: x.rcv.next, came: x.rcv.came, echo: x.rcv.echo}
			x.rcv.came = nil
			if x.deaf() { // the next one says it again
				x.rcv.came = a.came
			} else {
				x.acks = append(x.acks, timedAck{x.now + x.oneWay, a})
			}
		}
		for len(x.acks) > 0 && x.acks[0].at <= x.now {
			x.tcp.ack(x.now, &x.acks[0].ack)
			x.acks = x.acks[1:]
		}
		x.tcp.tick(x.now)
		if x.watch != nil && (x.now-opened)%int64(100*time.Millisecond) < tick {
			x.watch()
		}
	})
	x.goodput = float64(x.rcv.next) * segment * 8 / d.Seconds() / 1e6
	x.wire = float64(x.bytes-bytes) / float64(x.rcv.next*segment)
}

// oneTransfer runs a stream for as long as the benchmark does.
func oneTransfer(t *testing.T, s *Sender, seed uint64, shape func(*line)) *transfer {
	x := newTransfer(t, s, seed)
	shape(x.line)
	x.transferFor(15 * time.Second)
	return x
}

func TestATransferFromAColdStartIsFastOnABadLine(t *testing.T) {
	for _, c := range []struct {
		name        string
		loses       func(*line) func() bool
		seed        uint64
		least, wire float64
	}{
		{"1 %", func(l *line) func() bool { return l.independent(0.01) }, 1, 75, 1.3},
		{"3 %", func(l *line) func() bool { return l.independent(0.03) }, 2, 70, 1.3},
		{"5 %", func(l *line) func() bool { return l.independent(0.05) }, 3, 65, 1.3},
		{"10 %", func(l *line) func() bool { return l.independent(0.1) }, 4, 58, 1.45},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := oneTransfer(t, NewSender(), c.seed, func(l *line) { l.loses, l.deaf = c.loses(l), c.loses(l) })
			if x.goodput < c.least || x.wire > c.wire {
				t.Errorf("%.1f Mbit/s at %.3f bytes per byte on the wire", x.goodput, x.wire)
			}
			if x.r.held > maxHeld || len(x.s.ring.entries) > maxEntries {
				t.Errorf("%d bytes and %d packets are held", x.r.held, len(x.s.ring.entries))
			}
		})
	}
}

func TestATransferOnACleanLineIsAsFastAsWithoutRepair(t *testing.T) {
	shape := func(*line) {}
	off, auto := oneTransfer(t, &Sender{}, 1, shape), oneTransfer(t, NewSender(), 1, shape)
	if auto.goodput < 0.98*off.goodput || auto.wire > 1.005*off.wire || auto.parity > 0 {
		t.Errorf("%.1f Mbit/s at %.3f bytes per byte, %d of them parity; without repair %.1f at %.3f",
			auto.goodput, auto.wire, auto.parity, off.goodput, off.wire)
	}
}

func TestCongestionCostsATransferNoMoreThanWithoutRepair(t *testing.T) {
	for _, queue := range []time.Duration{50 * time.Millisecond, 10 * time.Millisecond} {
		t.Run(queue.String(), func(t *testing.T) {
			shape := func(l *line) { l.rate, l.queue = 20e6, int64(queue) }
			off, auto := oneTransfer(t, &Sender{}, 1, shape), oneTransfer(t, NewSender(), 1, shape)
			if auto.goodput < 0.95*off.goodput || auto.wire > 1.05*off.wire || auto.tcp.srtt > off.tcp.srtt*13/10 {
				t.Errorf("%.1f Mbit/s at %.3f bytes per byte and %v; without repair %.1f at %.3f and %v", auto.goodput, auto.wire,
					time.Duration(auto.tcp.srtt), off.goodput, off.wire, time.Duration(off.tcp.srtt))
			}
		})
	}
}

// What stood still for longer than the queue is long must not make that queue's losses
// look like those of a bad line.
func TestALineThatStandsStillNowAndThenIsNotTakenForABadOne(t *testing.T) {
	for _, stall := range []time.Duration{0, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond} {
		t.Run(stall.String(), func(t *testing.T) {
			for phase := range int64(5) {
				x := newTransfer(t, NewSender(), 1)
				x.rate, x.queue, x.oneWay = 10e6, int64(10*time.Millisecond), int64(10*time.Millisecond)
				x.stands = func() bool {
					return (x.now+phase*int64(130*time.Millisecond))%int64(time.Second) >= int64(time.Second-stall)
				}
				x.transferFor(6 * time.Second)
				if x.dropped == 0 {
					t.Error("the queue was never full")
				}
				if x.parity > 0 || x.r.queue.lossy() {
					t.Errorf("%d datagrams of parity; %.0f came while the queue was short and %.0f are said to be lost then, of %d dropped",
						x.parity, x.r.queue.came, x.r.queue.lost, x.dropped)
				}
			}
		})
	}
}
