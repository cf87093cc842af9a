package simnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// hold takes a port at each site and asks the seed how it is mapped.
func (w *houses) hold(t *testing.T) (ports [2]packet.Held, seen [2]netip.AddrPort) {
	t.Helper()
	for i, s := range w.sites {
		var err error
		if ports[i], err = s.Hold(false); err != nil {
			t.Fatal(err)
		}
		result := make(chan dialed, 1)
		ports[i].Dial(at("203.0.113.1:9000"), func(p packet.Path, err error) { result <- dialed{p, err} })
		d := <-result
		if d.err != nil {
			t.Fatal(d.err)
		}
		seen[i] = w.seen(t, d.path)
	}
	return ports, seen
}

// both crosses from both sides, the second one later, and returns what came of it.
func both(ports [2]packet.Held, crossings [2]packet.Crossing, later time.Duration) (results [2]dialed) {
	var done [2]chan dialed
	for i := range ports {
		done[i] = make(chan dialed, 1)
		ports[i].Cross(crossings[i], func(p packet.Path, err error) { done[i] <- dialed{p, err} })
		if i == 0 {
			pass(later)
		}
	}
	return [2]dialed{<-done[0], <-done[1]}
}

func opened(r [2]dialed) bool { return r[0].err == nil && r[1].err == nil }

// guess is what a peer with a stepping router may be mapped to.
func guess(seen netip.AddrPort, cfg NATConfig) (remotes []netip.AddrPort) {
	if cfg.Kind != Symmetric || cfg.Step == 0 {
		return []netip.AddrPort{seen}
	}
	for i := range 4 {
		remotes = append(remotes, netip.AddrPortFrom(seen.Addr(), seen.Port()+uint16(cfg.Step*(i+1))))
	}
	return remotes
}

func TestConnectionsOpenFromBothSidesWhereMappingsCanBeKnownOrSeen(t *testing.T) {
	kinds := map[string]NATConfig{
		"none": {Kind: NoNAT}, "firewall": {Kind: Firewall}, "full": {Kind: FullCone}, "restricted": {Kind: Restricted},
		"port-restricted": {Kind: PortRestricted}, "step": {Kind: Symmetric, Step: 1}, "random": {Kind: Symmetric},
	}
	names := []string{"none", "firewall", "full", "restricted", "port-restricted", "step", "random"}
	for i, a := range names {
		for _, b := range names[i:] {
			t.Run(a+" and "+b, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newHouses(t, kinds[a], kinds[b])
					ports, seen := w.hold(t)
					r := both(ports, [2]packet.Crossing{
						{Remotes: guess(seen[1], kinds[b]), Timeout: 3 * time.Second},
						{Remotes: guess(seen[0], kinds[a]), Timeout: 3 * time.Second},
					}, 0)
					// Where a port cannot be foreseen, what lets in the address answers
					// the port that it sees.
					want := b != "random" || a == "none" || a == "full" || a == "restricted"
					if opened(r) != want {
						t.Fatalf("%v and %v; drops %v", r[0].err, r[1].err, w.n.Drops())
					}
					if !want {
						if !errors.Is(r[0].err, syscall.ETIMEDOUT) {
							t.Fatal(r[0].err)
						}
						return
					}
					for i := range r {
						say(t, r[i].path, fmt.Sprint("from ", i))
						pass(time.Second)
						if heard, from := hear(t, w.sites[1-i]); fmt.Sprint(heard) != fmt.Sprintf("[from %d]", i) || from != r[1-i].path {
							t.Fatalf("heard %q", heard)
						}
					}
					pass(time.Minute)
					if !r[0].path.Alive() || !r[1].path.Alive() {
						t.Fatal("it did not last")
					}
				})
			})
		}
	}
}

func TestRoutersThatAnswerWithResetsOpenToSynsThatCrossOrDieEarly(t *testing.T) {
	// The lines take 10 ms.
	for name, test := range map[string]struct {
		unasked Unasked
		hops    uint8
		later   time.Duration
		opens   bool
	}{
		"at once":                              {ResetUnasked, 0, 9 * time.Millisecond, true},
		"not at once":                          {ResetUnasked, 0, 50 * time.Millisecond, false},
		"not at once, but few hops":            {ResetUnasked, 2, 50 * time.Millisecond, true},
		"no input filter":                      {TakeUnasked, 0, 50 * time.Millisecond, false},
		"no input filter, but few hops":        {TakeUnasked, 2, 50 * time.Millisecond, true},
		"silent routers do not mind":           {DropUnasked, 0, 50 * time.Millisecond, true},
		"silent routers, seconds apart":        {DropUnasked, 0, 2 * time.Second, true},
		"few hops from the later side suffice": {ResetUnasked, 2, time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := NATConfig{Kind: PortRestricted, Unasked: test.unasked}
				w := newHouses(t, cfg, cfg)
				ports, seen := w.hold(t)
				r := both(ports, [2]packet.Crossing{
					{Remotes: seen[1:], Hops: test.hops, Shy: 300 * time.Millisecond, Timeout: 4 * time.Second},
					{Remotes: seen[:1], Hops: test.hops, Shy: 300 * time.Millisecond, Timeout: 4 * time.Second},
				}, test.later)
				if opened(r) != test.opens {
					t.Fatalf("%v and %v; drops %v", r[0].err, r[1].err, w.n.Drops())
				}
			})
		})
	}
}

func TestAnEstablishedTupleTakesNoNewSyn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHouses(t, NATConfig{Kind: PortRestricted}, NATConfig{Kind: PortRestricted})
		ports, seen := w.hold(t)
		cross := [2]packet.Crossing{{Remotes: seen[1:], Timeout: 2 * time.Second}, {Remotes: seen[:1], Timeout: 2 * time.Second}}
		r := both(ports, cross, 0)
		if !opened(r) {
			t.Fatal(r)
		}
		// Both sides forget the connection, their routers do not.
		w.n.Swallow(func(netip.AddrPort, netip.AddrPort) bool { return true })
		r[0].path.Close()
		r[1].path.Close()
		w.n.Swallow(nil)
		if again := both(ports, cross, 0); opened(again) {
			t.Fatal("the routers took a new SYN for an old connection")
		}
		// New ports are new tuples.
		ports, seen = w.hold(t)
		if r := both(ports, [2]packet.Crossing{{Remotes: seen[1:], Timeout: time.Second}, {Remotes: seen[:1], Timeout: time.Second}}, 0); !opened(r) {
			t.Fatalf("%v and %v", r[0].err, r[1].err)
		}
	})
}

func TestHeldPortsAreSilentAndGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		site, other := mustOpen(t, n.Host("site", "198.51.100.9"), 0), mustOpen(t, n.Host("other", "198.51.100.10"), 0)
		if _, err := site.Hold(true); !errors.Is(err, syscall.EAFNOSUPPORT) {
			t.Fatal(err)
		}
		held, err := site.Hold(false)
		if err != nil {
			t.Fatal(err)
		}
		remote := netip.AddrPortFrom(netip.MustParseAddr("198.51.100.9"), held.Port())
		if d := dial(other, remote.String()); !errors.Is(d.err, syscall.ETIMEDOUT) {
			t.Fatal("a held port answered:", d.err)
		}
		result := make(chan error, 3)
		done := func(_ packet.Path, err error) { result <- err }
		cancel := held.Cross(packet.Crossing{Remotes: []netip.AddrPort{at("198.51.100.77:1")}, Timeout: time.Second}, done)
		cancel()
		cancel()
		if err := <-result; !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		held.Cross(packet.Crossing{Remotes: []netip.AddrPort{at("[2001:db8::1]:1")}, Timeout: time.Second}, done)
		if err := <-result; !errors.Is(err, syscall.ENETUNREACH) {
			t.Fatal(err)
		}
		held.Release()
		held.Cross(packet.Crossing{Remotes: []netip.AddrPort{at("198.51.100.77:1")}, Timeout: time.Second}, done)
		if err := <-result; !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		if d := dial(other, remote.String()); !errors.Is(d.err, syscall.ECONNREFUSED) {
			t.Fatal("a released port is as any other:", d.err)
		}
		pass(time.Minute)
		if len(result) != 0 {
			t.Fatal("done was called twice")
		}
	})
}
