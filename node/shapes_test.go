package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/control"
	"github.com/openbmx/lightweight-tunnel/node/simnet"
)

// The shapes that meshes have: several seeds, sites behind one router, behind
// two, on narrow lines.

const secondAddress = "203.0.113.2:9000"

func TestSitesGoThroughTheOtherSeedWhenTheirRelayDies(t *testing.T) {
	for _, victim := range []string{"fra-seed", "ams-seed"} {
		t.Run(victim, func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				fra := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
				ams := m.seed("ams-seed", secondAddress, "10.0.0.100/24", func(s *station) { s.cfg.Seeds = []string{seedAddress} })
				sites := m.sites(2, func(s *station) { s.cfg.Seeds = []string{seedAddress, secondAddress} })
				a, b := sites[0], sites[1]
				m.reachAll(10*time.Second, fra, ams, a, b)
				m.pass(30 * time.Second)
				dead := fra
				if victim == "ams-seed" {
					dead = ams
				}
				dead.crash()
				all := []*stream{{from: a, to: b, label: "across"}, {from: b, to: a, label: "back"}}
				took := outage(m, all)
				t.Logf("%s died: packets were lost for %v", victim, took)
				if took > 5*time.Second {
					t.Errorf("relayed packets were lost for %v", took)
				}
				link := a.peer(b).Link
				if link.Path != "relay" || link.Via == victim {
					t.Errorf("the link shows %s via %q", link.Path, link.Via)
				}
			})
		})
	}
}

func TestServersThatAreEachOthersSeedsMeet(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		addresses := []string{seedAddress, secondAddress, "203.0.113.3:9000"}
		var all []*station
		for i, at := range addresses {
			all = append(all, m.seed(fmt.Sprintf("server-%d", i), at, fmt.Sprintf("10.0.0.%d/24", i+1),
				func(s *station) { s.cfg.Seeds = addresses })) // its own among them
		}
		m.reachAll(10*time.Second, all...)
		m.pass(10 * time.Minute)
		for _, s := range all {
			if n := s.log.count("it is this node itself"); n != 1 {
				t.Errorf("%s says %d times that it is its own seed, want once", s.cfg.Name, n)
			}
			if n := s.log.count("link is down"); n != 0 {
				t.Errorf("%s lost a link %d times", s.cfg.Name, n)
			}
			for _, other := range all {
				if s != other && s.peer(other).Link.Path != "rawtcp" {
					t.Errorf("%s reaches %s by %q", s.cfg.Name, other.cfg.Name, s.peer(other).Link.Path)
				}
			}
		}
		m.reachAll(time.Second, all...)
	})
}

func TestASeedWithTwoNamesIsOnePeer(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
		seed.host.SetAddrs("203.0.113.1", "203.0.113.77")
		a := m.site(2, func(s *station) { s.cfg.Seeds = []string{seedAddress, "203.0.113.77:9000"} })
		m.reach(5*time.Second, a, seed)
		m.pass(10 * time.Minute)
		if n := a.log.count("path changed"); n > 2 {
			t.Errorf("the path changed %d times", n)
		}
		if n := len((source{a.node}).Peers().Peers); n != 1 {
			t.Errorf("%d peers", n)
		}
		m.reach(time.Second, a, seed)
	})
}

func TestSitesBehindOneRouterAndBehindACarriersRouterTakePart(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		all := []*station{m.seed("fra-seed", seedAddress, "10.0.0.1/24")}
		shared := m.nat(2, simnet.Symmetric)
		for n := 2; n <= 4; n++ {
			all = append(all, m.site(n, func(s *station) { s.router = shared }))
		}
		carrier := m.net.NAT("carrier", simnet.NATConfig{Kind: simnet.PortRestricted}, "198.51.100.99")
		all = append(all, m.site(5, func(s *station) {
			s.router = carrier.NAT("home", simnet.NATConfig{Kind: simnet.PortRestricted}, "100.64.0.5")
		}))
		m.reachAll(15*time.Second, all...)
	})
}

func TestPacketsUpToTheMTUPassOnNarrowLines(t *testing.T) {
	for _, mtu := range []int{1492, 1280, 900} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
				a, b := m.site(2), m.site(3)
				a.crash()
				a.host.SetMTU(mtu)
				a.restart()
				m.reachAll(10*time.Second, seed, a, b)
				for _, to := range []*station{seed, b} {
					most := a.peer(to).Link.MTU
					if most == 0 || most >= mtu {
						t.Fatalf("the link to %s shows an MTU of %d on a line of %d", to.cfg.Name, most, mtu)
					}
					full := string(make([]byte, most-28))
					a.say(a.address(), to.address(), full)
					if _, ok := to.hears(full, time.Second); !ok {
						t.Errorf("a packet of %d bytes does not reach %s", most, to.cfg.Name)
					}
					a.heard()
					a.say(a.address(), to.address(), full+"x")
					m.pass(time.Second)
					told := slices.ContainsFunc(a.heard(), func(p ipPacket) bool {
						return p.icmp() == 3 && int(p.body[6])<<8|int(p.body[7]) == most
					})
					if !told {
						t.Errorf("who sends one byte more to %s is not told %d", to.cfg.Name, most)
					}
				}
			})
		})
	}
}

func TestAnIdleMeshIsQuiet(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed, sites := m.star(3)
		m.pass(time.Minute)
		var datagrams, bytes int
		m.net.Tap(func(_, _ netip.AddrPort, b []byte) { datagrams, bytes = datagrams+1, bytes+len(b) })
		const quiet = 15 * time.Minute
		m.pass(quiet)
		m.net.Tap(nil)
		// Three links to the seed and one or three between sites, which are
		// relayed over two lines each; a ping and its answer every five seconds.
		perSecond := float64(datagrams) / quiet.Seconds()
		t.Logf("%.1f datagrams and %.0f bytes a second in the whole mesh", perSecond, float64(bytes)/quiet.Seconds())
		if perSecond > 10 {
			t.Errorf("%.1f datagrams a second although nobody has anything to say", perSecond)
		}
		for _, s := range append(sites, seed) {
			for _, text := range []string{"link is down", "actor failed", "path changed"} {
				if n := s.log.count(text); n != 0 {
					t.Errorf("%s says %q %d times", s.cfg.Name, text, n)
				}
			}
		}
		m.reachAll(2*time.Second, append(sites, seed)...)
	})
}

func TestTheMeshsOwnPingNamesThePath(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed, sites := m.star(2)
		for to, want := range map[string]control.PingReply{
			"fra-seed":                       {Seq: 1, RTTMs: 20, Path: "rawtcp", Endpoint: seedAddress},
			sites[1].address().String():      {Seq: 1, RTTMs: 40, Path: "relay", Endpoint: seedAddress, Via: "fra-seed"},
			seed.node.hello.ID.String()[:10]: {Seq: 1, RTTMs: 20, Path: "rawtcp", Endpoint: seedAddress},
		} {
			var got []control.PingReply
			err := source{sites[0].node}.Ping(context.Background(), to, 3, func(r control.PingReply) { got = append(got, r) })
			if err != nil || len(got) != 3 || got[0] != want || got[2].Seq != 3 {
				t.Errorf("ping %s: %v, %+v, want first %+v", to, err, got, want)
			}
		}
		if err := (source{sites[0].node}).Ping(context.Background(), "nobody", 1, func(control.PingReply) {}); err == nil {
			t.Error("a node that is not there answers")
		}
		sites[1].crash()
		var got []control.PingReply
		if err := (source{sites[0].node}).Ping(context.Background(), "site-3", 1, func(r control.PingReply) { got = append(got, r) }); err != nil || len(got) != 1 || !got[0].Lost || got[0].Reason == "" {
			t.Errorf("ping of a dead node: %v, %+v", err, got)
		}
	})
}

func TestAnnouncementsTooLargeForAPacketReachEverybody(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
		a := m.site(2, func(s *station) {
			for i := range 250 {
				s.cfg.Routes = append(s.cfg.Routes, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 20, byte(i), 0}), 24))
			}
		})
		b := m.site(3)
		m.reachAll(10*time.Second, seed, a, b)
		m.eventually(20*time.Second, "the last of many networks is known", func() bool { return b.route("172.20.249.0/24") == "site-2" })
		if !carries(b, "10.0.0.3", a, "172.20.249.7") {
			t.Error("packets do not pass")
		}
	})
}

func TestAStopBeforeAnythingWasReachedIsQuick(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		a := m.site(2) // there is no seed
		m.pass(10 * time.Second)
		if n := a.log.count("[WARN]", "the seed cannot be reached"); n != 1 {
			t.Errorf("it says %d times that the seed cannot be reached, want once", n)
		}
		began := time.Now()
		a.stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("the stop took %v", took)
		}
	})
}
