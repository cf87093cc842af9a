package e2e

import (
	"fmt"
	"testing"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

func TestTheReceiveQueueBoundsWhatWaitsBehindALoss(t *testing.T) {
	const few = 16
	for _, c := range []struct {
		name   string
		flags  []string
		enough int // packets that waited, to know how far it goes
		most   int
	}{
		{"of 16 packets", []string{"--recv-queue", fmt.Sprint(few)}, few / 2, few},
		{"of the usual length", nil, few + 1, 5000},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBadLine(t, plain(t), lab.ImpairedConfig{}, "", c.flags...)
			s := b.bulk()
			b.turn("loss=2%")
			peak := 0
			must(t, lab.Until(b.ctx, fmt.Sprintf("%d packets wait", c.enough), func() error {
				if peak = b.shown(b.seed, "site1").Link.RecvQueuePeak; peak < c.enough {
					return fmt.Errorf("%d did so far", peak)
				}
				return nil
			}))
			b.moves(s)
			if peak = b.shown(b.seed, "site1").Link.RecvQueuePeak; peak > c.most {
				t.Errorf("%d packets waited, at most %d may", peak, c.most)
			}
			t.Logf("%d packets waited at most", peak)
		})
	}
}
