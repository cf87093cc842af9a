package e2e

import (
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/impair"
	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

func TestACleanLineCarriesNoParity(t *testing.T) {
	b := newBadLine(t, plain(t), lab.ImpairedConfig{NAT: true}, "")
	b.Line.Reset()
	done, err := lab.Transfer(b.ctx, b.Left, b.Right, ip4(1), 4<<20)
	must(t, err)
	if n := b.parity(); n != 0 {
		t.Errorf("%d repair packets for each group on a line that loses nothing", n)
	}
	// A packet's headers are below 12 % at this size; a 20+2 code would add 10 %.
	wire := b.Line.Stats(impair.There).In.Bytes
	if overhead := float64(wire)/float64(done.Bytes) - 1; overhead > 0.17 {
		t.Errorf("%d bytes went as %d: %.0f %% more", done.Bytes, wire, 100*overhead)
	}
}

func TestBytesArriveIntactOverEveryKindOfBadLine(t *testing.T) {
	for _, code := range []string{"auto", "off", "10+3"} {
		t.Run("fec "+code, func(t *testing.T) {
			b := newBadLine(t, raced(t), lab.ImpairedConfig{NAT: true}, "", "--fec", code)
			lines := []string{
				"loss=3%",
				"loss=0 burst=3%/8",
				"burst=0 reorder=5%/8ms jitter=3ms duplicate=2%",
				"loss=2% burst=1%/4",
			}
			if code == "auto" { // bare TCP gets nowhere on such lines
				lines = append(lines, "reorder=0 jitter=0 duplicate=0 burst=0 loss=1%", "loss=5%", "loss=10%")
			}
			for _, knobs := range lines {
				b.turn(knobs)
				for _, address := range []string{ip4(1), ip6(1)} {
					if _, err := lab.Transfer(b.ctx, b.Left, b.Right, address, 128<<10); err != nil {
						t.Errorf("%s: %v", knobs, err)
					}
				}
			}
		})
	}
}

func TestBytesArriveIntactOverBadLinesOfOtherKinds(t *testing.T) {
	for _, c := range []struct {
		name, listen, seed, path string
		flags                    []string
	}{
		{"UDP", "0.0.0.0:9000", lab.PairRight4 + ":9000", "udp", []string{"--transport", "udp"}},
		{"IPv6", "[::]:9000", "[" + lab.PairRight6 + "]:9000", "rawtcp", []string{"--transport", "rawtcp"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBadLineTo(t, c.listen, c.seed, raced(t), lab.ImpairedConfig{}, "", c.flags...)
			b.turn("loss=2% burst=1%/8 reorder=3%/8ms jitter=3ms duplicate=2%")
			for _, address := range []string{ip4(1), ip6(1)} {
				if _, err := lab.Transfer(b.ctx, b.Left, b.Right, address, 64<<10); err != nil {
					t.Error(err)
				}
			}
			if l := b.toSeed().Link; l.Path != c.path || l.Endpoint != c.seed {
				t.Errorf("the way was %s to %s, want %s to %s", l.Path, l.Endpoint, c.path, c.seed)
			}
		})
	}
}

func TestAStreamComesWholeThroughBursts(t *testing.T) {
	const perSecond, size, allowed, parts, lasts = 1000, 1200, 0.001, 5, 1500 * time.Millisecond
	b := newBadLine(t, plain(t), lab.ImpairedConfig{}, "")
	b.turn("burst=3%/8")
	bad := 0
	// A host that is busy elsewhere delays as a queue does, and what a queue drops is not
	// mended. That may happen once in five parts, or else twice in ten.
	for most := 1; most <= 2; most++ {
		s := b.stream(perSecond, size)
		b.lasts(2 * time.Second) // until then nobody can know
		b.Line.Reset()
		began := time.Now()
		// The end of a stream is another matter: a run of losses in which it ends may swallow
		// all that tells of it.
		b.lasts(parts*lasts + 500*time.Millisecond)
		line, r := b.Line.Stats(impair.There), s.Stop(time.Second)
		if lost := float64(line.Dropped[impair.LostInBurst].Packets) / float64(line.In.Packets); lost < 0.01 {
			t.Errorf("the line lost only %.2f %%", 100*lost)
		}
		for n := range time.Duration(parts) {
			part := r.Between(began.Add(n*lasts), began.Add((n+1)*lasts))
			t.Logf("of %d datagrams %.3f %% are lost", len(part.Packets), 100*part.Lost())
			if part.Lost() > allowed || len(part.Packets) < perSecond {
				bad++
			}
		}
		if bad <= most {
			return
		}
	}
	t.Errorf("in %d of %d parts more of the stream is lost than %.1f %%", bad, 2*parts, 100*allowed)
}

func TestNothingArrivesTwice(t *testing.T) {
	for _, code := range []string{"auto", "off", "5+1"} {
		t.Run("fec "+code, func(t *testing.T) {
			b := newBadLine(t, raced(t), lab.ImpairedConfig{}, "", "--fec", code)
			b.turn("duplicate=30% reorder=10%/20ms loss=5%")
			s := b.stream(400, 300)
			b.passes(s, 1000)
			if n := s.Stop(time.Second).Duplicates(); n > 0 {
				t.Errorf("%d datagrams arrived more than once", n)
			}
		})
	}
}

func TestAFixedCodeRepairsUDP(t *testing.T) {
	for _, c := range []struct {
		code, knobs string
	}{{"20+2", "loss=2%"}, {"10+3", "loss=5%"}, {"10+5", "loss=5% burst=2%/2"}, {"5+1", "loss=2%"}} {
		t.Run(c.code, func(t *testing.T) {
			b := newBadLine(t, plain(t), lab.ImpairedConfig{}, "", "--fec", c.code)
			b.turn(c.knobs)
			b.Line.Reset()
			s := b.stream(500, 400)
			b.passes(s, 1500)
			residual := s.Stop(time.Second).Lost()
			line := b.Line.Stats(impair.There)
			lost := 1 - float64(line.Out.Packets)/float64(line.In.Packets)
			t.Logf("the line lost %.2f %%, %.2f %% of the stream", 100*lost, 100*residual)
			if residual > lost/3 {
				t.Errorf("the line lost %.2f %%, and the stream %.2f %% of it: nothing was repaired", 100*lost, 100*residual)
			}
			if b.parity() == 0 {
				t.Error("`node peers` shows no parity")
			}
		})
	}
}

func TestAutoLearnsTheLossAndProtectsUDP(t *testing.T) {
	for _, c := range []struct {
		name, knobs string
		rate        float64
		size        int
	}{
		{"a video, random loss", "loss=5%", 1000, 1200},
		{"a video, bursts", "burst=3%/5", 1000, 1200},
		{"a game", "loss=5%", 60, 120},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBadLine(t, plain(t), lab.ImpairedConfig{}, "")
			b.turn(c.knobs)
			s := b.stream(c.rate, c.size)
			b.lasts(3 * time.Second)
			learnt := b.passes(s, 1)
			b.lasts(5 * time.Second)
			r := s.Stop(time.Second)
			after := r.Between(learnt, time.Now())
			t.Logf("%.2f %% lost in the beginning, %.2f %% later, p99 of the delay %s", 100*r.Between(time.Time{}, learnt).Lost(), 100*after.Lost(), after.Delay(0.99))
			if after.Lost() > 0.01 {
				t.Errorf("%.2f %% of the stream are lost", 100*after.Lost())
			}
		})
	}
}

func TestAutoAddsNothingToACongestedLine(t *testing.T) {
	for _, queue := range []string{"queue=50ms", "queue=10ms"} {
		t.Run(queue, func(t *testing.T) {
			b := newBadLine(t, plain(t), lab.ImpairedConfig{}, "")
			b.turn("rate=10mbit " + queue)
			s := b.bulk()
			began := time.Now()
			b.Line.Reset()
			b.lasts(3 * time.Second)
			arrived, line := s.Bytes(began, time.Now()), b.Line.Stats(impair.There)
			if line.Dropped[impair.QueueFull].Packets == 0 {
				t.Errorf("the queue was never full: %+v", line)
			}
			if overhead := float64(line.In.Bytes)/float64(arrived) - 1; overhead > 0.3 {
				t.Errorf("%d bytes arrived, %d went onto the line: %.0f %% more", arrived, line.In.Bytes, 100*overhead)
			}
			if n := b.parity(); n != 0 {
				t.Errorf("%d repair packets for each group against loss that is our own", n)
			}
		})
	}
}
