package punch

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

var order = []string{"none", "full cone", "restricted", "port-restricted", "firewall", "step", "random"}

// birthday says whether a pair can find each other by search alone.
func birthday(a, b string) bool {
	strict := func(k string) bool { return k == "port-restricted" || k == "firewall" }
	return a == "random" && strict(b) || b == "random" && strict(a)
}

func impossible(a, b string) bool {
	return a == "random" && (b == "random" || b == "step") || a == "step" && b == "random"
}

func TestEveryPairOfNATsThatCanBeLinkedIs(t *testing.T) {
	for _, a := range order {
		for _, b := range order {
			t.Run(a+"/"+b, func(t *testing.T) {
				w := newWorld(t, kinds[a], kinds[b], 7, false)
				w.start(1) // traffic on one side is enough
				began := w.now
				ok := w.run(6*time.Second, w.linked)
				switch {
				case impossible(a, b):
					if ok {
						t.Fatal("a path that cannot be")
					}
					if n := w.nodes[0].sent + w.nodes[1].sent; n != 0 {
						t.Errorf("%d probes for nothing", n)
					}
					why := w.nodes[1].o.Why(w.now)
					if !strings.Contains(why, "both NATs symmetric") || !strings.Contains(why, "1 try, next in") {
						t.Errorf("why: %s", why)
					}
				case !ok:
					t.Fatalf("no path: %s; %s", w.nodes[0].o.Why(w.now), w.nodes[1].o.Why(w.now))
				case birthday(a, b):
				default:
					if took := w.now.Sub(began); took > 1500*time.Millisecond {
						t.Errorf("it took %v", took)
					}
					for _, n := range w.nodes {
						if n.sent > 100 {
							t.Errorf("%s sent %d probes", n.name, n.sent)
						}
					}
				}
			})
		}
	}
}

func TestTheBirthdaySearchSucceedsNearlyAlways(t *testing.T) {
	const runs, oneTry, several = 40, 5700 * time.Millisecond, 20 * time.Second
	var atOnce, all []time.Duration // to the path: of the first tries; of all
	for seed := range uint64(runs) {
		a, b := kinds["random"], kinds["port-restricted"]
		if seed%2 == 1 {
			a, b = b, a
		}
		w := newWorld(t, a, b, 100+seed, false)
		w.start(0)
		began := w.now
		linked := w.run(oneTry, w.linked)
		if linked {
			atOnce = append(atOnce, w.now.Sub(began))
		}
		for _, n := range w.nodes {
			if n.sent > maxSpread+2*birthdaySockets+100 {
				t.Errorf("%d probes", n.sent)
			}
		}
		if linked || w.run(several-oneTry, w.linked) {
			all = append(all, w.now.Sub(began))
		}
	}
	slices.Sort(atOnce)
	slices.Sort(all)
	if len(all) < runs*95/100 || len(atOnce) < 39 || atOnce[len(atOnce)-1] > 5500*time.Millisecond {
		t.Fatalf("%d of %d at the first try, %d in all; they took %v", len(atOnce), runs, len(all), all)
	}
	median, worst := all[len(all)/2], all[len(all)-1]
	t.Logf("%d of %d: median %v, worst %v", len(all), runs, median, worst)
	if median > time.Second || worst > several {
		t.Errorf("median %v, worst %v, want 1 s and %v at most", median, worst, several)
	}
}

// Whoever steps gives the peer a port that the peer has foreseen.
func TestThePortThatTheRouterGivesNextIsAmongThoseForeseen(t *testing.T) {
	for _, step := range []int{1, 2, -1, -4, 16} {
		kind := kinds["step"]
		kind.Step = step
		w := newWorld(t, kind, kinds["port-restricted"], 3, false)
		stepping, peer := w.nodes[0], w.nodes[1]
		w.start(0, 1)
		if !w.run(3*time.Second, func() bool { return stepping.sent > 0 && peer.sent > 0 }) {
			t.Fatalf("step %d: nobody probes: %s", step, stepping.o.Why(w.now))
		}
		inside, mapped := netip.AddrPortFrom(stepping.host, port0(0)), peer.local().Candidates[1].Addr
		given, ok := stepping.nat.out[[2]netip.AddrPort{inside, mapped}]
		want := netip.AddrPortFrom(stepping.nat.public, given)
		if !ok || !slices.ContainsFunc(peer.o.run.plan.targets, func(a target) bool { return a.remote == want }) {
			t.Errorf("step %d: the router gave %d (%v), the peer probes %v", step, given, ok, peer.o.run.plan.targets)
		}
	}
}

func TestProbesThatComeTooEarlyStealNoTuple(t *testing.T) {
	for _, kind := range []string{"port-restricted", "step"} {
		w := newWorld(t, kinds["port-restricted"], kinds[kind], 3, false)
		for _, n := range w.nodes {
			n.nat.steals = true
		}
		w.start(0, 1)
		if !w.run(3*time.Second, w.linked) {
			t.Errorf("%s: %s", kind, w.nodes[0].o.Why(w.now))
		}
		if w.nodes[0].low == 0 {
			t.Errorf("%s: no opening with few hops", kind)
		}
	}
}

func TestPeersOfOneNetworkUseIt(t *testing.T) {
	w := newWorld(t, kinds["random"], kinds["random"], 5, false)
	a, b := w.nodes[0], w.nodes[1]
	b.nat = a.nat
	w.start(0)
	if !w.run(2*time.Second, w.linked) {
		t.Fatal(a.o.Why(w.now))
	}
	if a.moved.Remote().Addr() != b.host || b.moved.Remote().Addr() != a.host {
		t.Errorf("paths to %s and %s", a.moved.Remote(), b.moved.Remote())
	}
}

func TestBothSidesTakeTheSamePath(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, kinds["port-restricted"], kinds["full cone"], seed, true)
		w.loss = 0.3
		w.start(0, 1)
		if !w.run(4*time.Second, w.linked) {
			t.Fatalf("seed %d: %s", seed, w.nodes[0].o.Why(w.now))
		}
		a, b := w.nodes[0].moved, w.nodes[1].moved
		if a.Kind() != b.Kind() {
			t.Errorf("seed %d: %s and %s", seed, a.Kind(), b.Kind())
		}
		if w.run(10*time.Second, func() bool { return false }); w.nodes[0].o.Busy() || w.nodes[1].o.Busy() {
			t.Errorf("seed %d: still trying", seed)
		}
	}
}

func TestFakeTCPIsThereWhereUDPIsBlocked(t *testing.T) {
	w := newWorld(t, kinds["port-restricted"], kinds["port-restricted"], 1, true)
	w.deaf = true
	for _, n := range w.nodes {
		n.tcp = true
	}
	w.start(0)
	// What the ports for fake TCP are mapped to is learnt while gathering.
	for _, n := range w.nodes {
		l := n.local()
		l.Candidates = append(l.Candidates, Candidate{Kind: 2, Transport: packet.RawTCP, Addr: l.Candidates[1].Addr})
		look := n.look
		look.Local = l
		n.step(look)
	}
	if !w.run(4*time.Second, w.linked) {
		t.Fatal(w.nodes[0].o.Why(w.now))
	}
	if w.nodes[0].moved.Kind() != packet.RawTCP {
		t.Errorf("a path over %s", w.nodes[0].moved.Kind())
	}
}

func TestASecondPathOfAnotherKindIsKept(t *testing.T) {
	w := newWorld(t, kinds["port-restricted"], kinds["port-restricted"], 1, true)
	w.start(0)
	for _, n := range w.nodes {
		l := n.local()
		l.Candidates = append(l.Candidates, Candidate{Kind: 2, Transport: packet.RawTCP, Addr: l.Candidates[1].Addr})
		look := n.look
		look.Local = l
		n.step(look)
	}
	if !w.run(3*time.Second, w.linked) {
		t.Fatal(w.nodes[0].o.Why(w.now))
	}
	w.run(3*time.Second, func() bool { return !w.nodes[0].o.Busy() && !w.nodes[1].o.Busy() })
	for _, n := range w.nodes {
		if n.second == nil || n.second.Kind() == n.moved.Kind() {
			t.Errorf("%s uses %v and keeps %v", n.name, n.moved, n.second)
		}
		if n.effects["punch.End"] != 1 || n.o.Busy() {
			t.Errorf("%s: %v", n.name, n.effects)
		}
	}
}

func TestAPathThatIsLostAtOnceEndsInAnotherTry(t *testing.T) {
	w := newWorld(t, kinds["port-restricted"], kinds["port-restricted"], 1, true)
	w.start(0)
	for _, n := range w.nodes {
		l := n.local()
		l.Candidates = append(l.Candidates, Candidate{Kind: 2, Transport: packet.RawTCP, Addr: l.Candidates[1].Addr})
		look := n.look
		look.Local = l
		n.step(look)
		n.tcp = false // nothing comes of it, so UDP is settled on and more is waited for
	}
	if !w.run(3*time.Second, w.linked) {
		t.Fatal(w.nodes[0].o.Why(w.now))
	}
	w.run(100*time.Millisecond, func() bool { return false })
	for _, n := range w.nodes {
		if !n.o.Busy() {
			t.Fatal("the try has ended")
		}
		n.look.Direct = nil
		n.step(n.look)
	}
	steps := 0
	w.run(3*time.Second, func() bool { steps++; return steps > 10000 })
	if steps > 10000 {
		t.Fatal("it goes round in a circle")
	}
}

func TestUDPIsFoundBesideFakeTCPThatWasFirst(t *testing.T) {
	w := newWorld(t, kinds["port-restricted"], kinds["port-restricted"], 1, true)
	w.deaf = true
	w.start(0)
	for _, n := range w.nodes {
		n.tcp = true
		l := n.local()
		l.Candidates = append(l.Candidates, Candidate{Kind: 2, Transport: packet.RawTCP, Addr: l.Candidates[1].Addr})
		look := n.look
		look.Local = l
		n.step(look)
	}
	if !w.run(5*time.Second, w.linked) || w.nodes[0].moved.Kind() != packet.RawTCP {
		t.Fatal(w.nodes[0].o.Why(w.now))
	}
	w.run(2*lingerTime, func() bool { return !w.nodes[0].o.Busy() && !w.nodes[1].o.Busy() })
	w.deaf = false
	both := func() bool { return w.nodes[0].second != nil && w.nodes[1].second != nil }
	if !w.run(2*besidePause, both) {
		t.Fatal("no path over UDP")
	}
	w.run(10*time.Second, func() bool { return false })
	for _, n := range w.nodes {
		if n.second.Kind() != packet.UDP || n.look.Direct != n.moved || n.o.Busy() || len(n.reports) != 2 || n.reports[1].Path != n.second {
			t.Errorf("%s: %+v", n.name, n.reports)
		}
	}
	calls := w.nodes[0].effects["punch.Call"] + w.nodes[1].effects["punch.Call"]
	w.run(time.Hour, func() bool { return false })
	if more := w.nodes[0].effects["punch.Call"] + w.nodes[1].effects["punch.Call"] - calls; more != 0 {
		t.Errorf("%d calls more", more)
	}
}

func TestWhereUDPIsBlockedItIsNotLookedForForEver(t *testing.T) {
	w := newWorld(t, kinds["port-restricted"], kinds["port-restricted"], 1, true)
	w.deaf = true
	w.start(0, 1)
	for _, n := range w.nodes {
		n.tcp = true
		l := n.local()
		l.Candidates = append(l.Candidates, Candidate{Kind: 2, Transport: packet.RawTCP, Addr: l.Candidates[1].Addr})
		look := n.look
		look.Local = l
		n.step(look)
	}
	w.run(24*time.Hour, func() bool { return false })
	for _, n := range w.nodes {
		if len(n.reports) > 1+2*maxBeside || n.sent > 300 {
			t.Errorf("%s: %d tries, %d probes in a day", n.name, len(n.reports), n.sent)
		}
	}
}

func TestAnAnswerFromElsewhereProvesNothing(t *testing.T) {
	w := newWorld(t, kinds["none"], kinds["none"], 2, false)
	n := w.nodes[0]
	w.start(0)
	w.run(time.Second, func() bool { return n.sent > 0 })
	stray := n.path(n.path(server, server).local, server)
	n.step(Echoed{Try: n.o.Try(), Seq: 1, Path: stray})
	n.step(Echoed{Try: n.o.Try(), Seq: 999, Path: stray})
	n.step(Echoed{Try: n.o.Try() + 1, Seq: 1, Path: stray})
	if len(n.o.run.proven) != 0 {
		t.Error("it did")
	}
}
