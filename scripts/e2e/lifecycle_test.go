package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

func TestARestartedSeedHasItsSitesBackInFiveSeconds(t *testing.T) {
	for _, how := range []string{"killed", "stopped"} {
		t.Run(how, func(t *testing.T) {
			m := newMesh(t, plain(t), lab.StarConfig{Sites: 2})
			seed := m.seed()
			m.site(1)
			m.site(2)
			m.everyPairReaches()
			if how == "killed" {
				must(t, seed.Kill())
			} else {
				_, err := seed.Stop(m.within(2 * time.Second))
				must(t, err)
			}
			began := time.Now()
			m.start(m.Server, "seed-again", lab.NodeConfig{StateDir: seed.StateDir, Args: m.args("seed", 1, "--listen", "0.0.0.0:9000")})
			ctx := m.within(5 * time.Second)
			for i, site := range m.Sites {
				must(t, site.Reaches(ctx, ip4(1)))
				must(t, site.Reaches(ctx, ip4(3-i)))
				must(t, m.Server.Reaches(ctx, ip4(i+2)))
			}
			t.Logf("back in %s", time.Since(began).Round(10*time.Millisecond))
			_, err := lab.Transfer(m.ctx, m.Sites[0].Namespace, m.Sites[1].Namespace, ip4(3), 4<<20)
			must(t, err)
		})
	}
}

// What a node must leave as it found it, with the guard that it prefers and
// with the one for kernels without eBPF.
func TestACleanStopLeavesTheHostAsItWas(t *testing.T) {
	for _, xdp := range []string{"true", "false"} {
		t.Run("xdp "+xdp, func(t *testing.T) {
			m := newMesh(t, plain(t), lab.StarConfig{Sites: 1, LANs: true})
			before := m.snapshots()
			seed := m.seed("-xdp="+xdp, "-routes", "10.200.0.0/24")
			site := m.site(1, "-xdp="+xdp, "-routes", m.Sites[0].LAN4)
			m.everyPairReaches()
			for _, node := range []*lab.Node{site, seed} {
				took, err := node.Stop(m.within(3 * time.Second))
				must(t, err)
				if took > time.Second {
					t.Errorf("a clean stop took %s", took)
				}
				if code := node.ExitCode(); code != 0 {
					t.Errorf("a clean stop ended with exit code %d", code)
				}
			}
			m.unchangedSince(before)
		})
	}
}

func TestAKilledNodeStartsAgainAndLeavesNothing(t *testing.T) {
	for _, xdp := range []string{"true", "false"} {
		t.Run("xdp "+xdp, func(t *testing.T) {
			m := newMesh(t, plain(t), lab.StarConfig{Sites: 1, LANs: true})
			before := m.snapshots()
			seed := m.seed("-xdp="+xdp, "-routes", "10.200.0.0/24")
			site := m.site(1, "-xdp="+xdp, "-routes", m.Sites[0].LAN4)
			m.everyPairReaches()
			must(t, site.Kill())
			must(t, seed.Kill())
			seed = m.start(m.Server, "seed-again", lab.NodeConfig{StateDir: seed.StateDir,
				Args: m.args("seed", 1, "--listen", "0.0.0.0:9000", "-xdp="+xdp, "-routes", "10.200.0.0/24")})
			site = m.start(m.Sites[0].Namespace, "site1-again", lab.NodeConfig{StateDir: site.StateDir,
				Args: m.args("site1", 2, "--seed", lab.ServerIPv4+":9000", "-xdp="+xdp, "-routes", m.Sites[0].LAN4)})
			m.everyPairReaches()
			for _, node := range []*lab.Node{site, seed} {
				_, err := node.Stop(m.within(3 * time.Second))
				must(t, err)
			}
			m.unchangedSince(before)
		})
	}
}

func TestLeavingAndDyingAreSeenByAll(t *testing.T) {
	m := newMesh(t, raced(t), lab.StarConfig{Sites: 3})
	watchers := []*lab.Node{m.seed(), m.site(1)}
	leaver := m.site(2, "-routes", "10.202.0.0/24")
	victim := m.site(3, "-routes", "10.203.0.0/24")
	for _, w := range watchers {
		must(t, w.Up(m.ctx, "site3"))
		must(t, m.routed(w, "10.202.0.0/24", "site2"))
		must(t, m.routed(w, "10.203.0.0/24", "site3"))
	}
	_, err := leaver.Ask(m.ctx, "leave")
	must(t, err)
	must(t, leaver.Wait(m.within(5*time.Second)))
	for _, w := range watchers {
		must(t, m.hasState(w, "site2", "left"))
		must(t, m.routed(w, "10.202.0.0/24", ""))
		must(t, m.routed(w, "10.203.0.0/24", "site3")) // the leaver took its own routes alone
	}
	must(t, victim.Kill())
	for _, w := range watchers {
		must(t, m.hasState(w, "site3", "dead"))
		must(t, m.routed(w, "10.203.0.0/24", ""))
	}
}

func (m *mesh) hasState(node *lab.Node, peer, state string) error {
	return lab.Until(m.ctx, peer+" is seen as "+state, func() error {
		peers, err := node.Peers(m.ctx)
		if err != nil {
			return err
		}
		for _, p := range peers.Peers {
			if p.Name == peer && p.State == state {
				return nil
			}
		}
		return fmt.Errorf("the peers are %+v", peers.Peers)
	})
}

// routed waits until a prefix is installed at a node and leads to a holder, or
// to nobody ("").
func (m *mesh) routed(node *lab.Node, prefix, holder string) error {
	return lab.Until(m.ctx, fmt.Sprintf("%s leads to %q", prefix, holder), func() error {
		found, err := m.installed(node, prefix)
		if err == nil && found != holder {
			err = fmt.Errorf("it leads to %q", found)
		}
		return err
	})
}

// installed says to whom a prefix leads now at a node; to nobody is "".
func (m *mesh) installed(node *lab.Node, prefix string) (holder string, err error) {
	routes, err := node.Routes(m.ctx)
	for _, r := range routes.Routes {
		if r.Prefix == prefix && r.Installed {
			holder = r.Node
		}
	}
	return holder, err
}

func (m *mesh) snapshots() []lab.Snapshot {
	var all []lab.Snapshot
	for _, host := range m.hosts() {
		s, err := host.Snapshot(m.ctx)
		must(m.t, err)
		all = append(all, s)
	}
	return all
}

func (m *mesh) unchangedSince(before []lab.Snapshot) {
	m.t.Helper()
	for i, after := range m.snapshots() {
		if diff := before[i].Diff(after); diff != "" {
			m.t.Errorf("%s is not as it was:\n%s", m.hosts()[i].Role, diff)
		}
	}
}
