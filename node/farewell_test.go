package node

import (
	"strings"
	"testing"
	"time"
)

// The others close their links when they hear of a goodbye; a node that dials
// then comes back to go at once.
func TestANodeThatSaidGoodbyeDoesNotComeBackBeforeItEnds(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed, sites := m.star(2)
		m.pass(10 * time.Second)
		before := seed.log.count("link is up")
		sites[0].stop()
		m.pass(5 * time.Second)
		if again := seed.log.count("link is up") - before; again != 0 {
			t.Errorf("the seed saw the one that left come up %d more times", again)
		}
	})
}

func TestStatusSaysWhyNoSeedIsReached(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
		taken := m.site(2)
		m.reach(10*time.Second, taken, seed)
		says := func(s *station, words string) {
			t.Helper()
			problems := ""
			m.eventually(10*time.Second, s.cfg.Name+"'s status says "+words, func() bool {
				problems = strings.Join((source{s.node}).Status().Problems, "\n")
				return strings.Contains(problems, "no seed is reached: "+seedAddress+": ") && strings.Contains(problems, words)
			})
		}
		second := m.site(3, alone, func(s *station) { s.cfg.Addresses = taken.cfg.Addresses })
		says(second, "address 10.0.0.2 is taken by site-2")
		claimant := m.site(4, alone, func(s *station) { s.cfg.Addresses = seed.cfg.Addresses })
		says(claimant, "10.0.0.1 is the own address of site-4")
		says(claimant, seed.node.hello.ID.Brief()+" has it too: choose another --address")
		stranger := m.site(5, alone, func(s *station) { s.key = meshKey(t, "some other mesh") })
		says(stranger, "wrong key?")

		seed.stop()
		says(taken, "refused")
		seed.restart()
		m.reach(10*time.Second, taken, seed)
		if status := (source{taken.node}).Status(); !status.Healthy {
			t.Errorf("with the seed back: %v", status.Problems)
		}
	})
}

// A seed that was named at run time counts like one of the configuration.
func TestStatusSpeaksOfSeedsThatWereJoinedAtRunTime(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		lone := m.seed("ams-seed", seedAddress, "10.0.0.100/24")
		if status := (source{lone.node}).Status(); !status.Healthy {
			t.Fatalf("alone it is unwell: %v", status.Problems)
		}
		if err := (source{lone.node}).Join(t.Context(), "203.0.113.77:9000"); err != nil {
			t.Fatal(err)
		}
		m.eventually(10*time.Second, "the status names the seed that does not answer", func() bool {
			return strings.Contains(strings.Join((source{lone.node}).Status().Problems, "\n"), "no seed is reached: 203.0.113.77:9000: ")
		})
	})
}
