package peerlink

import (
	"net/netip"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

func TestTheBetterOfTwoDirectPathsIsUsedAndTheOtherKeptWarm(t *testing.T) {
	for _, follower := range []bool{false, true} {
		w, _, s := onRelay(t, follower)
		w.traffic = bothWays
		udp, tcp := w.openBoth(50*time.Millisecond, 55*time.Millisecond)
		w.run(30 * time.Second)
		if w.m.path != udp || w.m.ready(tcp) == nil || !w.m.keeps(tcp) {
			t.Fatal("the first of two that are alike is not kept, or the second is not warm")
		}
		// A throttled line: a tenth is lost, what is asked seldom sees little of it.
		until := w.now.Add(20 * time.Second)
		for w.now.Before(until) {
			s.txLoss.smooth = 0.1
			w.run(100 * time.Millisecond)
			if w.m.path != udp {
				s.txLoss.smooth = 0
				break
			}
		}
		if want := packet.Path(tcp); !follower && w.m.path != want {
			t.Error("lossy UDP is kept although fake TCP is clean")
		} else if follower && w.m.path != udp {
			t.Error("both sides choose")
		}
		moves := len(w.moves)
		w.run(4 * time.Minute)
		if len(w.moves) > moves {
			t.Errorf("it does not settle: %d more changes", len(w.moves)-moves)
		}
		if udp.closed+tcp.closed != 0 {
			t.Error("the other one was closed")
		}
	}
}

func TestTheLocalNetworkIsTakenAtOnce(t *testing.T) {
	w, _, _ := onRelay(t, false)
	udp, lan := udpLine(10*time.Millisecond), udpLine(9*time.Millisecond)
	lan.remote = netip.MustParseAddrPort("192.168.1.7:4000")
	w.open(udp)
	w.run(time.Second)
	w.open(lan)
	w.run(time.Second)
	if w.m.path != lan {
		t.Error("it stays on the way through the router")
	}
}

func TestAnIdleStandbyCostsAQuestionEvery25Seconds(t *testing.T) {
	for _, follower := range []bool{false, true} {
		w, _, _ := onRelay(t, follower)
		_, tcp := w.openBoth(50*time.Millisecond, 55*time.Millisecond)
		w.run(time.Minute)
		before := w.asked[tcp]
		// The other side asks too, if it is the one that chooses.
		for range 60 {
			w.run(10 * time.Second)
			if follower {
				w.take(func() {
					w.m.heardAside(w.now, w.m.current.in, tcp, []wire.Frame{wire.Ping{ID: 1}}, 0)
				})
			}
		}
		if n := w.asked[tcp] - before; n > 25 || n < 11 {
			t.Errorf("follower %v: %d questions in ten idle minutes", follower, n)
		}
		if w.m.ready(tcp) == nil || !w.m.ready(tcp).works(w.now, w.m.warm) {
			t.Error("it is not warm")
		}
	}
}

func TestTheNumberOfPathsIsBounded(t *testing.T) {
	w, _, _ := onRelay(t, false)
	var all []*line
	for i := range 12 {
		l := udpLine(time.Duration(200-10*i) * time.Millisecond)
		all = append(all, l)
		w.open(l)
		w.run(3 * time.Second)
	}
	open := 0
	for _, l := range all {
		if l.closed == 0 {
			open++
		}
	}
	if open != 1+maxStandby || len(w.m.standbys) != maxStandby {
		t.Errorf("%d paths are open, %d stand by", open, len(w.m.standbys))
	}
}

func TestAStandbyThatIsSilentIsClosedAndOneThatIsClosedIsForgotten(t *testing.T) {
	w, _, _ := onRelay(t, false)
	udp, tcp, third := udpLine(50*time.Millisecond), tcpLine(55*time.Millisecond), udpLine(60*time.Millisecond)
	w.open(udp)
	w.open(tcp)
	w.open(third)
	w.run(10 * time.Second)
	tcp.silent = true
	third.dead = true
	w.run(10 * time.Second)
	if w.m.ready(third) != nil {
		t.Error("a closed path stands by")
	}
	w.run(3 * time.Minute)
	if w.m.ready(tcp) != nil || tcp.closed != 1 {
		t.Error("a path that says nothing is kept for ever")
	}
}
