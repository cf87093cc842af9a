package peerlink

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// acquaint makes every site know of every other, as gossip does.
func acquaint(all ...*site) {
	for _, a := range all {
		for _, b := range all {
			if a != b {
				meet(a, b)
			}
		}
	}
	synctest.Wait()
}

// chain is a line of nodes, each directly linked with its neighbours only.
func chain(n *internet, length int, change func(*Config)) []*site {
	n.t.Helper()
	var all []*site
	for i := range length {
		var seeds []string
		if i > 0 {
			seeds = []string{fmt.Sprintf("192.0.2.%d:9000", i)}
		}
		all = append(all, n.start(fmt.Sprint("node-", i+1), fmt.Sprintf("192.0.2.%d:9000", i+1), seeds, change))
		if i > 0 {
			both(n.t, all[i-1], all[i], 3*time.Second)
		}
	}
	acquaint(all...)
	return all
}

func TestNodesReachEachOtherThroughSeveralRelays(t *testing.T) {
	for _, length := range []int{3, 4, 5} {
		synctest.Test(t, func(t *testing.T) {
			n := newInternet(t)
			all := chain(n, length, nil)
			a, b := all[0], all[length-1]
			a.send(b, "there")
			began := time.Now()
			select {
			case got := <-b.got:
				if string(got) != "there" {
					t.Fatalf("got %q", got)
				}
			case <-time.After(15 * time.Second):
				t.Fatalf("nothing through %d relays; log of the sender: %v", length-2, a.log.lines)
			}
			t.Logf("through %d relays after %v", length-2, time.Since(began))
			b.send(a, "and back")
			expect(t, a, "and back")
			for i := range 50 {
				a.send(b, fmt.Sprint(i))
				expect(t, b, fmt.Sprint(i))
				b.send(a, fmt.Sprint(i))
				expect(t, a, fmt.Sprint(i))
				pass(100 * time.Millisecond)
			}
			if s := a.link(b); s.Path != "relay" || s.Via != "node-2" {
				t.Errorf("the link shows %q via %q", s.Path, s.Via)
			}
		})
	}
}

func TestThereAreNoMoreRelaysThanAllowed(t *testing.T) {
	for _, hops := range []uint8{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			n := newInternet(t)
			all := chain(n, 4, func(c *Config) { c.MaxHops = hops })
			a, b := all[0], all[3]
			a.send(b, "x")
			pass(20 * time.Second)
			if got := len(b.got) > 0; got != (hops == 2) {
				t.Errorf("with %d hops allowed it arrived: %v", hops, got)
			}
		})
	}
}

func TestARingOfStaleRelaysIsNoLoop(t *testing.T) {
	for _, hops := range []uint8{1, 2, 3, 200, 255} {
		synctest.Test(t, func(t *testing.T) {
			n := newInternet(t)
			addresses := []string{"192.0.2.1:9000", "192.0.2.2:9000", "192.0.2.3:9000"}
			var ring []*site
			for i, address := range addresses {
				ring = append(ring, n.start(fmt.Sprint("ring-", i), address, slices.Delete(slices.Clone(addresses), i, i+1), nil))
			}
			a := n.start("sender", "192.0.2.4:1", addresses[:1], nil)
			for i := range ring {
				both(t, ring[i], ring[(i+1)%3], 5*time.Second)
			}
			both(t, a, ring[0], 3*time.Second)
			pass(10 * time.Second)
			gone := message.NodeID{0xff, 1}
			for _, s := range append(ring, a) {
				s.d.Ref().Offer(message.Known{Advert: message.Advert{ID: gone, Name: "gone"}})
			}
			synctest.Wait()
			// Each believes that the next one reaches the node that is gone.
			believe := func() {
				for i, s := range ring {
					next := s.d.Peer(ring[(i+1)%3].d.cfg.ID)
					s.d.Peer(gone).onward.Store(&onward{via: next, rtt: time.Millisecond, hops: 1, at: time.Now()})
				}
			}
			var mu sync.Mutex
			passed := 0
			for _, s := range ring {
				s.seen = func([]byte) { mu.Lock(); passed++; mu.Unlock() }
			}
			believe()
			out := a.d.Peer(ring[0].d.cfg.ID).Outbound()
			train := packet.NewTrain()
			train.Reset(out.Path().Prefix())
			inner := make([]byte, 100)
			slot := train.Next(len(inner) + wire.RelayOverhead)
			out.SealRelay(slot, wire.Envelope{Dst: gone.Short(), Src: a.d.Self(), Hops: hops}, inner)
			if err := out.Path().Send(train); err != nil {
				t.Fatal(err)
			}
			pass(5 * time.Second)
			mu.Lock()
			defer mu.Unlock()
			if most := int(min(hops, DefaultMaxHops)); passed == 0 || passed > most {
				t.Errorf("hops %d: the datagram was at %d relays, at most %d may see it", hops, passed, most)
			}
		})
	}
}

func TestNothingGoesBackWhereItCameFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		all := chain(n, 3, nil)
		a, r, b := all[0], all[1], all[2]
		from, to := r.d.Peer(a.d.cfg.ID), r.d.Peer(b.d.cfg.ID)
		e := wire.Envelope{Dst: b.d.Self(), Src: a.d.Self(), Hops: 3}
		if out := r.d.Onward(e, from); out == nil || out.Peer() != to {
			t.Fatal("what is for a neighbour does not go there")
		}
		if out := r.d.Onward(e, to); out != nil {
			t.Error("it goes back to whom it is from")
		}
		gone := message.NodeID{0xff, 2}
		r.d.Ref().Offer(message.Known{Advert: message.Advert{ID: gone, Name: "gone"}})
		synctest.Wait()
		e.Dst = gone.Short()
		p := r.d.Peer(gone)
		p.onward.Store(&onward{via: to, hops: 1, at: time.Now()})
		p.behind.Store(to)
		if out := r.d.Onward(e, from); out == nil || out.Peer() != to {
			t.Error("the relay that says that it reaches the node is not used")
		}
		if out := r.d.Onward(e, to); out != nil {
			t.Error("it goes back to the relay that it came from")
		}
		p.onward.Store(&onward{via: from, hops: 1, at: time.Now()})
		if out := r.d.Onward(e, from); out == nil || out.Peer() != to {
			t.Error("the way back is not used if the better one is where it came from")
		}
		e.Hops = 1
		if r.d.Onward(e, from) != nil {
			t.Error("the last hop is spent on a relay")
		}
		p.onward.Store(nil)
		p.behind.Store(nil)
		if e.Hops = 3; r.d.Onward(e, from) != nil {
			t.Error("it goes nowhere in particular")
		}
	})
}

func TestARelayTellsOnlyOfWaysThatDoNotLeadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		all := chain(n, 3, nil)
		a, r, b := all[0], all[1], all[2]
		pa, pb, now := r.d.Peer(a.d.cfg.ID), r.d.Peer(b.d.cfg.ID), time.Now()
		ask := func(asker *Peer, node message.ShortID, hops uint8) wire.Reached {
			return r.d.reachOf(now, asker, wire.Reach{Node: node, Hops: hops})
		}
		if got := ask(pa, b.d.Self(), 1); got.Hops != 1 || got.RTT <= 0 {
			t.Errorf("of a neighbour it says %+v", got)
		}
		if got := ask(pb, b.d.Self(), 3); got.Hops != 0 {
			t.Errorf("to the node itself it says %+v", got)
		}
		if got := ask(pa, message.ShortID{1}, 3); got.Hops != 0 {
			t.Errorf("of a stranger it says %+v", got)
		}
		gone := message.NodeID{0xff, 3}
		r.d.Ref().Offer(message.Known{Advert: message.Advert{ID: gone, Name: "gone"}})
		synctest.Wait()
		p := r.d.Peer(gone)
		for _, c := range []struct {
			via   *Peer
			hops  uint8 // of the way
			asked uint8
			age   time.Duration
			want  uint8
		}{
			{pb, 1, 3, 0, 2}, {pb, 2, 3, 0, 3}, {pb, 3, 3, 0, 0}, {pb, 1, 1, 0, 0}, {pb, 2, 2, 0, 0},
			{pa, 1, 3, 0, 0}, {pb, 1, 3, reachFresh, 0}, {pb, 1, 255, 0, 2}, {pb, 5, 255, 0, 0}, {pb, 1, 0, 0, 0},
		} {
			p.onward.Store(&onward{via: c.via, rtt: time.Millisecond, hops: c.hops, at: now.Add(-c.age)})
			if got := ask(pa, gone.Short(), c.asked); got.Hops != c.want {
				t.Errorf("%+v: it says %d", c, got.Hops)
			}
		}
	})
}

func TestIdleRelayedLinksAskNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		_, a, b := star(n, nil)
		a.send(b, "once")
		expect(t, b, "once")
		pass(time.Minute)
		asked := func() (n int) {
			for _, s := range []*site{a, b} {
				for _, p := range s.d.Peers() {
					if all := p.reaches.Load(); all != nil {
						for _, r := range *all {
							n += int(r.at.UnixNano() % 1e9)
							n += int(r.at.Unix())
						}
					}
				}
			}
			return n
		}
		before := asked()
		if before == 0 {
			t.Fatal("nobody was ever asked")
		}
		pass(3 * time.Minute)
		if asked() != before {
			t.Error("relays are asked although there is no traffic")
		}
	})
}
