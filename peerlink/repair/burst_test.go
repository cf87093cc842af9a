package repair

import (
	"slices"
	"testing"
	"time"
)

// A run of losses may come before anything is known of the line, while a flow that starts
// has made its queue long, or swallow all that the flow has under way, or the reports about
// it. Whatever comes first, the stream gets on; the last seed is an unlucky one.
func TestATransferFromAColdStartIsFastThroughLongBursts(t *testing.T) {
	const least, median = 30, 55 // Mbit/s
	seeds := []uint64{1, 2, 4, 5, 10}
	goodputs := make([]float64, len(seeds))
	t.Run("each", func(t *testing.T) {
		for i, seed := range seeds {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				x := oneTransfer(t, NewSender(), seed, func(l *line) { l.loses, l.deaf = l.bursts(0.03, 8), l.bursts(0.03, 8) })
				if goodputs[i] = x.goodput; x.goodput < least || x.wire > 1.3 {
					t.Errorf("seed %d: %.1f Mbit/s at %.3f bytes per byte on the wire", seed, x.goodput, x.wire)
				}
			})
		}
	})
	if slices.Sort(goodputs); goodputs[len(goodputs)/2] < median {
		t.Errorf("of these Mbit/s the median is below %d: %.1f", median, goodputs)
	}
}

func TestTheEndOfAStreamIsMendedThoughTheRunThatSwallowedItGoesOn(t *testing.T) {
	l := newLine(t, NewSender(), 13)
	l.loses = l.bursts(0.03, 8)
	l.steady(3*time.Second, 1000, Prompt, 1200)
	l.loses = func() bool { return false }
	first := uint32(len(l.sent))
	for id := first; id < first+12; id++ {
		l.loses = func() bool { return id > first }
		l.packet(id, 100+uint32(Prompt), Prompt, 1200)
		l.run(time.Millisecond, func() {})
	}
	on := 6 // datagrams more
	l.loses = func() bool { on--; return on >= 0 }
	l.run(time.Second, func() {})
	if share := l.residual(first); share != 0 || on >= 0 || l.twice != 0 {
		t.Errorf("%.0f of 12 never came, %d came twice", 12*share, l.twice)
	}
}
