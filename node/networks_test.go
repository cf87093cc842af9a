package node

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/control"
	"github.com/openbmx/lightweight-tunnel/node/pump"
)

// behind gives a station networks to announce.
func behind(prefixes ...string) func(*station) {
	return func(s *station) {
		for _, p := range prefixes {
			s.cfg.Routes = append(s.cfg.Routes, netip.MustParsePrefix(p))
		}
	}
}

// route is who has a prefix in the eyes of s; empty: nobody.
func (s *station) route(prefix string) string {
	for _, r := range (source{s.node}).Routes().Routes {
		if r.Prefix == prefix && r.Installed {
			return r.Node
		}
	}
	return ""
}

// carries sends a packet from a host behind a to one behind b and says whether
// it comes out there.
func carries(a *station, src string, b *station, dst string) bool {
	text := src + " to " + dst
	a.say(netip.MustParseAddr(src), netip.MustParseAddr(dst), text)
	p, ok := b.hears(text, time.Second)
	return ok && p.src.String() == src && p.dst.String() == dst
}

func TestNetworksBehindTwoSitesReachEachOther(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
		a, b := m.site(2, behind("192.168.50.0/24", "fd50::/64")), m.site(3, behind("192.168.60.0/24", "fd60::/64"))
		m.reachAll(10*time.Second, seed, a, b)
		m.eventually(10*time.Second, "both networks are known to all", func() bool {
			return a.route("192.168.60.0/24") == "site-3" && b.route("192.168.50.0/24") == "site-2" &&
				seed.route("192.168.50.0/24") == "site-2" && seed.route("192.168.60.0/24") == "site-3"
		})
		for range 3 {
			for _, c := range []struct {
				from, to *station
				src, dst string
			}{
				{a, b, "192.168.50.7", "192.168.60.8"}, {b, a, "192.168.60.8", "192.168.50.7"},
				{a, b, "fd50::7", "fd60::8"}, {b, a, "fd60::8", "fd50::7"},
				{a, b, "10.0.0.2", "192.168.60.8"}, {b, a, "192.168.60.8", "10.0.0.2"},
				{seed, a, "10.0.0.1", "192.168.50.9"}, {a, seed, "192.168.50.9", "10.0.0.1"},
			} {
				if !carries(c.from, c.src, c.to, c.dst) {
					t.Errorf("%s to %s does not pass from %s to %s", c.src, c.dst, c.from.cfg.Name, c.to.cfg.Name)
				}
			}
		}
		if carries(a, "192.168.60.8", b, "192.168.60.9") || carries(a, "192.168.70.1", b, "192.168.60.8") {
			t.Error("a packet from a network that is not the sender's was believed")
		}
		if n := b.drops(pump.SpoofedSource); n == 0 {
			t.Error("it is not counted")
		}
	})
}

func TestALeavingNodeTakesOnlyItsOwnNetworksAway(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24", behind("192.168.40.0/24"))
		a, b, c := m.site(2, behind("192.168.50.0/24")), m.site(3, behind("192.168.60.0/24")), m.site(4)
		m.reachAll(10*time.Second, seed, a, b, c)
		m.eventually(10*time.Second, "all networks are known", func() bool {
			return c.route("192.168.40.0/24") != "" && c.route("192.168.50.0/24") != "" && c.route("192.168.60.0/24") != ""
		})
		lost := 0
		a.stop()
		for range 100 {
			if !carries(c, "10.0.0.4", b, "192.168.60.1") {
				lost++
			}
			if c.route("192.168.60.0/24") != "site-3" || c.route("192.168.40.0/24") != "fra-seed" {
				t.Fatal("networks of others went with the leaving node")
			}
		}
		if lost > 0 {
			t.Errorf("%d packets of others were lost when a node left", lost)
		}
		if r := c.route("192.168.50.0/24"); r != "" {
			t.Errorf("the network of the node that left is still at %q", r)
		}
	})
}

func TestAnotherNodeTakesOverANetworkWhenItsHolderDies(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		const lan = "192.168.50.0/24"
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
		a, b, c := m.site(2, behind(lan)), m.site(3, behind(lan)), m.site(4)
		m.reachAll(10*time.Second, seed, a, b, c)
		m.eventually(10*time.Second, "both announcements are known", func() bool {
			n := 0
			for _, r := range (source{c.node}).Routes().Routes {
				if r.Prefix == lan {
					n++
				}
			}
			return n == 2 && c.route(lan) != ""
		})
		holder, other := a, b
		if c.route(lan) != "site-2" {
			holder, other = b, a
		}
		if !carries(c, "10.0.0.4", holder, "192.168.50.1") {
			t.Fatal("the network is not reached")
		}
		for _, r := range (source{c.node}).Routes().Routes {
			if r.Prefix == lan && r.Node == other.cfg.Name && (r.Installed || !strings.Contains(r.Why, "standby")) {
				t.Errorf("the other one is shown as %+v", r)
			}
		}
		holder.crash()
		took := m.eventually(20*time.Second, "the other one takes over", func() bool { return carries(c, "10.0.0.4", other, "192.168.50.1") })
		t.Logf("taken over after %v", took)
		if took > 8*time.Second {
			t.Errorf("under traffic it took %v", took)
		}
		// Both ways: the answers come from a network that the other one announces.
		if !carries(other, "192.168.50.1", c, "10.0.0.4") {
			t.Error("no answer from behind the one that took over")
		}
		holder.restart()
		m.eventually(20*time.Second, "it is alive again", func() bool { return c.peer(holder).State == control.Alive })
		if !carries(c, "10.0.0.4", other, "192.168.50.1") {
			t.Error("the network moved back at once")
		}
	})
}
