package punch

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

func TestTriesInVainBecomeRareAndSayWhatWasDone(t *testing.T) {
	w := newWorld(t, kinds["port-restricted"], kinds["port-restricted"], 9, false)
	w.deaf = true
	w.start(0)
	w.run(time.Hour, func() bool { return false })
	n := w.nodes[0]
	tries := len(n.reports)
	if tries < 8 || tries > 25 {
		t.Errorf("%d tries in an hour", tries)
	}
	if n.sent > tries*3*maxEach {
		t.Errorf("%d probes", n.sent)
	}
	if last := n.reports[tries-1]; last.NextIn < 5*time.Minute || last.NextIn > 15*time.Minute {
		t.Errorf("next in %v", last.NextIn)
	}
	if why := n.o.Why(w.now); !strings.Contains(why, "no answer to") || !strings.Contains(why, "here: cone, there: cone") || !strings.Contains(why, "tries, next in") {
		t.Errorf("why: %s", why)
	}
}

func TestAHopelessPairIsToldWithKindsTriesAndTheNextTry(t *testing.T) {
	for name, c := range map[string]struct {
		here, there NAT
		off         bool
		want        []string
	}{
		"random and random": {kinds["random"], kinds["random"], false,
			[]string{"both NATs symmetric", "NAT here: symmetric with random ports, there: symmetric with random ports", "1 try, next in "}},
		"random and step": {kinds["random"], kinds["step"], false,
			[]string{"the ports of this one are random", "NAT here: symmetric with random ports, there: symmetric with predictable ports", "next in "}},
		"detection is off": {NAT{}, kinds["random"], true,
			[]string{"NAT detection is switched off here", "NAT here: not looked at, -nat-detection=false, there: symmetric with random ports", "next in "}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.here, c.there, 9, false)
			n := w.nodes[0]
			if c.off {
				n.o.cfg.Search = false
			}
			w.start(0)
			if !w.run(20*time.Second, func() bool { return len(n.reports) == 1 }) {
				t.Fatalf("no end of the try: %s", n.o.Why(w.now))
			}
			why := n.o.Why(w.now)
			for _, want := range c.want {
				if !strings.Contains(why, want) {
					t.Errorf("%q lacks %q", why, want)
				}
			}
			if strings.Contains(why, "unknown") {
				t.Error(why)
			}
			n.step(Look{Wanted: true})
			if why := n.o.Why(w.now); !strings.Contains(why, "no next one while the peer is out of reach") {
				t.Error(why)
			}
		})
	}
}

func TestAChangedNetworkIsTriedAtOnce(t *testing.T) {
	w := newWorld(t, kinds["random"], kinds["random"], 9, false)
	w.start(0, 1)
	w.run(30*time.Second, func() bool { return false })
	n := w.nodes[1]
	n.nat = newBox(kinds["full cone"], "203.0.113.77", 4)
	look := n.look
	look.Local = n.local()
	n.step(look)
	began := w.now
	if !w.run(5*time.Second, w.linked) {
		t.Fatal(n.o.Why(w.now))
	}
	if took := w.now.Sub(began); took > 2500*time.Millisecond {
		t.Errorf("it took %v", took)
	}
}

func TestWhatCallsDoNotTellOfANATIsNoChangedNetwork(t *testing.T) {
	w := newWorld(t, kinds["random"], kinds["random"], 9, false)
	w.start(0, 1)
	w.run(30*time.Second, func() bool { return false })
	for _, n := range w.nodes {
		if n.o.Busy() {
			t.Fatal("a try in vain is still under way")
		}
		next, look := n.o.next, n.look
		for _, change := range []func(*NAT){func(nat *NAT) { nat.Hairpin, nat.Open = true, true }, func(nat *NAT) { nat.Filtering = message.EndpointIndependent }} {
			look.Local = n.local()
			change(&look.Local.NAT)
			n.step(look)
			if told := look.Local.NAT.Filtering == message.EndpointIndependent; n.o.next.Before(next) != told {
				t.Errorf("told %v: the next try is in %v, it was in %v", told, n.o.next.Sub(w.now), next.Sub(w.now))
			}
		}
	}
}

func TestBothCallingAtOnceMakeOneTry(t *testing.T) {
	w := newWorld(t, kinds["port-restricted"], kinds["port-restricted"], 2, false)
	w.start(0, 1)
	if !w.run(3*time.Second, w.linked) {
		t.Fatal("no path")
	}
	w.run(time.Minute, func() bool { return false })
	for _, n := range w.nodes {
		if n.effects["punch.Call"] > 2 || n.effects["punch.Answer"] > 1 || len(n.reports) != 1 {
			t.Errorf("%s: %v, %d reports", n.name, n.effects, len(n.reports))
		}
	}
}

func TestANodeThatHasJustStartedWaitsUntilItKnowsItsNAT(t *testing.T) {
	w := newWorld(t, kinds["port-restricted"], kinds["port-restricted"], 2, false)
	n := w.nodes[0]
	known := n.local()
	n.nat.kind = NAT{}
	w.start(0)
	w.run(surveyTime/2, func() bool { return false })
	if len(n.effects) != 0 {
		t.Fatalf("%v", n.effects)
	}
	n.nat.kind = known.NAT
	look := n.look
	look.Local = known
	n.step(look)
	began := w.now
	if !w.run(3*time.Second, w.linked) || w.now.Sub(began) > 2*time.Second {
		t.Errorf("after %v: %s", w.now.Sub(began), n.o.Why(w.now))
	}
	w = newWorld(t, NAT{}, kinds["full cone"], 2, false)
	w.start(0)
	if !w.run(surveyTime+2*time.Second, w.linked) {
		t.Errorf("a NAT that cannot be known: %s", w.nodes[0].o.Why(w.now))
	}
}

func TestACallThatComesBeforeTheNATIsKnownIsAnsweredAfterIt(t *testing.T) {
	for name, known := range map[string]bool{"it becomes known": true, "it cannot be known": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, kinds["port-restricted"], kinds["full cone"], 2, false)
			caller, n := w.nodes[1], w.nodes[0]
			local := n.local()
			n.nat.kind = NAT{}
			w.start(1)
			const later = 400 * time.Millisecond
			w.run(later, func() bool { return false })
			if caller.effects["punch.Call"] != 1 || len(n.effects) != 0 {
				t.Fatalf("%v, %v", caller.effects, n.effects)
			}
			within := 250 * time.Millisecond // an answer, and probes that wait for shyTime
			if n.nat.kind = local.NAT; known {
				look := n.look
				look.Local = local
				n.step(look)
			} else {
				within += surveyTime - later
			}
			within += shyTime
			began := w.now
			if ok := w.run(within, w.linked); !ok || known && caller.effects["punch.Call"] != 1 {
				t.Errorf("after %v: %s, %d calls", w.now.Sub(began), caller.o.Why(w.now), caller.effects["punch.Call"])
			}
		})
	}
}

func TestTheFirstTryWaitsForNothingThatIsKnown(t *testing.T) {
	w := newWorld(t, kinds["port-restricted"], kinds["random"], 2, false)
	began := w.now
	w.start(0)
	if w.run(time.Second, func() bool { return w.nodes[0].effects["punch.Call"] > 0 }); w.now.Sub(began) > 50*time.Millisecond {
		t.Errorf("the call came after %v", w.now.Sub(began))
	}
}

func TestTheCalledSideHoldsNoPortThatCanBeOfNoUse(t *testing.T) {
	for kind, want := range map[string]int{"port-restricted": 0, "full cone": 1} {
		w := newWorld(t, kinds["random"], kinds[kind], 2, true)
		w.start(0)
		l := w.nodes[0].local() // with what others see of a port for fake TCP
		l.Candidates = append(l.Candidates, Candidate{Kind: 2, Transport: packet.RawTCP, Addr: l.Candidates[1].Addr})
		look := w.nodes[0].look
		look.Local = l
		w.nodes[0].step(look)
		w.run(time.Second, func() bool { return w.nodes[1].effects["punch.Answer"] > 0 })
		if got := w.nodes[1].effects["punch.Gather"]; got != want || w.nodes[0].effects["punch.Gather"] != 1 {
			t.Errorf("%s: ports were held %d times, want %d", kind, got, want)
		}
	}
}

func TestNeighboursWhomOnlyFakeTCPShowsToBeSoHoldPortsForEachOther(t *testing.T) {
	seen := func(kind message.CandidateKind, addr string) Candidate {
		return Candidate{Kind: kind, Transport: packet.RawTCP, Addr: netip.MustParseAddrPort(addr)}
	}
	const held = "10.0.1.2:40000" // in another network of the same site
	now, o := time.Unix(1_700_000_000, 0), New(Config{TCP: true, Search: true, Rand: rand.New(rand.NewPCG(1, 1))})
	o.Step(now, Look{Up: true, RTT: 40 * time.Millisecond, Local: &Offer{NAT: kinds["random"], Candidates: []Candidate{seen(message.Host, "10.0.2.2:9000")}}})
	effects := o.Step(now, Called{Try: 1, Offer: Offer{NAT: kinds["random"], Candidates: []Candidate{
		seen(message.Mapped, "203.0.113.1:5000"), seen(message.Host, "10.0.1.2:9000"), seen(Held, held),
	}}})
	if len(effects) != 1 {
		t.Fatalf("%+v", effects)
	}
	if g, ok := effects[0].(Gather); !ok || !g.Hold4 || !g.Ask {
		t.Fatalf("%+v", effects)
	}
	effects = o.Step(now, Gathered{Try: 1, Done: true, Candidates: []Candidate{seen(message.Mapped, "203.0.113.1:6000"), seen(Held, "10.0.2.2:40001")}})
	effects = append(effects, o.Step(o.Next(), o.look)...)
	crosses := func(e Effect) bool {
		c, ok := e.(Cross)
		return ok && slices.Contains(c.Remotes, netip.MustParseAddrPort(held))
	}
	if !slices.ContainsFunc(effects, crosses) {
		t.Errorf("%+v", effects)
	}
}

func TestWithoutTrafficOrAddressesNobodyCalls(t *testing.T) {
	w := newWorld(t, kinds["none"], kinds["none"], 2, false)
	w.start()
	w.run(time.Hour, func() bool { return false })
	for _, n := range w.nodes {
		if len(n.effects) != 0 {
			t.Errorf("%s: %v", n.name, n.effects)
		}
		n.look.Wanted = true
		n.o.local = &Offer{}
		n.step(n.look)
	}
	w.run(time.Hour, func() bool { return false })
	for _, n := range w.nodes {
		if len(n.effects) != 0 {
			t.Errorf("%s: %v", n.name, n.effects)
		}
	}
}

func TestAPeerThatIsSilentOrRefusesIsNotProbed(t *testing.T) {
	w := newWorld(t, kinds["none"], kinds["none"], 2, false)
	n := w.nodes[0]
	n.noRelay = true
	w.start(0)
	w.run(4*time.Second, func() bool { return len(n.reports) > 0 })
	if len(n.reports) != 1 || n.sent != 0 || n.effects["punch.Call"] != maxCalls || n.effects["punch.End"] != 1 {
		t.Fatalf("%v, %v", n.reports, n.effects)
	}
	w.run(2*time.Minute, func() bool { return n.effects["punch.Call"] > maxCalls })
	n.step(Answered{Try: n.o.Try(), Refused: true})
	if why := n.o.Why(w.now); !strings.Contains(why, "switched off there") || n.o.Busy() {
		t.Errorf("why: %s", why)
	}
}
