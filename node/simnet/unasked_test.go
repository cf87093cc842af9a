package simnet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// houses are a site behind a router each, and a seed that says how they are mapped.
type houses struct {
	n       *Net
	server  *Transport
	routers [2]*NAT
	sites   [2]*Transport
}

func newHouses(t *testing.T, a, b NATConfig) *houses {
	t.Helper()
	w := &houses{n: New(1)}
	w.server = mustOpen(t, w.n.Host("seed", "203.0.113.1"), 9000)
	w.server.UDP()
	for i, cfg := range []NATConfig{a, b} {
		w.routers[i] = w.n.NAT(fmt.Sprint("home", i), cfg, fmt.Sprintf("198.51.100.%d", i+1))
		inside := "192.168.1.10"
		if !cfg.Kind.translates() {
			inside = fmt.Sprintf("192.0.2.%d", i+1)
		}
		w.sites[i] = mustOpen(t, w.routers[i].Host(fmt.Sprint("site", i), inside), 0)
	}
	return w
}

// seen asks the seed where a path comes from.
func (w *houses) seen(t *testing.T, p packet.Path) netip.AddrPort {
	t.Helper()
	say(t, p, "where am I")
	pass(time.Second)
	_, from := hear(t, w.server)
	if from == nil {
		t.Fatal("the seed is not reached:", w.n.Drops())
	}
	return from.Remote()
}

func TestAnEarlyDatagramStealsTheTupleUnlessItDiesOnTheWay(t *testing.T) {
	for name, test := range map[string]struct {
		unasked Unasked
		hops    uint8
		opens   bool
	}{
		"strict router":                   {DropUnasked, allHops, true},
		"no input filter":                 {TakeUnasked, allHops, false},
		"no input filter, but few hops":   {TakeUnasked, 2, true},
		"resets concern no datagrams":     {ResetUnasked, allHops, true},
		"strict router and few hops, too": {DropUnasked, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newHouses(t, NATConfig{Kind: PortRestricted}, NATConfig{Kind: PortRestricted, Unasked: test.unasked})
				var seen [2]netip.AddrPort
				for i, s := range w.sites {
					seen[i] = w.seen(t, through(t, s.UDP(), 0, at("203.0.113.1:9000")))
				}
				p, q := through(t, w.sites[0].UDP(), 0, seen[1]), through(t, w.sites[1].UDP(), 0, seen[0])
				sayHops(t, p, test.hops, "early")
				pass(100 * time.Millisecond)
				for range 10 { // retries change nothing
					say(t, q, "late")
					say(t, p, "again")
					pass(time.Second)
				}
				heard0, _ := hear(t, w.sites[0])
				heard1, _ := hear(t, w.sites[1])
				if got := heard0 != nil && heard1 != nil; got != test.opens {
					t.Fatalf("heard %d and %d datagrams", len(heard0), len(heard1))
				}
				if test.opens {
					return
				}
				// After a silence the router has forgotten.
				pass(time.Minute)
				say(t, q, "first now")
				pass(time.Second)
				say(t, p, "hello")
				pass(time.Second)
				if heard, _ := hear(t, w.sites[1]); fmt.Sprint(heard) != "[hello]" {
					t.Fatalf("heard %q after the tuple was free again", heard)
				}
			})
		})
	}
}

func TestDatagramMappingsLiveThirtySecondsAndLongerOnceAnswered(t *testing.T) {
	r := newUDPTable(NATConfig{Kind: PortRestricted}, rand.New(rand.NewPCG(3, 4)))
	outer := r.out(dawn, inner, peerA1, outside)
	r.out(dawn, inner, peerB1, outside)
	if _, ok := r.in(dawn.Add(30*time.Second), peerA1, outer); !ok {
		t.Fatal("gone within 30 s")
	}
	if _, ok := r.in(dawn.Add(31*time.Second), peerB1, outer); ok {
		t.Fatal("unanswered, and yet open after 30 s")
	}
	if _, ok := r.in(dawn.Add(120*time.Second), peerA1, outer); !ok {
		t.Fatal("answered, and gone within 120 s")
	}
	if _, ok := r.in(dawn.Add(121*time.Second), peerA1, outer); ok {
		t.Fatal("open after 120 s")
	}
	if again := r.out(dawn.Add(200*time.Second), inner2, peerA1, outside); again != outer {
		t.Fatalf("the port was not free again: %v", again)
	}
}

func TestUDPAndTCPAreMappedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHouses(t, NATConfig{Kind: Symmetric, Step: 1}, NATConfig{})
		flow := w.seen(t, mustDial(t, w.sites[0], "203.0.113.1:9000"))
		datagram := w.seen(t, through(t, w.sites[0].UDP(), 0, at("203.0.113.1:9000")))
		if flow.Port()+1 == datagram.Port() || flow == datagram {
			t.Fatalf("one counter for both: %v and %v", flow, datagram)
		}
	})
}

func TestARouterBlocksOrThrottlesUDPAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHouses(t, NATConfig{Kind: PortRestricted, NoUDP: true}, NATConfig{Kind: PortRestricted, UDPRate: 1_000_000})
		say(t, through(t, w.sites[0].UDP(), 0, at("203.0.113.1:9000")), "nothing")
		pass(time.Second)
		if heard, _ := hear(t, w.server); heard != nil || w.n.Drops()["udp is blocked"] != 1 {
			t.Fatalf("heard %q, drops %v", heard, w.n.Drops())
		}
		mustDial(t, w.sites[0], "203.0.113.1:9000")
		p := through(t, w.sites[1].UDP(), 0, at("203.0.113.1:9000"))
		bits := 0
		datagram := string(make([]byte, 972))
		for range 1000 { // 8 Mbit/s for a second
			say(t, p, datagram)
			<-time.After(time.Millisecond)
		}
		pass(time.Second)
		heard, _ := hear(t, w.server)
		for range heard {
			bits += 8000
		}
		if bits < 1_000_000 || bits > 1_000_000+policerBurst {
			t.Fatalf("%d bits passed in a second", bits)
		}
	})
}

func TestIPv6IsRoutedWhereTheRouterTranslatesOnlyIPv4(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		server := mustOpen(t, n.Host("seed", "203.0.113.1", "2001:db8::1"), 9000)
		home := n.NAT("home", NATConfig{Kind: FullCone, Routed6: true}, "198.51.100.7")
		site := mustOpen(t, home.Host("site", "192.168.1.10", "2001:db8:1::10"), 5000)
		u := server.UDP()
		say(t, through(t, u, 0, at("[2001:db8:1::10]:5000")), "unasked")
		pass(time.Second)
		say(t, through(t, site.UDP(), 0, at("203.0.113.1:9000")), "four")
		say(t, through(t, site.UDP(), 0, at("[2001:db8::1]:9000")), "six")
		pass(time.Second)
		if heard, _ := hear(t, site); heard != nil {
			t.Fatalf("the firewall let in %q", heard)
		}
		heard, from := hear(t, server)
		if fmt.Sprint(heard) != "[four six]" || from.Remote() != at("[2001:db8:1::10]:5000") {
			t.Fatalf("heard %q from %v", heard, from.Remote())
		}
		say(t, from, "answer")
		pass(time.Second)
		if heard, _ := hear(t, site); fmt.Sprint(heard) != "[answer]" {
			t.Fatalf("heard %q", heard)
		}
	})
}

func TestARouterThatAnswersWithResetsRefusesDials(t *testing.T) {
	for unasked, want := range map[Unasked]error{DropUnasked: syscall.ETIMEDOUT, ResetUnasked: syscall.ECONNREFUSED, TakeUnasked: syscall.ECONNREFUSED} {
		synctest.Test(t, func(t *testing.T) {
			w := newHouses(t, NATConfig{Kind: PortRestricted, Unasked: unasked}, NATConfig{})
			if d := dial(w.server, "198.51.100.1:5000"); !errors.Is(d.err, want) {
				t.Errorf("%d: %v", unasked, d.err)
			}
		})
	}
}

func TestSegmentsThatAreNoConnectionDoNotPass(t *testing.T) {
	type step struct {
		outward bool
		kind    wireKind
		passes  bool
	}
	const out, in = true, false
	for name, steps := range map[string][]step{
		"an ordinary connection":                   {{out, wireSYN, true}, {in, wireSYNACK, true}, {out, wireACK, true}, {in, wireData, true}, {out, wireData, true}},
		"simultaneous open":                        {{out, wireSYN, true}, {in, wireSYN, true}, {out, wireSYNACK, true}, {in, wireACK, true}, {out, wireData, true}},
		"SYN-ACK before the peer's SYN":            {{out, wireSYN, true}, {out, wireSYNACK, false}},
		"data without any SYN-ACK":                 {{out, wireSYN, true}, {in, wireSYN, true}, {out, wireData, false}},
		"a SYN from outside to what is open":       {{out, wireSYN, true}, {in, wireSYNACK, true}, {out, wireACK, true}, {in, wireSYN, false}},
		"what follows a reset":                     {{out, wireSYN, true}, {in, wireRST, true}, {in, wireSYN, false}},
		"a new start after a reset":                {{out, wireSYN, true}, {in, wireRST, true}, {out, wireSYN, true}, {in, wireSYN, true}},
		"the middle of a connection, after a loss": {{out, wireData, true}, {in, wireData, true}},
		"a SYN-ACK from nowhere":                   {{in, wireSYNACK, false}, {out, wireRST, false}},
	} {
		c := newConntrack(5 * 24 * time.Hour)
		for i, s := range steps {
			if got := c.segment(dawn, inner, peerA1, s.outward, s.kind); got != s.passes {
				t.Errorf("%s: segment %d passes %v, want %v", name, i, got, s.passes)
			}
		}
	}
	c := newConntrack(5 * 24 * time.Hour)
	c.segment(dawn, inner, peerA1, out, wireSYN)
	if !c.knows(dawn.Add(120*time.Second), inner, peerA1) || c.knows(dawn.Add(121*time.Second), inner, peerA1) {
		t.Error("a SYN is remembered 120 s")
	}
}
