package gossip

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// settled is how long spreading may take. It takes a second or two; but who hears
// a broadcast is a matter of chance, and a push/pull repairs it in this time.
const settled = 75 * time.Second

func TestTwoNodesLearnOfEachOtherOnceTheyAreLinked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2)
		defer m.stop()
		a, b := m.nodes[0], m.nodes[1]
		<-time.After(5 * time.Second)
		if n := len(a.config.Board.View().Nodes); n != 0 {
			t.Fatalf("%d nodes before there is a link", n)
		}
		link(a, b)
		took := m.allSee(settled, a, b)
		t.Logf("after %v", took)
		within(t, time.Second, "routes, peers and keys are told", func() bool {
			return a.routes.Depth() == 1 && a.peers.Depth() == 1 && a.keys.Depth() == 1
		})
		ad := (<-a.routes.C()).(message.Advertised).Advert
		if ad.ID != b.id || fmt.Sprint(ad.Routes) != "[192.168.2.0/24]" {
			t.Fatalf("%+v", ad)
		}
		if k := (<-a.peers.C()).(message.Known).Advert; k.ID != b.id {
			t.Fatalf("%+v", k)
		}
		if w := (<-a.keys.C()).(message.Witnessed).Advert; w.ID != b.id {
			t.Fatalf("%+v", w)
		}
		if n := a.sees(b.id); n.Name != "node-2" || n.Version != "1.0" || n.LastSeen.IsZero() {
			t.Fatalf("%+v", n)
		}
	})
}

func TestNewcomersJoinThroughTheSeedAndAllSeeAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 10)
		defer m.stop()
		m.net.set(func() { m.net.loss = 0.1 })
		m.star()
		t.Logf("10 nodes after %v", m.allSee(settled, m.nodes...))
		late := m.add(11)
		link(late, m.nodes[4]) // any member will do
		t.Logf("a newcomer after %v", m.allSee(settled, m.nodes...))
		// Nobody is ever taken for gone.
		<-time.After(2 * time.Minute)
		synctest.Wait()
		for _, x := range m.nodes {
			for _, msg := range drain(x.routes) {
				if w, ok := msg.(message.Withdrawn); ok {
					t.Fatalf("withdrawn: %+v", w)
				}
			}
		}
	})
}

func TestPublishedAdvertReplacesTheOlderEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 5)
		defer m.stop()
		m.star()
		m.allSee(settled, m.nodes...)
		x := m.nodes[3]
		for i := range 5 {
			x.publish(func(a *message.Advert) { a.NAT = fmt.Sprintf("nat-%d", i) })
		}
		took := within(t, settled, "the newest is everywhere", func() bool {
			for _, y := range m.nodes {
				if y != x && y.sees(x.id).NAT != "nat-4" {
					return false
				}
			}
			return true
		})
		t.Logf("after %v", took)
		for _, y := range m.nodes {
			told := map[message.NodeID]message.Advert{}
			table(told, drain(y.routes))
			if y != x && told[x.id].NAT != "nat-4" {
				t.Fatalf("routes were told %+v", told[x.id])
			}
		}
	})
}

func TestAdvertTooLargeForAPacketArrivesAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 6)
		defer m.stop()
		m.star()
		m.allSee(settled, m.nodes...)
		x := m.nodes[3]
		x.publish(func(a *message.Advert) {
			for i := range message.MaxRoutes - 1 {
				a.Routes = append(a.Routes, netip.MustParsePrefix(fmt.Sprintf("172.16.%d.0/24", i)))
			}
		})
		took := within(t, settled, "it is everywhere", func() bool {
			for _, y := range m.nodes {
				if y != x && len(y.sees(x.id).Routes) != message.MaxRoutes {
					return false
				}
			}
			return true
		})
		t.Logf("after %v", took)
	})
}

func TestLostBroadcastsAreRepairedByPushPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 4)
		defer m.stop()
		m.star()
		m.allSee(settled, m.nodes...)
		m.net.set(func() { m.net.loss = 1 }) // packets only: streams still pass
		x := m.nodes[2]
		x.publish(func(a *message.Advert) { a.NAT = "symm" })
		took := within(t, 5*time.Minute, "the advert is everywhere", func() bool {
			for _, y := range m.nodes {
				if y != x && y.sees(x.id).NAT != "symm" {
					return false
				}
			}
			return true
		})
		t.Logf("after %v", took)
	})
}

func TestMemberCannotSpeakForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2)
		defer m.stop()
		link(m.nodes[0], m.nodes[1])
		m.allSee(settled, m.nodes...)
		// One who holds the mesh key, but says that it is another node.
		place := netip.MustParseAddrPort("10.0.0.66:7946")
		transport, err := m.net.transport(place)
		if err != nil {
			t.Fatal(err)
		}
		name := memberName{idOf(3), place}
		evil := keyOf(66)
		d := &delegate{board: NewBoard(), queue: &memberlist.TransmitLimitedQueue{NumNodes: func() int { return 3 }, RetransmitMult: 4},
			meta: memberMeta{}.seal(evil, name)}
		forged := sealAs(t, 2, message.Advert{Seq: 1 << 60, Name: "node-2", Addresses: template(2).Addresses, NAT: "forged"})
		forged[len(forged)-1] ^= 1 // in the signature
		d.board.memory.Store(&memory{sealed: [][]byte{forged}})
		conf := memberConfig(name, DefaultMTU, [32]byte{7}, transport, d, &memberLog{log: m.nodes[0].config.Log.Named("evil")})
		conf.Alive, conf.Events, conf.Ping = nil, nil, nil
		list, err := memberlist.Create(conf)
		if err != nil {
			t.Fatal(err)
		}
		defer list.Shutdown()
		if _, err := list.Join([]string{"10.0.0.1:7946"}); err != nil {
			t.Fatal(err)
		}
		d.queue.QueueBroadcast(&advertBroadcast{node: "x", note: appendNote(nil, forged)})
		<-time.After(time.Minute)
		synctest.Wait()
		for _, x := range m.nodes {
			if s := x.sees(idOf(3)).State; s != "" {
				t.Fatalf("%s sees the forged member as %s", x.config.Self.Name, s)
			}
		}
		if n := m.nodes[0].sees(m.nodes[1].id); n.NAT != "" || n.State != Alive {
			t.Fatalf("a forged advert was believed: %+v", n)
		}
	})
}

func TestWrongKeyStaysOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2)
		defer m.stop()
		x := m.prepare(3, template(3))
		x.config.SecretKey = [32]byte{8}
		x.start()
		m.nodes = append(m.nodes, x)
		m.star()
		m.allSee(settled, m.nodes[:2]...)
		<-time.After(time.Minute)
		synctest.Wait()
		if len(x.config.Board.View().Nodes) != 0 || m.nodes[0].sees(x.id).State != "" {
			t.Fatal("it got in")
		}
	})
}

func sealAs(t testing.TB, n int, a message.Advert) []byte {
	t.Helper()
	a.ID = idOf(n)
	if a.Name == "" {
		a.Name = fmt.Sprintf("node-%d", n)
	}
	sealed, err := a.Seal(keyOf(n))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestNodePublishesAboveANewerAdvertOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2)
		defer m.stop()
		link(m.nodes[0], m.nodes[1])
		m.allSee(settled, m.nodes...)
		x, y := m.nodes[0], m.nodes[1]
		// What its last run said when its clock was a year ahead.
		ahead := uint64(time.Now().AddDate(1, 0, 0).UnixMilli())
		y.actor.inbox.Ref().Offer(noteHeard{appendNote(nil, sealAs(t, 1, message.Advert{Seq: ahead, NAT: "old run", Addresses: template(1).Addresses}))})
		within(t, 40*time.Second, "it outbids its past", func() bool {
			return x.config.Board.View().Self.Seq == ahead+1 && y.sees(x.id).NAT == ""
		})
	})
}

func TestFullMailboxesAreToldLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 8)
		defer m.stop()
		x := m.prepare(9, template(9))
		x.routes = newBox[message.ToRoutes](1)
		x.peers = newBox[message.ToPeers](1)
		x.keys = newBox[message.ToKeys](1)
		x.config.Routes, x.config.Peers, x.config.Keys = x.routes.Ref(), x.peers.Ref(), x.keys.Ref()
		x.start()
		m.nodes = append(m.nodes, x)
		m.star()
		m.allSee(settled, m.nodes...)
		told, known, bound := map[message.NodeID]message.Advert{}, 0, 0
		within(t, 30*time.Second, "all news arrives", func() bool {
			table(told, drain(x.routes))
			known += len(drain(x.peers))
			bound += len(drain(x.keys))
			return len(told) == 8 && known == 8 && bound == 8
		})
	})
}

func TestRestartOfTheActorGoesOnWhereItStood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 4)
		defer m.stop()
		m.star()
		m.allSee(settled, m.nodes...)
		x, gone := m.nodes[1], m.nodes[3]
		x.publish(func(a *message.Advert) { a.NAT = "cone" })
		within(t, settled, "it is published", func() bool { return m.nodes[0].sees(x.id).NAT == "cone" })
		told := map[message.NodeID]message.Advert{}
		table(told, drain(x.routes))
		x.config.Self = template(2) // what the tree gives to every run
		x.stop()
		gone.stop()
		x.start() // and nobody tells it of its links again
		within(t, 5*time.Second, "it is back among the others", func() bool {
			return x.sees(m.nodes[2].id).State == Alive && m.nodes[0].sees(x.id).State == Alive
		})
		within(t, 2*time.Minute, "the one that died meanwhile is withdrawn", func() bool {
			table(told, drain(x.routes))
			_, there := told[gone.id]
			return !there
		})
		if len(told) != 2 || m.nodes[2].sees(x.id).NAT != "cone" {
			t.Fatalf("%d nodes in the table, advert %+v", len(told), m.nodes[2].sees(x.id))
		}
	})
}

func TestNodeThatIsNotAdmittedIsWithheldUntilItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2)
		defer m.stop()
		x := m.prepare(3, template(3))
		verdict := make(chan string, 1)
		verdict <- "address 10.0.0.2 is taken"
		x.config.Admits = func(a message.Advert) string {
			why := <-verdict
			verdict <- why
			if a.ID == idOf(2) {
				return why
			}
			return ""
		}
		x.start()
		m.nodes = append(m.nodes, x)
		m.star()
		m.allSee(settled, m.nodes...)
		told := map[message.NodeID]message.Advert{}
		table(told, drain(x.routes))
		if _, there := told[idOf(2)]; there || !strings.Contains(x.sees(idOf(2)).Withheld, "taken") {
			t.Fatalf("%+v", x.sees(idOf(2)))
		}
		<-verdict
		verdict <- ""
		within(t, 10*time.Second, "it is told of later", func() bool {
			table(told, drain(x.routes))
			return len(told) == 2
		})
		<-verdict
		verdict <- "revoked"
		within(t, 10*time.Second, "it is withdrawn again", func() bool {
			table(told, drain(x.routes))
			return len(told) == 1
		})
	})
}

func TestRepeatTellsEverythingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 3)
		defer m.stop()
		m.star()
		m.allSee(settled, m.nodes...)
		x := m.nodes[2]
		<-time.After(time.Second)
		synctest.Wait()
		drain(x.routes)
		drain(x.peers)
		x.box.Ref().Offer(message.Repeat{})
		within(t, time.Second, "both are told again", func() bool { return x.routes.Depth() == 2 && x.peers.Depth() == 2 })
	})
}

func TestConfigurationIsCheckedBeforeAnythingStarts(t *testing.T) {
	m := &mesh{t: t, net: newFakeNet()}
	for what, spoil := range map[string]func(*Config){
		"no identity": func(c *Config) { c.Identity = nil },
		"no address":  func(c *Config) { c.Bind = netip.Addr{} },
		"any address": func(c *Config) { c.Bind = netip.IPv4Unspecified() },
		"a small MTU": func(c *Config) { c.MTU = 500 },
		"no mailbox":  func(c *Config) { c.Mailbox = nil },
		"no board":    func(c *Config) { c.Board = nil },
	} {
		c := m.prepare(1, template(1)).config
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
