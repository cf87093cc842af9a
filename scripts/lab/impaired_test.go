package lab

import (
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/impair"
)

func TestImpairedHostsReachEachOtherThroughTheLine(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 20*time.Second)
	line, err := impair.Profile{}.With("delay=20ms")
	must(t, err)
	for _, nat := range []bool{false, true} {
		pair, err := l.Impaired(ctx, ImpairedConfig{Line: line, NAT: nat, Name: map[bool]string{false: "d", true: "n"}[nat]})
		must(t, err)
		targets := []string{PairRight4, PairRight6}
		if nat {
			targets = targets[:1]
		}
		for _, target := range targets {
			out, err := pair.Left.Ping(ctx, target, 5, 0.05)
			must(t, err)
			if !strings.Contains(out, "rtt min/avg/max/mdev = 4") {
				t.Errorf("NAT %v: 20 ms each way, and ping says:\n%s", nat, out)
			}
			done, err := Transfer(ctx, pair.Left, pair.Right, target, 1<<20)
			must(t, err)
			if done.Took < 80*time.Millisecond {
				t.Errorf("NAT %v: a megabyte went over 40 ms of round trip in %s", nat, done.Took)
			}
		}
		for _, way := range impair.Both {
			if s := pair.Line.Stats(way); s.Host.Overrun+s.Host.Refused+s.Host.Unsent > 0 || s.Out.Packets == 0 {
				t.Errorf("NAT %v: %s: %+v", nat, way, s)
			}
		}
	}
}
