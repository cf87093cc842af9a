package node

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/control"
	"github.com/openbmx/lightweight-tunnel/node/pump"
	"github.com/openbmx/lightweight-tunnel/node/simnet"
)

// alone keeps a station's gossip away from the mesh, as it would be that never
// gets a link.
func alone(s *station) { s.gossip = simnet.NewOverlay(2) }

func TestAWrongKeyIsSaidOnBothSidesAndHurtsNobody(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
		a := m.site(2)
		wrong := m.site(3, alone, func(s *station) { s.key = meshKey(t, "another mesh") })
		m.reach(10*time.Second, a, seed)
		m.pass(3 * time.Minute)
		for _, s := range []*station{seed, wrong} {
			if n := s.log.count("Decryption error (wrong key?)"); n != 1 {
				t.Errorf("%s says %d times that the key may be wrong, want once", s.cfg.Name, n)
			}
		}
		if _, ok := wrong.ping(seed.address(), time.Second); ok {
			t.Error("a node with the wrong key is in the mesh")
		}
		if peers := (source{wrong.node}).Peers().Peers; len(peers) != 0 {
			t.Errorf("a node with the wrong key knows of %d peers", len(peers))
		}
		status := source{wrong.node}.Status()
		if status.Healthy || !strings.Contains(fmt.Sprint(status.Problems), "no seed is reached") {
			t.Errorf("its status: %v", status.Problems)
		}
		if n := a.log.count("link is down"); n != 0 {
			t.Errorf("the good site lost its link %d times", n)
		}
		m.reach(time.Second, a, seed)
	})
}

func TestASecondNodeWithAnAddressIsRefusedNamingTheHolder(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
		a := m.site(2)
		m.reach(10*time.Second, a, seed)
		second := m.site(3, alone, func(s *station) { s.cfg.Addresses = a.cfg.Addresses })
		m.eventually(5*time.Second, "the second is told who holds the address", func() bool {
			return second.log.count("10.0.0.2 is taken by site-2") > 0
		})
		m.pass(2 * time.Minute)
		if n := second.log.count("[ERROR]", "is taken by"); n != 1 {
			t.Errorf("it says so %d times, want once", n)
		}
		if seed.peer(second).Name != "" && seed.peer(second).Link.State == control.Up {
			t.Error("the seed has a link to the second")
		}
		for range 10 {
			second.say(a.address(), seed.address(), "I am site-2")
			seed.say(seed.address(), a.address(), "for the first")
			if _, ok := a.hears("for the first", time.Second); !ok {
				t.Fatal("the first lost its traffic")
			}
		}
		if got := seed.heard(); len(got) > 0 {
			t.Errorf("the seed took %d packets of the second", len(got))
		}
		m.reach(time.Second, seed, a)
	})
}

func TestANodeThatLostItsIdentityIsTakenAgainByWhomForgetsTheOldOne(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
		site := m.site(2)
		m.reach(10*time.Second, site, seed)
		m.pass(10 * time.Second)
		seed.crash()
		if err := os.Remove(filepath.Join(seed.dir, "roster.json")); err != nil {
			t.Fatal(err)
		}
		seed.cfg.Name = "the disk of fra-seed is new"
		m.identify(seed)
		seed.cfg.Name = "fra-seed"
		seed.restart()
		roster := filepath.Join(site.dir, "roster.json")
		m.eventually(30*time.Second, "the site says what to do, and to which file", func() bool {
			return site.log.count("[ERROR]", "if fra-seed has lost its identity", "let site-2 forget the old one", "remove roster.json") > 0 &&
				site.log.count("node refused", "roster="+roster) > 0
		})
		if _, ok := site.ping(seed.address(), 5*time.Second); ok {
			t.Fatal("the new identity has the address already")
		}
		site.stop()
		if err := os.Remove(roster); err != nil {
			t.Fatal(err)
		}
		site.restart()
		m.reach(15*time.Second, site, seed)
	})
}

func TestASeedTakesNoMoreSitesThanItMay(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24", func(s *station) { s.cfg.MaxClients = 2 })
		a, b := m.site(2), m.site(3)
		m.reachAll(10*time.Second, seed, a, b)
		third := m.site(4, alone)
		m.eventually(5*time.Second, "the third is told why", func() bool { return third.log.count("mesh full", "--max-clients") > 0 })
		if _, ok := third.ping(seed.address(), 2*time.Second); ok {
			t.Error("the third is in")
		}
		m.pass(10 * time.Minute) // rekeys of those who are in count nobody twice
		m.reachAll(2*time.Second, seed, a, b)
		a.stop()
		m.eventually(8*time.Minute, "the third gets the place of one who left", func() bool {
			_, ok := third.ping(seed.address(), time.Second)
			return ok
		})
	})
}

func TestPacketsFromAddressesThatAreNotTheSendersAreDroppedAndCounted(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
		a, b := m.site(2), m.site(3)
		m.reachAll(10*time.Second, seed, a, b)
		for _, s := range []*station{seed, a, b} {
			s.heard() // what their own pings were told before there were links
		}
		const spoofed = 7
		for range spoofed {
			a.say(b.address(), seed.address(), "I am site-3")
			a.say(netip.MustParseAddr("10.0.0.77"), seed.address(), "I am nobody")
			a.say(seed.address(), b.address(), "I am the seed")
		}
		m.pass(time.Second)
		for s, want := range map[*station]uint64{seed: 2 * spoofed, b: spoofed} {
			if got := s.heard(); len(got) != 0 {
				t.Errorf("%s took %d spoofed packets", s.cfg.Name, len(got))
			}
			if n := s.drops(pump.SpoofedSource); n != want {
				t.Errorf("%s counts %d spoofed packets, want %d", s.cfg.Name, n, want)
			}
		}
	})
}
