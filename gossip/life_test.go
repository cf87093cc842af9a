package gossip

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

func TestLeavingNodeTakesOnlyItsOwnRoutesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 5)
		defer m.stop()
		m.star()
		m.allSee(settled, m.nodes...)
		x := m.nodes[2]
		told := make([]map[message.NodeID]message.Advert, len(m.nodes))
		for i, y := range m.nodes {
			told[i] = map[message.NodeID]message.Advert{}
			table(told[i], drain(y.routes))
			drain(y.peers)
		}
		reply, answer := newReply()
		begin := time.Now()
		x.box.Ref().Offer(message.Leave{Reply: reply})
		if err := <-answer; err != nil || time.Since(begin) > 900*time.Millisecond {
			t.Fatalf("%v after %v", err, time.Since(begin))
		}
		x.stop()
		within(t, 2*time.Second, "all know that it left", func() bool {
			for _, y := range m.nodes {
				if y != x && y.sees(x.id).State != Left {
					return false
				}
			}
			return true
		})
		<-time.After(time.Minute)
		synctest.Wait()
		for i, y := range m.nodes {
			if y == x {
				continue
			}
			table(told[i], drain(y.routes))
			if _, there := told[i][x.id]; there || len(told[i]) != 3 {
				t.Fatalf("%s has routes of %d nodes", y.config.Self.Name, len(told[i]))
			}
			if got := drain(y.peers); len(got) != 1 || got[0] != (message.Forgotten{Node: x.id, Left: true}) {
				t.Fatalf("peers were told %+v", got)
			}
			if s := y.sees(x.id).State; s != Left {
				t.Fatalf("a minute later it is %s", s)
			}
		}
	})
}

func TestNodeThatDiesIsSuspectedThenDeadAndNotLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 4)
		defer m.stop()
		m.star()
		m.allSee(settled, m.nodes...)
		x := m.nodes[3]
		x.stop() // without a word
		suspected := within(t, 20*time.Second, "somebody suspects it", func() bool {
			for _, y := range m.nodes[:3] {
				if y.sees(x.id).State == Suspect {
					return true
				}
			}
			return false
		})
		died := within(t, 30*time.Second, "all take it for dead", func() bool {
			for _, y := range m.nodes[:3] {
				if y.sees(x.id).State != Dead {
					return false
				}
			}
			return true
		})
		t.Logf("suspected after %v, dead %v later", suspected, died)
		for _, y := range m.nodes[:3] {
			told := map[message.NodeID]message.Advert{}
			table(told, drain(y.routes))
			if _, there := told[x.id]; there || len(told) != 2 {
				t.Fatalf("routes know %d nodes", len(told))
			}
			all := drain(y.peers)
			if last := all[len(all)-1]; last != (message.Forgotten{Node: x.id}) {
				t.Fatalf("peers were told %+v", last)
			}
		}
		// It comes back as itself.
		x.start()
		link(x, m.nodes[0])
		t.Logf("back after %v", m.allSee(settled, m.nodes...))
	})
}

func TestRestartedNodeIsTakenAtOnce(t *testing.T) {
	for _, moved := range []bool{false, true} {
		t.Run(fmt.Sprintf("moved=%v", moved), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMesh(t, 4)
				defer m.stop()
				m.star()
				m.allSee(settled, m.nodes...)
				old := m.nodes[3]
				old.stop()
				<-time.After(time.Second)
				self := template(4)
				self.NAT = "second run"
				if moved {
					self.Addresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.44/24")}
				}
				x := m.prepare(4, self)
				x.start()
				m.nodes[3] = x
				link(x, m.nodes[0])
				took := within(t, settled, "all see the second run", func() bool {
					for _, y := range m.nodes[:3] {
						if n := y.sees(x.id); n.NAT != "second run" || n.State != Alive || n.Addresses[0] != self.Addresses[0] {
							return false
						}
					}
					return len(x.config.Board.View().Nodes) == 3
				})
				t.Logf("after %v", took)
				<-time.After(2 * time.Minute) // the old member, if any, is given up by now
				synctest.Wait()
				for _, y := range m.nodes[:3] {
					for _, msg := range drain(y.routes) {
						if w, gone := msg.(message.Withdrawn); gone {
							t.Fatalf("withdrawn: %+v", w)
						}
					}
				}
				m.allSee(0, m.nodes...)
			})
		})
	}
}

func TestPartitionHealsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 6)
		defer m.stop()
		m.star()
		m.allSee(settled, m.nodes...)
		east := func(a netip.Addr) bool { return a.As4()[3] > 3 }
		m.net.set(func() { m.net.cut = func(a, b netip.Addr) bool { return east(a) != east(b) } })
		within(t, time.Minute, "each side gives the other up", func() bool {
			for _, x := range m.nodes {
				for _, y := range m.nodes {
					if east(x.config.Bind) != east(y.config.Bind) && x.sees(y.id).State != Dead {
						return false
					}
				}
			}
			return true
		})
		m.nodes[4].publish(func(a *message.Advert) { a.NAT = "while apart" })
		<-time.After(5 * time.Minute) // until memberlist has forgotten the other side
		m.net.set(func() { m.net.cut = nil })
		t.Logf("healed after %v", m.allSee(90*time.Second, m.nodes...))
		within(t, 40*time.Second, "news of that time arrives", func() bool { return m.nodes[1].sees(m.nodes[4].id).NAT == "while apart" })
	})
}

func TestMeshOutlivesItsSeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 4)
		defer m.stop()
		m.star()
		m.allSee(settled, m.nodes...)
		m.nodes[0].stop()
		<-time.After(time.Minute)
		late := m.add(5)
		link(late, m.nodes[2])
		m.allSee(settled, m.nodes[1:]...)
		m.nodes[0].start()
		link(m.nodes[0], m.nodes[1])
		t.Logf("the seed is back after %v", m.allSee(settled, m.nodes...))
	})
}
