package simnet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var (
	inner   = netip.MustParseAddrPort("192.168.1.10:5000")
	inner2  = netip.MustParseAddrPort("192.168.1.11:5000")
	outside = netip.MustParseAddr("198.51.100.7")
	peerA1  = netip.MustParseAddrPort("203.0.113.1:1000")
	peerA2  = netip.MustParseAddrPort("203.0.113.1:2000")
	peerB1  = netip.MustParseAddrPort("203.0.113.2:1000")
	dawn    = time.Unix(1_000_000, 0)
)

func table(cfg NATConfig) *natTable { return newNATTable(cfg, rand.New(rand.NewPCG(3, 4))) }

func TestEachKindFiltersAsItsNameSays(t *testing.T) {
	for _, test := range []struct {
		kind                         NATKind
		same, otherPort, otherServer bool
	}{
		{FullCone, true, true, true},
		{Restricted, true, true, false},
		{PortRestricted, true, false, false},
		{Symmetric, true, false, false},
	} {
		t.Run(fmt.Sprint(test.kind), func(t *testing.T) {
			r := table(NATConfig{Kind: test.kind})
			outer := r.out(dawn, inner, peerA1, outside)
			for from, want := range map[netip.AddrPort]bool{peerA1: test.same, peerA2: test.otherPort, peerB1: test.otherServer} {
				to, ok := r.in(dawn, from, outer)
				if ok != want || (ok && to != inner) {
					t.Errorf("from %v: let in %v to %v, want %v", from, ok, to, want)
				}
			}
			if _, ok := r.in(dawn, peerA1, netip.AddrPortFrom(outside, outer.Port()+1)); ok {
				t.Error("a port that nobody mapped let something in")
			}
		})
	}
}

func TestConesMapAllDestinationsAlikeAndKeepThePort(t *testing.T) {
	for _, kind := range []NATKind{FullCone, Restricted, PortRestricted} {
		r := table(NATConfig{Kind: kind})
		a, b := r.out(dawn, inner, peerA1, outside), r.out(dawn, inner, peerB1, outside)
		if a != b || a != netip.AddrPortFrom(outside, inner.Port()) {
			t.Errorf("kind %d: %v and %v", kind, a, b)
		}
		if c := r.out(dawn, inner2, peerA1, outside); c == a {
			t.Errorf("kind %d: two inside hosts share %v", kind, c)
		}
	}
}

func TestSymmetricMapsEachDestinationElsewhere(t *testing.T) {
	step := table(NATConfig{Kind: Symmetric, Step: 3})
	a, b, c := step.out(dawn, inner, peerA1, outside), step.out(dawn, inner, peerA2, outside), step.out(dawn, inner, peerB1, outside)
	if b.Port()-a.Port() != 3 || c.Port()-b.Port() != 3 {
		t.Errorf("ports %d %d %d do not step by 3", a.Port(), b.Port(), c.Port())
	}
	if again := step.out(dawn, inner, peerA1, outside); again != a {
		t.Errorf("the same destination got %v and %v", a, again)
	}
	random := table(NATConfig{Kind: Symmetric})
	seen := map[uint16]bool{}
	for i := range 100 {
		seen[random.out(dawn, inner, netip.AddrPortFrom(peerA1.Addr(), uint16(i+1)), outside).Port()] = true
	}
	if len(seen) != 100 {
		t.Errorf("100 destinations got %d ports", len(seen))
	}
}

func TestMappingsExpireUnlessUsed(t *testing.T) {
	r := table(NATConfig{Kind: PortRestricted, Timeout: time.Minute})
	outer := r.out(dawn, inner, peerA1, outside)
	r.out(dawn.Add(50*time.Second), inner, peerB1, outside)
	if _, ok := r.in(dawn.Add(70*time.Second), peerA1, outer); ok {
		t.Error("the hole for A outlived its timeout")
	}
	if _, ok := r.in(dawn.Add(70*time.Second), peerB1, outer); !ok {
		t.Error("the hole for B is gone too early")
	}
	if _, ok := r.in(dawn.Add(111*time.Second), peerB1, outer); ok {
		t.Error("the mapping outlived its timeout")
	}
}

func TestForwardsLetEverybodyInAndSurviveForgetting(t *testing.T) {
	r := table(NATConfig{Kind: Symmetric})
	port := netip.AddrPortFrom(outside, 9000)
	r.forward(port, inner)
	mapped := r.out(dawn, inner2, peerA1, outside)
	r.forget()
	if to, ok := r.in(dawn, peerB1, port); !ok || to != inner {
		t.Error("the forward is gone")
	}
	if got := r.out(dawn, inner, peerB1, outside); got != port {
		t.Errorf("an answer leaves from %v", got)
	}
	if _, ok := r.in(dawn, peerA1, mapped); ok {
		t.Error("a forgotten mapping still leads in")
	}
}

func TestAFirewallTranslatesNothingAndLetsAnswersIn(t *testing.T) {
	r := table(NATConfig{Kind: Firewall})
	if _, ok := r.in(dawn, peerA1, inner); ok {
		t.Error("unasked, and let in")
	}
	if got := r.out(dawn, inner, peerA1, outside); got != inner {
		t.Errorf("source became %v", got)
	}
	if to, ok := r.in(dawn, peerA1, inner); !ok || to != inner {
		t.Error("the answer was kept out")
	}
}
