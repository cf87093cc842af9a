package peerlink

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/peerlink/repair"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// star is a seed with two sites that know of each other only through gossip.
func star(n *internet, change func(*Config)) (seed, a, b *site) {
	n.t.Helper()
	seed = n.start("fra-seed", seedAddr, nil, change)
	noRelay := func(c *Config) { c.Relay = false }
	a = n.start("office", "192.0.2.2:1", []string{seedAddr}, noRelay)
	b = n.start("nas", "192.0.2.3:1", []string{seedAddr}, noRelay)
	both(n.t, seed, a, 3*time.Second)
	both(n.t, seed, b, 3*time.Second)
	meet(a, b)
	meet(b, a)
	synctest.Wait()
	return seed, a, b
}

func meet(at, other *site) {
	at.d.Ref().Offer(message.Known{Advert: message.Advert{ID: other.d.cfg.ID, Name: other.name}})
}

func TestSitesReachEachOtherThroughTheSeedWhichCannotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		seed, a, b := star(n, nil)
		var mu sync.Mutex
		var relayed [][]byte
		seed.seen = func(inner []byte) {
			mu.Lock()
			defer mu.Unlock()
			relayed = append(relayed, bytes.Clone(inner))
		}
		const secret = "the secret between two sites"
		a.send(b, secret)
		expect(t, b, secret)
		b.send(a, "answer")
		expect(t, a, "answer")
		s := a.link(b)
		if s.Path != "relay" || s.Via != "fra-seed" || s.MTU != 1350-46-29-repair.Room || s.WhyNotDirect == "" {
			t.Errorf("link shows %+v", s)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(relayed) < 5 {
			t.Fatalf("the seed relayed %d datagrams", len(relayed))
		}
		opened := 0
		for _, inner := range relayed {
			if bytes.Contains(inner, []byte(secret)) {
				t.Fatal("the content is readable on the relay")
			}
			// All that the seed has: the mesh's keys and its own session keys.
			for _, slot := range *seed.d.sessions.slots.Load() {
				if slot.inbound == nil {
					continue
				}
				c := bytes.Clone(inner)
				h, err := seed.d.Unmask(c)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := wire.Open(nil, slot.inbound.aead, h, c); err == nil {
					opened++
				}
			}
		}
		if opened != 0 {
			t.Errorf("the seed opened %d datagrams", opened)
		}
	})
}

func TestBothSitesBeginningAtOnceConverge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		_, a, b := star(n, nil)
		a.send(b, "from a")
		b.send(a, "from b")
		expect(t, b, "from a")
		expect(t, a, "from b")
		both(t, a, b, time.Second)
		pass(2 * time.Second)
		first, other := a.link(b).Handshake, b.link(a).Handshake
		pass(100 * time.Second)
		if !a.link(b).Handshake.Equal(first) || !b.link(a).Handshake.Equal(other) {
			t.Error("handshakes go on although both are linked")
		}
		for i := range 10 {
			a.send(b, fmt.Sprint(i))
			expect(t, b, fmt.Sprint(i))
			b.send(a, fmt.Sprint(i))
			expect(t, a, fmt.Sprint(i))
		}
	})
}

func TestARelayedLinkComesBackWhenTheSeedWasRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		seed, a, b := star(n, nil)
		a.send(b, "before")
		expect(t, b, "before")
		pass(10 * time.Second)
		seed.crash()
		n.start("fra-seed", seedAddr, nil, nil)
		began := time.Now()
		i := 0
		eventually(t, 20*time.Second, "packets pass again", func() bool {
			i++
			a.send(b, fmt.Sprint("a", i))
			b.send(a, fmt.Sprint("b", i))
			return len(a.got) > 0 && len(b.got) > 0
		})
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestClientIsolationForwardsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		seed, a, b := star(n, func(c *Config) { c.ClientIsolation = true })
		a.send(b, "no")
		pass(20 * time.Second)
		if len(b.got) != 0 || a.link(b).State == Up {
			t.Error("isolated sites reach each other")
		}
		a.send(seed, "yes")
		expect(t, seed, "yes")
	})
}

func TestANodeThatDoesNotRelayIsNotChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		_, a, b := star(n, func(c *Config) { c.Relay = false })
		a.send(b, "no")
		pass(20 * time.Second)
		if s := a.link(b); s.State != Down || s.Path != "" {
			t.Errorf("link shows %+v", s)
		}
	})
}

func TestPingNamesThePathAndEndsWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		seed, a, b := star(n, nil)
		ask := func(of *site) PingResult {
			got := make(chan PingResult, 2)
			a.d.Ping(context.Background(), of.d.cfg.ID, func(r PingResult) { got <- r })
			return <-got
		}
		if r := ask(seed); r.Err != nil || r.Path != "rawtcp" || r.Endpoint != seedAddr || r.RTT != 20*time.Millisecond {
			t.Errorf("ping of the seed: %+v", r)
		}
		if r := ask(b); r.Err != nil || r.Path != "relay" || r.Via != "fra-seed" || r.RTT != 40*time.Millisecond {
			t.Errorf("ping of the other site: %+v", r)
		}
		b.crash()
		if r := ask(b); r.Err == nil {
			t.Errorf("ping of a dead site: %+v", r)
		}
		stranger := n.start("stranger", "192.0.2.9:1", nil, nil)
		if r := ask(stranger); r.Err == nil {
			t.Errorf("ping of a stranger: %+v", r)
		}
	})
}
