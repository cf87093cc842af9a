package repair

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

func TestACleanLinkCarriesNothingOfRepair(t *testing.T) {
	l := newLine(t, NewSender(), 1)
	l.steady(3*time.Second, 5000, Bulk, 1400)
	if l.parity != 0 || l.repeats != 0 || l.residual(0) != 0 || l.twice != 0 {
		t.Errorf("%d rows of parity, %d repeats, %v lost, %d twice", l.parity, l.repeats, l.residual(0), l.twice)
	}
	if l.s.Active(Bulk) {
		t.Error("packets are still marked after 15,000 without a loss")
	}
	if most := l.added(0, 1); most > 2*time.Millisecond {
		t.Errorf("a packet was delayed by %v", most)
	}
	if wire := float64(l.bytes) / float64(len(l.sent)*(1400+headers)); wire > 1.005 {
		t.Errorf("%v of the bytes that it takes without repair", wire)
	}
}

func TestBulkIsWholeAndInOrderWhateverTheLoss(t *testing.T) {
	for name, loses := range map[string]func(*line) func() bool{
		"1 %":                func(l *line) func() bool { return l.independent(0.01) },
		"5 %":                func(l *line) func() bool { return l.independent(0.05) },
		"10 %":               func(l *line) func() bool { return l.independent(0.1) },
		"3 % in bursts of 8": func(l *line) func() bool { return l.bursts(0.03, 8) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(t, NewSender(), 2)
			l.loses = loses(l)
			l.deaf = l.independent(0.1)
			l.steady(6*time.Second, 5000, Bulk, 1400)
			const settled = 5000 // after the first second
			if share := l.residual(settled); share > 0.0005 {
				t.Errorf("%.3f %% never came", 100*share)
			}
			if l.twice != 0 {
				t.Errorf("%d packets came twice", l.twice)
			}
			if late := l.overtaken(100+uint32(Bulk), settled); late > 25 {
				t.Errorf("%d of 25000 packets were overtaken", late)
			}
			if r := l.r.held; r != 0 {
				t.Errorf("%d bytes are held for ever", r)
			}
		})
	}
}

func TestWhatCannotWaitIsInsured(t *testing.T) {
	for _, c := range []struct {
		name       string
		rate       float64
		size       int
		loses      func(*line) func() bool
		residual   float64
		p99        time.Duration
		overhead   float64
		settled    uint32
		measureFor time.Duration
	}{
		{"a video at 5 %", 1786, 1400, func(l *line) func() bool { return l.independent(0.05) }, 0.001, 10 * time.Millisecond, 0.2, 4000, 20 * time.Second},
		{"a video at 3 % in bursts of 5", 1786, 1400, func(l *line) func() bool { return l.bursts(0.03, 5) }, 0.001, 70 * time.Millisecond, 0.16, 4000, 20 * time.Second},
		{"a video at 3 % in bursts of 8", 1786, 1400, func(l *line) func() bool { return l.bursts(0.03, 8) }, 0.001, 70 * time.Millisecond, 0.16, 4000, 20 * time.Second},
		{"a game at 5 %", 60, 120, func(l *line) func() bool { return l.independent(0.05) }, 0.005, 15 * time.Millisecond, 9, 300, 60 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLine(t, NewSender(), 3)
			l.loses = c.loses(l)
			l.steady(time.Duration(float64(c.settled)/c.rate*1e9), c.rate, Prompt, c.size)
			before, packets := l.bytes, len(l.sent)
			from := uint32(len(l.sent))
			l.steady(c.measureFor, c.rate, Prompt, c.size)
			if share := l.residual(from); share > c.residual {
				t.Errorf("%.3f %% never came", 100*share)
			}
			if p99 := l.added(from, 0.99); p99 > c.p99 {
				t.Errorf("99 %% came within %v", p99)
			}
			wire := float64(l.bytes-before)/float64((len(l.sent)-packets)*(c.size+headers)) - 1
			if wire > c.overhead {
				t.Errorf("%.1f %% more bytes on the wire", 100*wire)
			}
			if l.twice != 0 {
				t.Errorf("%d packets came twice", l.twice)
			}
			t.Logf("residual %.4f %%, p99 %v, overhead %.3f, %+v", 100*l.residual(from), l.added(from, 0.99), wire, l.s.plan.Lanes[PromptLane])
		})
	}
}

func TestCongestionIsNotMended(t *testing.T) {
	for _, queue := range []time.Duration{50 * time.Millisecond, 10 * time.Millisecond} {
		t.Run(fmt.Sprint(queue), func(t *testing.T) {
			l := newLine(t, NewSender(), 4)
			l.rate, l.queue = 20e6, int64(queue)
			// A TCP-like flow: faster until something is dropped, then 30 % slower.
			rate, dropped, credit, id, cut := 500.0, 0, 0.0, uint32(0), int64(0)
			offered := 0
			l.run(20*time.Second, func() {
				if l.dropped > dropped && l.now-cut > int64(100*time.Millisecond) {
					rate, cut = rate*0.7, l.now
				}
				dropped = l.dropped
				rate += 0.1
				for credit += rate * time.Duration(tick).Seconds(); credit >= 1; credit-- {
					l.packet(id, 1, Bulk, 1400)
					offered += 1400 + headers
					id++
				}
			})
			if l.parity != 0 {
				t.Errorf("%d rows of parity were made of congestion", l.parity)
			}
			if share := float64(l.repeats) / float64(len(l.sent)); share > 0.01 {
				t.Errorf("%.2f %% were repeated", 100*share)
			}
			if wire := float64(l.bytes) / float64(offered); wire > 1.02 {
				t.Errorf("%v of the bytes without repair", wire)
			}
		})
	}
}

func TestAFixedCodeIsForEverythingAndAlways(t *testing.T) {
	for _, c := range [][2]int{{20, 2}, {10, 3}, {10, 5}, {5, 1}} {
		l := newLine(t, NewFixedSender(c[0], c[1]), 5)
		// Of each group exactly as many are lost as it has rows.
		n := 0
		l.loses = func() bool { n++; return (n-1)%(c[0]+c[1]) < c[1] }
		l.steady(2*time.Second, 4000, Prompt, 1000)
		if share := l.residual(0); share != 0 {
			t.Errorf("%d+%d: %.3f %% never came though no group lost more than %d", c[0], c[1], 100*share, c[1])
		}
		if want := len(l.sent) / c[0] * c[1]; l.parity < want || l.parity > want+c[1] {
			t.Errorf("%d+%d: %d rows for %d packets", c[0], c[1], l.parity, len(l.sent))
		}
		if l.twice != 0 || l.repeats != 0 {
			t.Errorf("%d+%d: %d came twice, %d were repeated", c[0], c[1], l.twice, l.repeats)
		}
	}
}

func TestALinkThatRecoversIsLeftAlone(t *testing.T) {
	l := newLine(t, NewSender(), 6)
	l.loses = l.independent(0.05)
	l.steady(3*time.Second, 3000, Bulk, 1400)
	if v := l.s.View(); v.Parity == 0 || !v.Repeating || v.Loss < 0.03 || v.Loss > 0.07 {
		t.Errorf("at 5 %% the view is %+v", v)
	}
	l.loses = func() bool { return false }
	l.steady(40*time.Second, 3000, Bulk, 1400)
	parity := l.parity
	l.steady(5*time.Second, 3000, Bulk, 1400)
	if l.parity != parity || l.s.Active(Bulk) {
		t.Errorf("%d more rows of parity 40 s after the last loss; packets are marked: %v", l.parity-parity, l.s.Active(Bulk))
	}
}

func TestARekeyInTheMiddleLosesNothing(t *testing.T) {
	l := newLine(t, NewSender(), 7)
	l.loses = l.independent(0.03)
	for session := range uint32(5) {
		l.index, l.counter = 100+session, 0
		credit, id := 0.0, uint32(len(l.sent))
		l.run(time.Second, func() {
			for credit += 1; credit >= 1; credit-- {
				l.packet(id, 9, Prompt, 500)
				id++
			}
		})
	}
	l.run(time.Second, func() {})
	if share := l.residual(2000); share > 0.002 || l.twice != 0 {
		t.Errorf("%.3f %% never came, %d twice", 100*share, l.twice)
	}
}

func TestAHoleInOneFlowDelaysNoOther(t *testing.T) {
	l := newLine(t, NewSender(), 8)
	l.loses = l.bursts(0.05, 8)
	id, odd := uint32(0), map[uint32]bool{}
	n := 0
	l.run(5*time.Second, func() {
		if n++; n%2 == 0 {
			l.packet(id, 1, Bulk, 1400)
		} else {
			l.packet(id, 2, Prompt, 200)
			odd[id] = true
		}
		id++
	})
	l.run(time.Second, func() {})
	// Of the second flow only what was lost itself may be late.
	late := 0
	for i := range odd {
		if at, ok := l.got[i]; ok && at-l.sent[i]-oneWay > int64(5*time.Millisecond) {
			late++
		}
	}
	if share := float64(late) / float64(len(odd)); share > 0.08 {
		t.Errorf("%.1f %% of a flow were late while 5 %% were lost", 100*share)
	}
}

func TestMarkingAllocatesNothingOnceItHasItsMemory(t *testing.T) {
	s, r := NewSender(), NewReceiver(func(bool, []byte) {})
	p, now, counter := make([]byte, 1400), int64(1), uint64(0)
	one := func() {
		now += int64(100 * time.Microsecond)
		plain := s.Add(now, 7, counter, 42, Bulk, true, p)
		fresh := r.Seen(now, 7, counter)
		if err := r.Repairable(now, 7, counter, fresh, plain); err != nil {
			t.Fatal(err)
		}
		s.Due(now)
		r.Due(now)
		counter++
	}
	for range 8000 {
		one()
	}
	if n := testing.AllocsPerRun(1000, one); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func TestSeeingACleanStreamAllocatesNothing(t *testing.T) {
	r, counter := NewReceiver(func(bool, []byte) {}), uint64(0)
	if n := testing.AllocsPerRun(10_000, func() {
		if !r.Seen(1, 7, counter) || r.Troubled() {
			t.Fatal("a datagram in order was not taken for new")
		}
		counter++
	}); n != 0 {
		t.Errorf("%v allocations per datagram", n)
	}
}

func BenchmarkSeen(b *testing.B) {
	r, counter := NewReceiver(func(bool, []byte) {}), uint64(0)
	for b.Loop() {
		r.Seen(1, 7, counter)
		counter++
	}
}

func TestWhatDidNotLeaveTheHostIsNotRepeated(t *testing.T) {
	l := newLine(t, NewSender(), 9)
	l.loses = l.independent(0.01)
	l.steady(time.Second, 2000, Prompt, 500)
	repeats := l.repeats
	l.loses = func() bool { return true }
	first := l.counter
	for id := uint32(10_000); id < 10_050; id++ {
		l.packet(id, 5, Prompt, 500)
	}
	l.s.Overrun(l.index, first, int(l.counter-first))
	l.loses = func() bool { return false }
	l.steady(time.Second, 2000, Prompt, 500)
	if n := l.repeats - repeats; n > 0 {
		t.Errorf("%d packets were repeated into a path that was full", n)
	}
}

func TestNoMorePacketsWaitToBePutInOrderThanMay(t *testing.T) {
	const window = 16
	l := newLine(t, NewSender(), 10)
	l.r.Limit(window)
	for id := range uint32(200) {
		lost := id == 20
		l.loses = func() bool { return lost }
		l.packet(id, 3, Bulk, 1400)
		l.run(time.Millisecond, func() {
			if n := l.r.Waiting(); n > window {
				t.Fatalf("%d packets wait, at most %d may", n, window)
			}
		})
	}
	l.run(time.Second, func() {})
	if len(l.got) != 200 || l.r.Waiting() != 0 {
		t.Errorf("%d of 200 packets came, %d wait for ever", len(l.got), l.r.Waiting())
	}
	if n := l.r.Peak(); n < window/2 || n > window {
		t.Errorf("it says that %d packets waited at most", n)
	}
}

func TestWhatIsIdleKeepsNoMemory(t *testing.T) {
	l := newLine(t, NewSender(), 11)
	l.loses = l.independent(0.03)
	l.steady(2*time.Second, 4000, Bulk, 1400)
	if len(l.s.ring.entries) < 256 || len(l.r.flows) == 0 {
		t.Fatalf("%d copies and %d flows while it works", len(l.s.ring.entries), len(l.r.flows))
	}
	l.run(20*time.Second, func() {})
	if len(l.s.ring.entries) != 0 || len(l.r.flows) != 0 || l.r.free.free != nil || l.r.decoder != nil {
		t.Errorf("%d copies, %d flows and %d buffers are kept for ever", len(l.s.ring.entries), len(l.r.flows), len(l.r.free.free))
	}
	if s, r := l.s.Due(l.now), l.r.Due(l.now); s != 0 || r != 0 {
		t.Errorf("it wants to be called again, at %d and %d", s, r)
	}
	from := uint32(len(l.sent))
	l.steady(2*time.Second, 4000, Bulk, 1400)
	if share := l.residual(from); share > 0.0005 {
		t.Errorf("%.3f %% never came after the pause", 100*share)
	}
}

func TestAPacketAmongManyProbesIsRepeatedStill(t *testing.T) {
	l := newLine(t, NewSender(), 12)
	l.s.Learn(2 * oneWay)
	l.s.probed = maxProbes // the test makes its own: seven with each packet
	for id := range uint32(50) {
		lost := id == 5
		l.loses = func() bool { return lost }
		l.packet(id, 4, Bulk, 1400)
		l.counter += 7
		l.loses = func() bool { return false }
		l.run(time.Millisecond, func() {})
	}
	l.run(time.Second, func() {})
	if _, ok := l.got[5]; !ok || l.repeats == 0 {
		t.Errorf("the packet that was lost never came, after %d repeats", l.repeats)
	}
}

func TestWhatGoesAgainUnaskedDoesNotLookLikeAQuickRepeat(t *testing.T) {
	l := newLine(t, NewSender(), 6)
	l.steady(200*time.Millisecond, 500, Prompt, 1000)
	first, swallowed := l.counter, uint32(len(l.sent))
	l.loses = func() bool { return true }
	const n = 20
	for id := swallowed; id < swallowed+n; id++ {
		l.packet(id, 100+uint32(Prompt), Prompt, 1000)
	}
	l.loses = func() bool { return false }
	again := uint32(0)
	l.run(200*time.Millisecond, func() {
		if again == n {
			return
		}
		p := append(binary.BigEndian.AppendUint32(nil, swallowed+again), make([]byte, 996)...)
		c := l.next()
		plain, ok := AppendRepeat(nil, l.now, first+uint64(again), c, true, p)
		if !ok {
			t.Fatal("a moment ago is too long ago")
		}
		l.enter(datagram{counter: c, kind: wire.Repairable, plain: plain})
		again++
	})
	if share := l.residual(0); share != 0 || l.twice != 0 {
		t.Fatalf("%.3f %% never came, %d came twice", 100*share, l.twice)
	}
	from := uint32(len(l.sent))
	l.loses = l.independent(0.01)
	l.steady(6*time.Second, 5000, Bulk, 1400)
	const settled = 5000
	if late := l.overtaken(100+uint32(Bulk), from+settled); late > 25 || l.r.giveUp() < 2*oneWay {
		t.Errorf("%d of 25000 packets were overtaken, holes wait for %v", late, time.Duration(l.r.giveUp()))
	}
}
