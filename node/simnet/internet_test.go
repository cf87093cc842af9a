package simnet

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

func TestASiteBehindAnyRouterReachesTheSeedAndIsAnswered(t *testing.T) {
	for kind := NoNAT; kind <= Symmetric; kind++ {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New(1)
				server := mustOpen(t, n.Host("seed", "203.0.113.1"), 9000)
				home := n.NAT("home", NATConfig{Kind: kind}, "198.51.100.7")
				inside := "192.168.1.10"
				if !kind.translates() {
					inside = "198.51.100.10"
				}
				client := mustOpen(t, home.Host("site", inside), 0)
				p := mustDial(t, client, "203.0.113.1:9000")
				say(t, p, "hello")
				pass(time.Second)
				_, back := hear(t, server)
				if want := netip.MustParseAddr("198.51.100.7"); kind.translates() && back.Remote().Addr() != want {
					t.Fatalf("seen from %v", back.Remote())
				}
				say(t, back, "welcome")
				pass(time.Second)
				if heard, from := hear(t, client); len(heard) != 1 || from != p {
					t.Fatalf("heard %q", heard)
				}
			})
		})
	}
}

func TestNobodyGetsInUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		outside := mustOpen(t, n.Host("seed", "203.0.113.1"), 0)
		home := n.NAT("home", NATConfig{Kind: PortRestricted}, "198.51.100.7")
		site := home.Host("site", "192.168.1.10")
		mustOpen(t, site, 9000)
		if d := dial(outside, "198.51.100.7:9000"); !errors.Is(d.err, syscall.ETIMEDOUT) {
			t.Fatal(d.err)
		}
		if n.Drops()["nat filter"] != 4 {
			t.Fatalf("drops: %v", n.Drops())
		}
		home.Forward("198.51.100.7:9000", "192.168.1.10:9000")
		mustDial(t, outside, "198.51.100.7:9000")
	})
}

// crossing dials from both sites to the mappings that the seed sees.
func crossing(t *testing.T, a, b NATConfig) (established bool) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		server := mustOpen(t, n.Host("seed", "203.0.113.1"), 9000)
		var sides [2]*Transport
		var seen [2]netip.AddrPort
		for i, cfg := range []NATConfig{a, b} {
			home := n.NAT(fmt.Sprint("home", i), cfg, fmt.Sprintf("198.51.100.%d", i+1))
			site := home.Host(fmt.Sprint("site", i), "192.168.1.10")
			var err error
			if sides[i], err = site.OpenShared(uint16(5000 + i)); err != nil {
				t.Fatal(err)
			}
			say(t, mustDial(t, sides[i], "203.0.113.1:9000"), "where am I")
			pass(time.Second)
			_, from := hear(t, server)
			seen[i] = from.Remote()
		}
		results := make(chan dialed, 2)
		for i := range sides {
			sides[i].Dial(seen[1-i], func(p packet.Path, err error) { results <- dialed{p, err} })
		}
		x, y := <-results, <-results
		established = x.err == nil && y.err == nil
		if !established {
			return
		}
		say(t, x.path, "through")
		pass(time.Second)
		for i := range sides {
			if heard, from := hear(t, sides[i]); from == y.path && len(heard) == 1 {
				return
			}
		}
		t.Error("the crossed dials did not make one flow")
	})
	return established
}

func TestCrossedDialsOpenConesButNotSymmetricRouters(t *testing.T) {
	for _, test := range []struct {
		a, b NATConfig
		want bool
	}{
		{NATConfig{Kind: FullCone}, NATConfig{Kind: FullCone}, true},
		{NATConfig{Kind: Restricted}, NATConfig{Kind: PortRestricted}, true},
		{NATConfig{Kind: PortRestricted}, NATConfig{Kind: PortRestricted}, true},
		{NATConfig{Kind: Symmetric}, NATConfig{Kind: PortRestricted}, false},
		{NATConfig{Kind: Symmetric, Step: 1}, NATConfig{Kind: Symmetric}, false},
	} {
		if got := crossing(t, test.a, test.b); got != test.want {
			t.Errorf("%+v and %+v: established %v, want %v", test.a, test.b, got, test.want)
		}
	}
}

func TestHostsBehindOneRouterMeetInsideAndByHairpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		home := n.NAT("home", NATConfig{Kind: PortRestricted}, "198.51.100.7")
		a, b := home.Host("a", "192.168.1.10"), home.Host("b", "192.168.1.11")
		n.SetLink(a, b, Link{Delay: time.Millisecond})
		ta := mustOpen(t, a, 0)
		mustOpen(t, b, 9000)
		home.Forward("198.51.100.7:9000", "192.168.1.11:9000")
		begun := time.Now()
		mustDial(t, ta, "192.168.1.11:9000")
		if rtt := time.Since(begun); rtt != 2*time.Millisecond {
			t.Fatalf("inside the house it took %v", rtt)
		}
		if d := dial(ta, "198.51.100.7:9000"); !errors.Is(d.err, syscall.ETIMEDOUT) {
			t.Fatal("without hairpin:", d.err)
		}
		home.table.Hairpin = true
		mustDial(t, ta, "198.51.100.7:9000")
	})
}

func TestARouterBehindARouterTranslatesTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		seed := n.Host("seed", "203.0.113.1")
		server := mustOpen(t, seed, 9000)
		carrier := n.NAT("carrier", NATConfig{Kind: Symmetric}, "198.51.100.7")
		home := carrier.NAT("home", NATConfig{Kind: FullCone}, "100.64.0.9")
		site := home.Host("site", "192.168.1.10")
		n.SetLink(seed, site, Link{Delay: 40 * time.Millisecond})
		begun := time.Now()
		p := mustDial(t, mustOpen(t, site, 0), "203.0.113.1:9000")
		if rtt := time.Since(begun); rtt != 80*time.Millisecond {
			t.Fatalf("the dial took %v", rtt)
		}
		say(t, p, "hello")
		pass(time.Second)
		if _, from := hear(t, server); from.Remote().Addr() != netip.MustParseAddr("198.51.100.7") {
			t.Fatalf("seen from %v", from.Remote())
		}
	})
}

func TestARouterThatRebootsOrMovesBreaksItsFlows(t *testing.T) {
	for name, disturb := range map[string]func(*NAT){
		"reboot": (*NAT).Reboot,
		"move":   func(r *NAT) { r.SetOutside("198.51.100.8") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New(1)
				server := mustOpen(t, n.Host("seed", "203.0.113.1"), 9000)
				home := n.NAT("home", NATConfig{Kind: Symmetric}, "198.51.100.7")
				client := mustOpen(t, home.Host("site", "192.168.1.10"), 0)
				p := mustDial(t, client, "203.0.113.1:9000")
				say(t, p, "before")
				pass(time.Second)
				_, back := hear(t, server)
				disturb(home)
				say(t, back, "lost")
				pass(time.Second)
				if heard, _ := hear(t, client); heard != nil {
					t.Fatalf("heard %q", heard)
				}
				// From a new mapping the seed knows no flow, and says so.
				say(t, p, "after")
				pass(time.Second)
				if p.Alive() {
					t.Fatal("the flow lives on under another mapping")
				}
			})
		})
	}
}

func TestLinesAreSetPerPairAndTheTapSeesWhatAnObserverSees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.SetDefault(Link{Delay: 3 * time.Millisecond})
		a, b, c := n.Host("a", "203.0.113.1"), n.Host("b", "203.0.113.2"), n.Host("c", "203.0.113.3")
		n.SetLinkOneWay(b, a, Link{Delay: 7 * time.Millisecond})
		n.SetLink(b, c, Link{Loss: 1})
		mustOpen(t, a, 9000)
		tb := mustOpen(t, b, 0)
		seen := ""
		n.Tap(func(src, dst netip.AddrPort, payload []byte) {
			seen = fmt.Sprint(src.Addr(), ">", dst, " ", string(payload))
		})
		begun := time.Now()
		p := mustDial(t, tb, "203.0.113.1:9000")
		if rtt := time.Since(begun); rtt != 10*time.Millisecond {
			t.Fatalf("the dial took %v", rtt)
		}
		say(t, p, "x")
		if want := "203.0.113.2>203.0.113.1:9000 x"; seen != want {
			t.Fatalf("seen %q", seen)
		}
		if d := dial(tb, "203.0.113.3:9000"); !errors.Is(d.err, syscall.ETIMEDOUT) {
			t.Fatal(d.err)
		}
	})
}

func TestAFlowThatVanishedIsDeadAndANewOneLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		seed := n.Host("seed", "203.0.113.1")
		server := mustOpen(t, seed, 9000)
		site := n.NAT("home", NATConfig{Kind: PortRestricted}, "198.51.100.7").Host("site", "192.168.1.10")
		client := mustOpen(t, site, 0)
		first := mustDial(t, client, "203.0.113.1:9000")
		say(t, first, "one")
		pass(time.Second)
		_, back := hear(t, server)
		n.Vanish(seed, site)
		say(t, first, "lost")
		say(t, back, "lost")
		second := mustDial(t, client, "203.0.113.1:9000")
		say(t, second, "two")
		pass(time.Second)
		if heard, _ := hear(t, server); fmt.Sprint(heard) != "[two]" {
			t.Errorf("the server heard %q", heard)
		}
		if heard, _ := hear(t, client); len(heard) != 0 {
			t.Errorf("the client heard %q", heard)
		}
		if n.Drops()["vanished"] < 2 {
			t.Errorf("drops: %v", n.Drops())
		}
		n.Reappear(seed, site)
		say(t, first, "back")
		pass(time.Second)
		if heard, _ := hear(t, server); fmt.Sprint(heard) != "[back]" {
			t.Errorf("the server heard %q", heard)
		}
	})
}

func TestTheSameSeedLosesTheSameDatagrams(t *testing.T) {
	var runs [2]string
	for i := range runs {
		synctest.Test(t, func(t *testing.T) {
			n := New(7)
			seed, site := n.Host("seed", "203.0.113.1"), n.Host("site", "198.51.100.9")
			server, client := mustOpen(t, seed, 9000), mustOpen(t, site, 0)
			p := mustDial(t, client, "203.0.113.1:9000")
			n.SetLink(seed, site, Link{Loss: 0.3, Reorder: 0.2, Duplicate: 0.1, Jitter: time.Millisecond})
			for j := range 300 {
				say(t, p, fmt.Sprint(j))
				<-time.After(time.Millisecond)
			}
			pass(time.Second)
			heard, _ := hear(t, server)
			runs[i] = fmt.Sprint(heard)
		})
	}
	if runs[0] != runs[1] {
		t.Fatalf("two runs differ:\n%s\n%s", runs[0], runs[1])
	}
}
