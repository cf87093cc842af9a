package peerlink

import (
	"testing"
	"time"
)

// A path may die at any moment between two looks at it, with traffic one way or
// both.
func TestTheFallToTheRelayTakesNoLongerWheneverThePathDies(t *testing.T) {
	for name, c := range map[string]struct {
		up, down bool
		rtt      time.Duration
		most     time.Duration
	}{
		"both ways, near":    {true, true, 2 * time.Millisecond, 750 * time.Millisecond},
		"both ways, farther": {true, true, 50 * time.Millisecond, 800 * time.Millisecond},
		"up only":            {true, false, 50 * time.Millisecond, 920 * time.Millisecond},
		"down only":          {false, true, 50 * time.Millisecond, 850 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			var worst time.Duration
			for late := time.Duration(0); late < 2*tickBusy; late += 20 * time.Millisecond {
				w, relay, _ := onRelay(t, false)
				w.traffic = func() (bool, bool) { return c.up, c.down }
				direct := udpLine(c.rtt)
				w.open(direct)
				w.run(20*time.Second + late)
				direct.silent = true
				died, before := w.now, len(w.moves)
				w.run(3 * time.Second)
				if w.m.path != relay || len(w.moves) != before+1 {
					t.Fatalf("died %v later: it moved by %v", late, w.moves[before:])
				}
				worst = max(worst, w.moved[before].Sub(died))
			}
			t.Logf("%v at worst", worst)
			if worst > c.most {
				t.Errorf("%v, want %v at most", worst, c.most)
			}
		})
	}
}
