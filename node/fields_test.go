package node

import (
	"testing"
	"time"
)

func TestASeedThatTakesNoSecondClientSaysSo(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24", func(s *station) { s.cfg.MultiClient = false })
		first := m.site(2)
		m.reach(10*time.Second, first, seed)
		second := m.site(3, alone)
		m.eventually(5*time.Second, "the second is told why", func() bool { return second.log.count("mesh full") > 0 })
		if _, ok := second.ping(seed.address(), 2*time.Second); ok {
			t.Error("the second is in")
		}
	})
}

func TestASeedWithoutMeshRoutingRelaysForNobody(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24", func(s *station) { s.cfg.MeshRouting = false })
		a, b := m.site(2), m.site(3)
		m.reach(10*time.Second, a, seed)
		m.reach(10*time.Second, b, seed)
		m.pass(15 * time.Second) // long enough for gossip to tell them of each other
		if state := a.peer(b).State; state != "alive" {
			t.Errorf("a sees b as %q", state)
		}
		for range 5 {
			if _, ok := a.ping(b.address(), 500*time.Millisecond); ok {
				t.Fatal("a packet was relayed")
			}
		}
		m.reach(time.Second, a, seed)
	})
}
