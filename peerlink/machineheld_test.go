package peerlink

import (
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// longestPause runs the world and returns the longest time in which l was not asked.
func (w *world) longestPause(l *line, limit time.Duration) (longest time.Duration) {
	last, asked := w.now, w.asked[l]
	for end := w.now.Add(limit); w.now.Before(end); {
		w.run(w.step)
		if n := w.asked[l]; n != asked {
			last, asked = w.now, n
		}
		longest = max(longest, w.now.Sub(last))
	}
	return longest
}

func TestUDPPathsAreNeverSilentForLongerThanTheNATAllows(t *testing.T) {
	const allowed = 4 * time.Second
	for _, follower := range []bool{false, true} {
		w, _, _ := onRelay(t, follower)
		w.o.refresh = allowed
		udp, other := udpLine(50*time.Millisecond), udpLine(60*time.Millisecond)
		w.open(udp)
		w.open(other)
		w.run(10 * time.Second)
		if w.m.path != packet.Path(udp) || w.m.ready(other) == nil {
			t.Fatal("not on the first with the other beside it")
		}
		for what, l := range map[string]*line{"in use": udp, "standing by": other} {
			if got := w.longestPause(l, 2*time.Minute); got > allowed || got < allowed/2 {
				t.Errorf("follower %v, %s: silent for %v", follower, what, got)
			}
		}
	}
}

func TestFakeTCPAndUnknownNATsAreHeldAsRarelyAsBefore(t *testing.T) {
	for name, refresh := range map[string]time.Duration{"not known": 0, "long": 5 * time.Minute} {
		w, _, _ := onRelay(t, false)
		w.o.refresh = refresh
		udp, other := udpLine(50*time.Millisecond), udpLine(60*time.Millisecond)
		w.open(udp)
		w.open(other)
		w.run(10 * time.Second)
		if got := w.longestPause(other, 2*time.Minute); got < DefaultWarm-time.Second {
			t.Errorf("%s: asked after %v", name, got)
		}
	}
	w, relay, _ := onRelay(t, false)
	w.o.refresh = 2 * time.Second
	before := w.asked[relay]
	w.run(time.Minute)
	if n := w.asked[relay] - before; n > 0 {
		t.Errorf("%d questions to an idle relay", n)
	}
	_, tcp := w.openBoth(50*time.Millisecond, 60*time.Millisecond)
	w.run(10 * time.Second)
	if got := w.longestPause(tcp, 2*time.Minute); got < DefaultWarm-time.Second {
		t.Errorf("fake TCP was asked after %v", got)
	}
}

func TestALinkThatEndsLeavesNoPathOpenButTheOneThatItsNextRunFinds(t *testing.T) {
	w, _, s := onRelay(t, false)
	direct, beside, left := udpLine(50*time.Millisecond), udpLine(60*time.Millisecond), udpLine(70*time.Millisecond)
	w.open(direct)
	w.open(beside)
	w.run(10 * time.Second)
	w.m.leaving = append(w.m.leaving, leavingPath{left, w.now}, leavingPath{direct, w.now})
	l := newLink(w.d, s.in.peer)
	l.m = w.m
	l.closeSpare()
	if direct.dead || !beside.dead || !left.dead {
		t.Errorf("closed: in use %v, standing by %v, left %v", direct.dead, beside.dead, left.dead)
	}
}
