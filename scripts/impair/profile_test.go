package impair

import (
	"strings"
	"testing"
	"time"
)

func TestKnobsAreReadAsTheyAreExplained(t *testing.T) {
	var words []string
	for line := range strings.Lines(Knobs) {
		words = append(words, strings.Fields(line)[0])
	}
	got := profile(t, words...)
	want := Profile{Delay: 25 * ms, Jitter: 3 * ms, Loss: 0.01, BurstLoss: 0.03, BurstLength: 8, Reorder: 0.01, ReorderBy: 5 * ms,
		Duplicate: 0.001, Rate: 100_000_000, Queue: 50 * ms, MTU: 1280, Blackhole: true}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if len(words) != len(knobs) {
		t.Errorf("%d knobs are explained, there are %d", len(words), len(knobs))
	}
	if p := profile(t, "queue=64000", "rate=1.5gbit", "loss=0.25", "blackhole=off"); p.QueueBytes != 64000 || p.Rate != 1_500_000_000 || p.Loss != 0.25 || p.Blackhole {
		t.Errorf("got %+v", p)
	}
	if p, err := (Profile{Delay: time.Second}).With("loss=1%"); err != nil || p.Delay != time.Second {
		t.Errorf("a knob moved that was not turned: %+v, %v", p, err)
	}
}

func TestImpossibleKnobsAreErrors(t *testing.T) {
	for _, word := range []string{"loss=101%", "loss=-1%", "loss=NaN", "delay=5", "delay=-1ms", "burst=95%/3", "burst=3%/0.5", "rate=x", "queue=-5",
		"mtu=big", "blackhole=maybe", "reorder=1%/x", "shrink=1", "loss", ""} {
		if p, err := (Profile{}).With(word); err == nil {
			t.Errorf("%q is taken as %+v", word, p)
		}
	}
}
