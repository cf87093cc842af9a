package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/simnet"
)

// hubs are two public nodes to which all sites have direct links: the seed, and a
// second one on faster lines.
func hubs(m *mesh) (seed, hub *station, sites []*station) {
	return hubsOn(m, simnet.Link{Delay: 40 * time.Millisecond}, simnet.Link{Delay: 10 * time.Millisecond})
}

// hubsOn is hubs with such lines from each site to the one and to the other.
func hubsOn(m *mesh, toSeed, toHub simnet.Link) (seed, hub *station, sites []*station) {
	const second = "203.0.113.9:9000"
	seeds := func(s *station) { s.cfg.Seeds = []string{seedAddress, second} }
	seed = m.seed("fra-seed", seedAddress, "10.0.0.1/24")
	hub = m.seed("ams-hub", second, "10.0.0.9/24", func(s *station) { s.cfg.Seeds = []string{seedAddress} })
	sites = m.sites(2, seeds)
	for _, s := range sites {
		m.net.SetLink(seed.host, s.host, toSeed)
		m.net.SetLink(hub.host, s.host, toHub)
	}
	m.reachAll(15*time.Second, append(sites, seed, hub)...)
	return seed, hub, sites
}

func TestTheRelayWithTheShortestWayIsUsed(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed, hub, sites := hubs(m)
		a, b := sites[0], sites[1]
		s := &paced{from: a, to: b, label: "tick"}
		back := &paced{from: b, to: a, label: "tock"}
		both := func(d time.Duration) {
			for range d / (20 * time.Millisecond) {
				s.run(m, 10*time.Millisecond, 10*time.Millisecond)
				back.run(m, 10*time.Millisecond, 10*time.Millisecond)
			}
		}
		both(20 * time.Second)
		if via := a.peer(b).Link.Via; via != hub.cfg.Name {
			t.Errorf("the traffic goes through %q, which is four times as far", via)
		}
		// The line to the hub gets long: the seed is better now.
		for _, x := range sites {
			m.net.SetLink(hub.host, x.host, simnet.Link{Delay: 150 * time.Millisecond})
		}
		both(2 * time.Minute)
		if via := a.peer(b).Link.Via; via != seed.cfg.Name {
			t.Errorf("the traffic still goes through %q", via)
		}
		s.rest(m)
		back.look()
		if missing, _ := s.missing(); missing > 0 {
			t.Errorf("%d packets are missing", missing)
		}
		if n := a.log.count("path changed", "peer="+b.cfg.Name); n > 4 {
			t.Errorf("the path was changed %d times", n)
		}
	})
}

func TestTheDeathOfTheRelayMovesPairsToAnotherOne(t *testing.T) {
	for _, way := range []string{"crash", "blackhole"} {
		t.Run(way, func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				seed, hub, sites := hubs(m)
				a, b := sites[0], sites[1]
				s := &paced{from: a, to: b, label: "tick"}
				s.run(m, 20*time.Second, 20*time.Millisecond)
				used := map[string]*station{seed.cfg.Name: seed, hub.cfg.Name: hub}[a.peer(b).Link.Via]
				if used == nil {
					t.Fatalf("the traffic goes through %q", a.peer(b).Link.Via)
				}
				before := a.peer(b).Link
				if way == "crash" {
					used.crash()
				} else {
					for _, x := range sites {
						m.net.Blackhole(used.host, x.host, true)
					}
				}
				s.run(m, 10*time.Second, 20*time.Millisecond)
				s.rest(m)
				missing, twice := s.missing()
				now := a.peer(b).Link
				t.Logf("from %s to %s: longest stall %v, %d missing, %d twice", before.Via, now.Via, s.longest(), missing, twice)
				if now.Via == used.cfg.Name || now.Path != "relay" {
					t.Errorf("the link shows %q via %q", now.Path, now.Via)
				}
				if s.longest() > 3*time.Second {
					t.Errorf("nothing arrived for %v", s.longest())
				}
				if missing > 0 {
					t.Errorf("%d of %d packets are missing", missing, len(s.sent))
				}
			})
		})
	}
}

func TestASiteThatHasNoLinkToTheSeedIsReachedThroughTwoRelays(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		const second = "203.0.113.9:9000"
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
		m.seed("ams-hub", second, "10.0.0.9/24", func(s *station) { s.cfg.Seeds = []string{seedAddress} })
		a := m.site(2)
		b := m.site(3, func(s *station) { s.cfg.Seeds = []string{second} })
		took := m.reach(30*time.Second, a, b)
		t.Logf("reached after %v", took)
		m.reach(5*time.Second, b, a)
		m.reach(5*time.Second, b, seed)
		if rtt, ok := a.ping(b.address(), time.Second); !ok || rtt != 60*time.Millisecond {
			t.Errorf("round trip %v, want 60ms over three lines of 10ms", rtt)
		}
		for i := range 20 {
			text := fmt.Sprint("through two relays ", i)
			a.say(a.address(), b.address(), text)
			if _, ok := b.hears(text, time.Second); !ok {
				t.Fatalf("%q did not arrive", text)
			}
		}
	})
}
