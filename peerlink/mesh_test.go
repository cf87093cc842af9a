package peerlink

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/peerlink/repair"
)

const seedAddr = "192.0.2.1:9000"

// pair starts a seed and a site and waits for their link.
func pair(n *internet) (seed, site *site) {
	n.t.Helper()
	seed = n.start("fra-seed", seedAddr, nil, nil)
	site = n.start("office", "192.0.2.2:1", []string{seedAddr}, nil)
	both(n.t, seed, site, 3*time.Second)
	return seed, site
}

func both(t *testing.T, a, b *site, limit time.Duration) time.Duration {
	t.Helper()
	return eventually(t, limit, a.name+" and "+b.name+" linked", func() bool {
		return a.link(b).State == Up && b.link(a).State == Up
	})
}

func expect(t *testing.T, at *site, text string) {
	t.Helper()
	select {
	case got := <-at.got:
		if string(got) != text {
			t.Fatalf("%s got %q, want %q", at.name, got, text)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%s got nothing, want %q; log: %v", at.name, text, at.log.lines)
	}
}

func TestASiteJoinsThroughItsSeedAndPacketsFlowBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		seed, site := pair(n)
		site.send(seed, "up")
		expect(t, seed, "up")
		seed.send(site, "down")
		expect(t, site, "down")
		pass(20 * time.Second)
		s := site.link(seed)
		if s.Path != "rawtcp" || s.Endpoint != seedAddr || s.Name != "fra-seed" || !s.Seed || s.MTU != 1350-29-repair.Room {
			t.Errorf("link shows %+v", s)
		}
		if s.RTT < 20*time.Millisecond || s.RTT > 25*time.Millisecond {
			t.Errorf("round trip %v over a path of 20ms", s.RTT)
		}
		if s.RxPackets == 0 || s.TxPackets == 0 && s.TxBytes != 0 {
			t.Errorf("counters %+v", s)
		}
	})
}

func TestAHandshakeSurvivesTheLossOfAnyOfItsMessages(t *testing.T) {
	for lost := range 10 {
		synctest.Test(t, func(t *testing.T) {
			n := newInternet(t)
			count := -1
			n.drop = dropNth(&count, lost)
			_, _ = pair(n)
		})
	}
}

func TestALinkStandsThirtyPercentOfLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		n.drop = dropShare(7, 0.3)
		seed := n.start("fra-seed", seedAddr, nil, nil)
		site := n.start("office", "192.0.2.2:1", []string{seedAddr}, nil)
		both(t, seed, site, 20*time.Second)
		for range 300 {
			pass(time.Second)
			for i := range 10 {
				site.send(seed, fmt.Sprint(i))
				seed.send(site, fmt.Sprint(i))
			}
		}
		if c := site.log.count("link is down"); c != 0 {
			t.Errorf("the link went down %d times", c)
		}
		if l := site.link(seed).Loss; l < 0.15 || l > 0.45 {
			t.Errorf("loss is estimated as %.2f", l)
		}
	})
}

func TestRekeyLosesNoPacketUnderReordering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		n.delay = reordering(3, 5*time.Millisecond, 60*time.Millisecond)
		seed, site := pair(n)
		first := site.link(seed).Handshake
		const packets = 60000 // 5 minutes, 200 a second each way
		for i := range packets {
			site.send(seed, fmt.Sprint("up", i))
			seed.send(site, fmt.Sprint("down", i))
			pass(5 * time.Millisecond)
			for len(site.got) > 4000 {
				<-site.got
			}
			for len(seed.got) > 4000 {
				<-seed.got
			}
		}
		pass(time.Second)
		s := site.link(seed)
		if age := s.Handshake.Sub(first); age < 2*DefaultRekey-10*time.Second {
			t.Errorf("the newest keys are only %v younger than the first", age)
		}
		up, down := seed.d.Peer(site.d.cfg.ID).rxPackets.Load(), site.d.Peer(seed.d.cfg.ID).rxPackets.Load()
		if up < packets || down < packets {
			t.Errorf("of %d packets each way %d and %d datagrams arrived", packets, up, down)
		}
		if s.Loss > 0.01 { // what is late at the moment of a report looks lost
			t.Errorf("loss %v on a network that loses nothing", s.Loss)
		}
	})
}

func TestARestartedSeedIsReachedAgainWithinSeconds(t *testing.T) {
	for _, traffic := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := newInternet(t)
			seed, site := pair(n)
			pass(30 * time.Second)
			seed.crash()
			again := n.start("fra-seed", seedAddr, nil, nil)
			began := time.Now()
			eventually(t, 12*time.Second, "linked again", func() bool {
				if traffic {
					site.send(again, "x")
				}
				return again.link(site).State == Up && site.link(again).State == Up
			})
			limit := 6500 * time.Millisecond // silent: half a keepalive, then the probes
			if traffic {
				limit = 5 * time.Second
			}
			if took := time.Since(began); took > limit {
				t.Errorf("traffic %v: it took %v", traffic, took)
			}
			eventually(t, 100*time.Millisecond, "packets arrive", func() bool {
				site.send(again, "fresh")
				for len(again.got) > 0 {
					if string(<-again.got) == "fresh" {
						return true
					}
				}
				return false
			})
		})
	}
}

func TestALinkThatPanickedIsBackByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		seed, site := pair(n)
		for _, s := range []*struct{ at, to *siteRef }{{&siteRef{site}, &siteRef{seed}}, {&siteRef{seed}, &siteRef{site}}} {
			pass(5 * time.Second)
			peer := s.at.d.Peer(s.to.d.cfg.ID)
			if err := s.at.root.Inject("links/"+linkName(peer), "injected"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			s.at.send(s.to.site, "after")
			expect(t, s.to.site, "after")
			both(t, seed, site, 2*time.Second)
			s.to.send(s.at.site, "back")
			expect(t, s.at.site, "back")
		}
	})
}

type siteRef struct{ *site }

func TestALeavingNodeSaysGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		seed, site := pair(n)
		site.stop()
		took := eventually(t, time.Second, "seed knows", func() bool { return seed.link(site).State == Down })
		if took > 100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

func TestTwoSeedsOfEachOtherSettleOnOneFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		const other = "192.0.2.2:9000"
		a := n.start("a", seedAddr, []string{other}, nil)
		b := n.start("b", other, []string{seedAddr}, nil)
		both(t, a, b, 3*time.Second)
		pass(time.Minute)
		before := a.link(b).Handshake
		n.mu.Lock()
		flows := n.ports
		n.mu.Unlock()
		pass(50 * time.Second)
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.ports != flows {
			t.Errorf("%d flows were dialled in an idle minute", n.ports-flows)
		}
		if !a.link(b).Handshake.Equal(before) {
			t.Error("handshakes go on although both are linked")
		}
		for i := range 20 {
			a.send(b, fmt.Sprint("ab", i))
			expect(t, b, fmt.Sprint("ab", i))
			b.send(a, fmt.Sprint("ba", i))
			expect(t, a, fmt.Sprint("ba", i))
		}
	})
}

func TestANodeThatIsItsOwnSeedSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		a := n.start("a", seedAddr, []string{seedAddr}, nil)
		pass(10 * time.Minute)
		if c := a.log.count("leave it out of the seeds"); c != 1 {
			t.Errorf("said %d times", c)
		}
		if len(a.d.Peers()) != 0 {
			t.Error("it is its own peer")
		}
	})
}
