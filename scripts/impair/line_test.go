package impair

import (
	"math"
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

// profile turns knobs of a perfect line.
func profile(t testing.TB, knobs ...string) Profile {
	t.Helper()
	p, err := Profile{}.With(knobs...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// offer gives n packets of a size to a line, gap apart, and returns the decisions.
func offer(l *Line, n, size int, gap time.Duration) []Decision {
	all := make([]Decision, n)
	for i := range all {
		all[i] = l.Offer(time.Duration(i)*gap, Packet{Bytes: size})
	}
	return all
}

// bursts are the lengths of the runs of packets dropped for a reason.
func bursts(all []Decision, reason Reason) (lengths []float64, total float64) {
	run := 0.
	for _, d := range all {
		if d.Drop == reason {
			run++
			total++
		} else if run > 0 {
			lengths, run = append(lengths, run), 0
		}
	}
	return lengths, total
}

func mean(values []float64) float64 {
	sum := 0.
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance {
		t.Errorf("%s is %g, want %g ± %g", what, got, want, tolerance)
	}
}

func TestRandomLossHasItsShareAndNoMemory(t *testing.T) {
	const n, p = 200_000, 0.05
	all := offer(NewLine(1, profile(t, "loss=5%")), n, 1000, ms)
	lengths, total := bursts(all, Lost)
	near(t, "the loss", total/n, p, 4*math.Sqrt(p*(1-p)/n))
	near(t, "the mean run", mean(lengths), 1/(1-p), 0.01)
}

func TestBurstLossHasItsShareAndItsLength(t *testing.T) {
	for _, c := range []struct {
		knob         string
		loss, length float64
	}{{"burst=3%/8", 0.03, 8}, {"burst=3%/5", 0.03, 5}, {"burst=10%/2", 0.1, 2}, {"burst=50%/4", 0.5, 4}} {
		const n = 1_000_000
		lengths, total := bursts(offer(NewLine(2, profile(t, c.knob)), n, 1000, ms), LostInBurst)
		near(t, c.knob+": loss", total/n, c.loss, c.loss/20)
		near(t, c.knob+": length", mean(lengths), c.length, c.length/20)
		// Geometric: the deviation of a burst's length is sqrt(1 - 1/b) * b.
		squares := 0.
		for _, l := range lengths {
			squares += (l - c.length) * (l - c.length)
		}
		near(t, c.knob+": deviation", math.Sqrt(squares/float64(len(lengths))), c.length*math.Sqrt(1-1/c.length), c.length/10)
	}
}

func TestTheSameSeedLosesTheSamePackets(t *testing.T) {
	p := profile(t, "loss=3%", "burst=2%/4", "jitter=5ms", "delay=20ms", "reorder=2%/8ms", "duplicate=1%")
	one, same, other := offer(NewLine(3, p), 10_000, 1000, ms), offer(NewLine(3, p), 10_000, 1000, ms), offer(NewLine(4, p), 10_000, 1000, ms)
	if !slices.Equal(one, same) {
		t.Error("a second run of the same seed decided otherwise")
	}
	if slices.Equal(one, other) {
		t.Error("another seed decided the same")
	}
	// Other knobs, other sizes and other times leave the losses where they were.
	p.Jitter, p.Duplicate, p.Reorder = 0, 0.5, 0
	for i, d := range offer(NewLine(3, p), 10_000, 64, 7*ms) {
		if d.Drop != one[i].Drop {
			t.Fatalf("packet %d: %v, with other knobs %v", i, one[i].Drop, d.Drop)
		}
	}
}

func TestJitterKeepsTheOrderAndStaysWithinItsBounds(t *testing.T) {
	least, most := time.Hour, time.Duration(0)
	last := time.Duration(0)
	for i, d := range offer(NewLine(5, profile(t, "delay=20ms", "jitter=5ms")), 20_000, 1000, 20*ms) {
		took := d.At - time.Duration(i)*20*ms
		least, most = min(least, took), max(most, took)
		if d.At < last {
			t.Fatalf("packet %d arrives before the one before it", i)
		}
		last = d.At
	}
	if least < 15*ms || most > 25*ms || least > 15100*time.Microsecond || most < 24900*time.Microsecond {
		t.Errorf("20 ± 5 ms took from %s to %s", least, most)
	}
	last = 0
	for i, d := range offer(NewLine(5, profile(t, "delay=20ms", "jitter=5ms")), 20_000, 1000, ms/10) {
		if d.At < last {
			t.Fatalf("packet %d, sent densely, arrives before the one before it", i)
		}
		last = d.At
	}
}

func TestReorderedPacketsAreOvertakenAndNobodyElse(t *testing.T) {
	const n, p = 100_000, 0.02
	late := 0.
	last := time.Duration(0)
	for i, d := range offer(NewLine(6, profile(t, "delay=20ms", "reorder=2%/3ms")), n, 1000, ms) {
		switch took := d.At - time.Duration(i)*ms; took {
		case 23 * ms:
			late++
		case 20 * ms:
			if d.At < last {
				t.Fatalf("packet %d was not held back, and yet overtakes", i)
			}
			last = d.At
		default:
			t.Fatalf("packet %d took %s", i, took)
		}
	}
	near(t, "the share held back", late/n, p, 4*math.Sqrt(p*(1-p)/n))
}

func TestDuplicatesComeInTheirShare(t *testing.T) {
	const n, p = 100_000, 0.01
	l := NewLine(7, profile(t, "duplicate=1%"))
	offer(l, n, 100, ms)
	c := l.Counters()
	near(t, "the share of duplicates", float64(c.Out.Packets)/n-1, p, 4*math.Sqrt(p*(1-p)/n))
}

func TestABottleneckSendsItsRateAndQueuesItsBound(t *testing.T) {
	// 1250 bytes take 100 us at 100 Mbit/s; 20 % more is offered.
	for _, queue := range []string{"queue=50ms", "queue=625000"} {
		l := NewLine(8, profile(t, "delay=25ms", "rate=100mbit", queue))
		gap := 100 * time.Microsecond * 10 / 12
		var last time.Duration
		for i, d := range offer(l, 120_000, 1250, gap) {
			now := time.Duration(i) * gap
			if d.Drop == QueueFull {
				continue
			}
			if wait := d.At - now - 25*ms; wait < 100*time.Microsecond || wait > 50*ms {
				t.Fatalf("%s: packet %d waits %s", queue, i, wait)
			}
			if d.At-last < 100*time.Microsecond {
				t.Fatalf("%s: packet %d leaves %s after the one before it", queue, i, d.At-last)
			}
			last = d.At
		}
		c := l.Counters()
		near(t, queue+": packets in 10 s", float64(c.Out.Packets), 100_000+500, 10)
		near(t, queue+": longest queue (ms)", float64(c.LongestQueue)/float64(ms), 50, 0.2)
		if c.In.Packets != c.Out.Packets+c.Dropped[QueueFull].Packets {
			t.Errorf("%s: the counters do not add up: %+v", queue, c)
		}
	}
}

func TestAnIdleBottleneckTakesAnyPacketAndKeepsNoCredit(t *testing.T) {
	l := NewLine(9, profile(t, "rate=1mbit", "queue=1ms"))
	for i := range time.Duration(5) {
		now := i * time.Second
		if d := l.Offer(now, Packet{Bytes: 1250}); d.Drop != Passed || d.At != now+10*ms {
			t.Errorf("a packet that takes longer than the queue's bound: %+v", d)
		}
		if d := l.Offer(now, Packet{Bytes: 1250}); d.Drop != QueueFull {
			t.Errorf("and the next at once: %+v", d)
		}
	}
}

func TestTheOrderStaysWhenKnobsAreTurned(t *testing.T) {
	l := NewLine(10, profile(t, "delay=100ms", "rate=1mbit"))
	slow := l.Offer(0, Packet{Bytes: 1250})
	l.SetProfile(profile(t, "delay=1ms"))
	if d := l.Offer(1, Packet{Bytes: 1250}); d.At < slow.At {
		t.Errorf("a packet on the better line arrives at %s, the one before it at %s", d.At, slow.At)
	}
}

func TestOnlyWhatIsTooBigIsDroppedByTheMTU(t *testing.T) {
	l := NewLine(11, profile(t, "mtu=1280"))
	for bytes, want := range map[int]Reason{1280 + 14: Passed, 1281 + 14: TooBig, 100: Passed} {
		if d := l.Offer(0, Packet{Bytes: bytes}); d.Drop != want {
			t.Errorf("a frame of %d bytes: %v, want %v", bytes, d.Drop, want)
		}
	}
}

func TestBlackholesSwallowAllAndVanishedFlowsOnlyThemselves(t *testing.T) {
	l := NewLine(12, Profile{})
	dead, alive := Packet{Bytes: 100, Flow: Flow{protocol: protocolTCP, ap: 1, bp: 2}}, Packet{Bytes: 100, Flow: Flow{protocol: protocolTCP, ap: 1, bp: 3}}
	expect := func(when string, p Packet, want Reason) {
		t.Helper()
		if d := l.Offer(0, p); d.Drop != want {
			t.Errorf("%s: %v, want %v", when, d.Drop, want)
		}
	}
	expect("before", dead, Passed)
	l.Vanish(dead.Flow)
	expect("the vanished flow", dead, Vanished)
	expect("another flow", alive, Passed)
	expect("what has no flow", Packet{Bytes: 100}, Passed)
	p := l.Profile()
	p.Blackhole = true
	l.SetProfile(p)
	expect("another flow in the blackhole", alive, Blackholed)
	if seen := l.Flows(); seen[dead.Flow] != 2 || seen[alive.Flow] != 2 {
		t.Errorf("the flows seen are %v, want two packets of each", seen)
	}
	l.Heal()
	expect("after", dead, Passed)
	expect("after", alive, Passed)
}

func TestFlowsBeyondTheBoundPassUnremembered(t *testing.T) {
	l := NewLine(13, Profile{})
	for i := range maxFlows + 100 {
		if d := l.Offer(0, Packet{Bytes: 100, Flow: Flow{protocol: protocolUDP, ap: uint16(i), bp: 9}}); d.Drop != Passed {
			t.Fatalf("flow %d: %v", i, d.Drop)
		}
	}
	if n := len(l.Flows()); n != maxFlows {
		t.Errorf("%d flows are remembered", n)
	}
	l.ResetCounters()
	if n := len(l.Flows()); n != 0 || l.Counters() != (Counters{}) {
		t.Errorf("after a reset: %d flows, %+v", n, l.Counters())
	}
}

func TestALineDoesNotAllocatePerPacket(t *testing.T) {
	l := NewLine(14, profile(t, "delay=5ms", "loss=1%", "burst=1%/4", "rate=1gbit", "queue=50ms", "jitter=1ms"))
	var s schedule
	frame := make([]byte, 1400)
	now := time.Duration(0)
	flow := Flow{protocol: protocolUDP, ap: 1, bp: 2}
	step := func() {
		now += 20 * time.Microsecond
		for range l.Offer(now, Packet{Bytes: len(frame), Flow: flow}).Copies {
			s.push(now+ms, frame)
		}
		for {
			e, _, due := s.pop(now)
			if !due {
				break
			}
			s.release(e)
		}
	}
	for range 1000 {
		step()
	}
	if allocs := testing.AllocsPerRun(10_000, step); allocs != 0 {
		t.Errorf("%v allocations per packet", allocs)
	}
}

func BenchmarkLine(b *testing.B) {
	l := NewLine(15, profile(b, "delay=5ms", "loss=1%", "burst=1%/4", "rate=10gbit", "queue=50ms", "jitter=1ms"))
	flow := Flow{protocol: protocolUDP, ap: 1, bp: 2}
	for i := range b.N {
		l.Offer(time.Duration(i)*20*time.Microsecond, Packet{Bytes: 1400, Flow: flow})
	}
}
