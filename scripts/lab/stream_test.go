package lab

import (
	"errors"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/impair"
)

func TestStreamsTellLossDelayAndOrderOfTheLine(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 20*time.Second)
	line, err := impair.Profile{}.With("delay=20ms", "loss=5%", "reorder=3%/10ms", "duplicate=2%")
	must(t, err)
	pair, err := l.Impaired(ctx, ImpairedConfig{Line: line, Seed: 1})
	must(t, err)
	stream, err := StartStream(ctx, pair.Left, pair.Right, PairRight4, 1000, 200)
	must(t, err)
	must(t, Until(ctx, "a second of it has passed", func() error { return atLeast(pair, 1000) }))
	r := stream.Stop(200 * time.Millisecond)
	c := pair.Line.Stats(impair.There)
	lost, doubled := int(c.Dropped[impair.Lost].Packets), int(c.Out.Packets-c.In.Packets+c.Dropped[impair.Lost].Packets)
	// The kernel's own ARP and neighbour packets share the line and its fate.
	foreign := int(c.In.Packets) - len(r.Packets)
	if foreign < 0 || foreign > 20 {
		t.Fatalf("%d packets entered the line, %d of the stream", c.In.Packets, len(r.Packets))
	}
	if got := int(r.Lost()*float64(len(r.Packets)) + 0.5); got > lost || got < lost-foreign || got == 0 {
		t.Errorf("the line lost %d, %d of them at most not the stream's; the stream misses %d", lost, foreign, got)
	}
	if got := r.Duplicates(); got > doubled || got < doubled-foreign || got == 0 {
		t.Errorf("the line doubled %d, %d of them at most not the stream's; the stream saw %d", doubled, foreign, got)
	}
	if n := r.Overtaken(); n < 10 || n > 60 {
		t.Errorf("of 1000 datagrams 3 %% were held back, %d overtaken", n)
	}
	if p50, p99 := r.Delay(0.5), r.Delay(0.99); p50 < 20*time.Millisecond || p50 > 25*time.Millisecond || p99 < 30*time.Millisecond {
		t.Errorf("20 ms, 3 %% of the packets 30 ms: median %s, p99 %s", p50, p99)
	}
	middle := r.Packets[len(r.Packets)/2].Sent
	early, late := r.Between(time.Time{}, middle), r.Between(middle, time.Now())
	if len(early.Packets)+len(late.Packets) != len(r.Packets) || len(early.order)+len(late.order) != len(r.order) {
		t.Errorf("two halves of %d and %d make %d", len(early.Packets), len(late.Packets), len(r.Packets))
	}
	if first, any := r.FirstArrival(middle); !any || first.Sub(middle.Round(0)) > 20*time.Millisecond {
		t.Errorf("the first arrival after %s was %s, %v", middle, first, any)
	}
}

func TestBulkTellsRateStallAndRoundTrip(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 20*time.Second)
	line, err := impair.Profile{}.With("delay=10ms", "rate=50mbit", "queue=20ms")
	must(t, err)
	pair, err := l.Impaired(ctx, ImpairedConfig{Line: line, Seed: 1})
	must(t, err)
	began := time.Now()
	bulk, err := StartBulk(ctx, pair.Left, pair.Right, PairRight4)
	must(t, err)
	must(t, Until(ctx, "two megabytes have passed", func() error { return atLeast(pair, 1500) }))
	must(t, pair.Line.Turn(impair.Both, "blackhole=on"))
	stalled := time.Now()
	must(t, Until(ctx, "it stalls", func() error {
		if bulk.LongestStall(stalled, time.Now()) < 300*time.Millisecond {
			return errors.New("it moves")
		}
		return nil
	}))
	pair.Line.Heal(impair.Both)
	healed := time.Now()
	must(t, Until(ctx, "it moves again", func() error {
		if bulk.Bytes(healed, time.Now()) == 0 {
			return errors.New("it does not")
		}
		return nil
	}))
	if stall := bulk.LongestStall(began, time.Now()); stall < 300*time.Millisecond {
		t.Errorf("the longest stall was %s", stall)
	}
	r := bulk.Stop()
	if r.Err != nil || r.Mbps() > 50 || r.Bytes < 2_000_000 || r.Retransmitted == 0 || r.RTT < 20*time.Millisecond {
		t.Errorf("%+v, %.1f Mbit/s", r, r.Mbps())
	}
}

func atLeast(pair *Impaired, packets uint64) error {
	if pair.Line.Stats(impair.There).In.Packets < packets {
		return errors.New("not yet")
	}
	return nil
}
