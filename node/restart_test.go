package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/gossip"
	"github.com/openbmx/lightweight-tunnel/node/control"
	"github.com/openbmx/lightweight-tunnel/node/simnet"
)

// star starts a seed and n sites that all reach each other.
func (m *mesh) star(n int, change ...func(*station)) (seed *station, sites []*station) {
	m.t.Helper()
	seed = m.seed("fra-seed", seedAddress, "10.0.0.1/24")
	sites = m.sites(n, change...)
	m.reachAll(15*time.Second, append(sites, seed)...)
	return seed, sites
}

// within says that every pair reached each other again in time.
func (m *mesh) within(limit time.Duration, all ...*station) time.Duration {
	m.t.Helper()
	began := time.Now()
	m.reachAll(limit, all...)
	return time.Since(began)
}

func TestSitesAreBackWithinSecondsAfterTheSeedWasRestarted(t *testing.T) {
	for _, how := range []string{"stopped", "crashed"} {
		for _, down := range []time.Duration{0, 3 * time.Second, time.Minute, 10 * time.Minute} {
			t.Run(fmt.Sprint(how, " for ", down), func(t *testing.T) {
				inMesh(t, func(t *testing.T, m *mesh) {
					seed, sites := m.star(3)
					m.pass(20 * time.Second)
					if how == "stopped" {
						seed.stop()
					} else {
						seed.crash()
					}
					m.pass(down)
					seed.restart()
					t.Logf("back after %v", m.within(5*time.Second, append(sites, seed)...))
				})
			})
		}
	}
}

func TestIdleSitesComeBackToARestartedSeedByThemselves(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed, sites := m.star(2)
		m.pass(time.Minute)
		seed.crash()
		seed.restart()
		m.eventually(8*time.Second, "all links to the seed are up without any traffic", func() bool {
			for _, s := range sites {
				if seed.peer(s).Link.State != control.Up {
					return false
				}
			}
			return true
		})
	})
}

func TestACrashedSiteComesBackUnderItsIdentity(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed, sites := m.star(3)
		a := sites[0]
		id := a.node.hello.ID
		a.crash()
		m.reach(3*time.Second, sites[1], sites[2])
		m.eventually(30*time.Second, "gossip gives it up", func() bool { return seed.peer(a).State == control.Dead })
		a.restart()
		if a.node.hello.ID != id {
			t.Fatal("it has another identity")
		}
		m.within(8*time.Second, append(sites, seed)...)
		m.eventually(10*time.Second, "gossip sees it alive", func() bool { return seed.peer(a).State == control.Alive })
	})
}

func TestASiteThatRestartsAtOnceIsReachedAtOnce(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed, sites := m.star(3)
		sites[0].crash()
		sites[0].restart()
		m.within(6*time.Second, append(sites, seed)...)
	})
}

func TestAStopTakesLessThanASecondAndAllSeeItAtOnce(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		_, sites := m.star(4)
		began := time.Now()
		sites[0].stop()
		if took := time.Since(began); took >= time.Second {
			t.Errorf("the stop took %v", took)
		}
		m.pass(2*time.Second - time.Since(began))
		for _, s := range sites[1:] {
			if state := s.peer(sites[0]).State; state != string(gossip.Left) {
				t.Errorf("%s sees the one that left as %q", s.cfg.Name, state)
			}
		}
	})
}

func TestTheCommandToLeaveEndsTheNode(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		_, sites := m.star(2)
		if err := (source{sites[0].node}).Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-sites[0].ended:
		case <-time.After(time.Second):
			t.Fatal("it still runs")
		}
		m.eventually(2*time.Second, "the other site sees it", func() bool { return sites[1].peer(sites[0]).State == control.Left })
	})
}

func TestTrafficComesBackWhenABlackholeHeals(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed, sites := m.star(3)
		a := sites[0]
		m.net.Blackhole(seed.host, a.host, true)
		m.eventually(6*time.Second, "the link is seen to be dead under traffic", func() bool {
			a.ping(seed.address(), 100*time.Millisecond)
			return a.peer(seed).Link.State != control.Up
		})
		m.pass(5 * time.Second)
		m.reach(time.Second, sites[1], sites[2])
		m.net.Blackhole(seed.host, a.host, false)
		t.Logf("back after %v", m.within(12*time.Second, append(sites, seed)...))
	})
}

func TestALineThatIsBlackForAMomentCostsNoLink(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed, sites := m.star(2)
		m.net.Blackhole(seed.host, sites[0].host, true)
		m.pass(2 * time.Second)
		m.net.Blackhole(seed.host, sites[0].host, false)
		m.within(time.Second, append(sites, seed)...)
		for _, s := range append(sites, seed) {
			if n := s.log.count("link is down"); n != 0 {
				t.Errorf("%s lost its link %d times", s.cfg.Name, n)
			}
		}
	})
}

func TestASiteWhoseAddressChangesIsBackInSeconds(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed, sites := m.star(2)
		sites[0].router.SetOutside("198.51.100.200") // its provider's idea of a good night
		t.Logf("new outside address: back after %v", m.within(12*time.Second, append(sites, seed)...))
		sites[0].host.SetAddrs("192.168.2.99") // and now its own router's
		t.Logf("new inside address: back after %v", m.within(12*time.Second, append(sites, seed)...))
	})
}

func TestARouterThatForgetsItsMappingsCostsSeconds(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed, sites := m.star(2)
		sites[0].router.Reboot()
		m.within(8*time.Second, append(sites, seed)...)
	})
}

func TestAMeshFormsAndHoldsOnLinesThatLoseThirtyPercent(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		m.net.SetDefault(simnet.Link{Delay: 20 * time.Millisecond, Loss: 0.3, Reorder: 0.05, Duplicate: 0.05})
		m.overlay.SetLine(simnet.Link{Delay: 20 * time.Millisecond, Loss: 0.3})
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
		all := append(m.sites(3), seed)
		m.reachAll(3*time.Minute, all...) // two lines and a relay lose half of each try
		lost := func(s *station) int { return s.log.count("link is down", "peer=fra-seed") }
		before := map[*station]int{}
		for _, s := range all[:3] {
			before[s] = lost(s)
		}
		for range 80 {
			for _, s := range all[:3] {
				s.say(s.address(), seed.address(), "still there")
				seed.say(seed.address(), s.address(), "still there")
			}
			m.pass(250 * time.Millisecond)
		}
		for _, s := range all[:3] {
			if n := lost(s) - before[s]; n != 0 {
				t.Errorf("%s lost the link to its seed %d times under traffic", s.cfg.Name, n)
			}
		}
		if got := len(seed.heard()); got < 130 {
			t.Errorf("of 240 packets only %d arrived", got)
		}
	})
}
