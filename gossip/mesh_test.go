package gossip

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// mesh is some nodes on one fakeNet, inside a synctest bubble.
type mesh struct {
	t     *testing.T
	net   *fakeNet
	nodes []*testNode
}

// testNode is one running gossip actor and the far ends of its mailboxes.
type testNode struct {
	t      *testing.T
	config Config
	key    ed25519.PrivateKey
	id     message.NodeID
	actor  *Gossip
	box    *actors.Mailbox[message.ToGossip]
	routes *actors.Mailbox[message.ToRoutes]
	peers  *actors.Mailbox[message.ToPeers]
	keys   *actors.Mailbox[message.ToKeys]
	stop   func()
}

func keyOf(n int) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(fmt.Sprintf("%032d", n)))
}

func idOf(n int) message.NodeID { return message.NodeID(keyOf(n).Public().(ed25519.PublicKey)) }

func template(n int) message.Advert {
	return message.Advert{
		Name: fmt.Sprintf("node-%d", n), Version: "1.0",
		Addresses: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/24", n))},
		Routes:    []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("192.168.%d.0/24", n))},
	}
}

func newMesh(t *testing.T, n int) *mesh {
	m := &mesh{t: t, net: newFakeNet()}
	for i := range n {
		m.add(i + 1)
	}
	return m
}

func (m *mesh) add(n int) *testNode {
	node := m.prepare(n, template(n))
	node.start()
	m.nodes = append(m.nodes, node)
	return node
}

func (m *mesh) prepare(n int, self message.Advert) *testNode {
	x := &testNode{t: m.t, key: keyOf(n), id: idOf(n),
		box:    actors.NewMailbox[message.ToGossip]("gossip", 64),
		routes: actors.NewMailbox[message.ToRoutes]("routes", 4096),
		peers:  actors.NewMailbox[message.ToPeers]("peers", 4096),
		keys:   actors.NewMailbox[message.ToKeys]("keys", 4096),
	}
	place := netip.AddrPortFrom(self.Addresses[0].Addr(), DefaultPort)
	x.config = Config{
		Identity: x.key, Self: self, Bind: place.Addr(), SecretKey: [32]byte{7}, Mailbox: x.box, Board: NewBoard(),
		NewTransport: func() (memberlist.Transport, error) { return m.net.transport(place) },
		Routes:       x.routes.Ref(), Peers: x.peers.Ref(), Keys: x.keys.Ref(),
		Log: hclog.New(&hclog.LoggerOptions{Name: self.Name, Level: hclog.Info, Output: testLog{m.t}}),
	}
	return x
}

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func (x *testNode) start() {
	x.t.Helper()
	actor, err := New(x.config)
	if err != nil {
		x.t.Fatal(err)
	}
	x.actor = actor
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- actor.Run(ctx) }()
	x.stop = func() {
		cancel()
		if err := <-done; err != nil {
			x.t.Errorf("%s: %v", x.config.Self.Name, err)
		}
		x.stop = func() {}
	}
}

func (m *mesh) stop() {
	for _, x := range m.nodes {
		x.stop()
	}
	// A bubble must be empty at its end, and memberlist's probes under way end
	// by their timers only.
	<-time.After(time.Minute)
}

func (x *testNode) linkTo(y *testNode, up bool) {
	a := y.config.Self
	x.box.Ref().Offer(message.LinkState{Hello: message.Hello{ID: y.id, Name: a.Name, Addresses: a.Addresses}, Up: up, Seed: true})
}

// link connects two nodes, as a handshake would.
func link(x, y *testNode) {
	x.linkTo(y, true)
	y.linkTo(x, true)
}

// star links all nodes to the first.
func (m *mesh) star() {
	for _, x := range m.nodes[1:] {
		link(x, m.nodes[0])
	}
}

func (x *testNode) publish(change func(*message.Advert)) {
	a := cloneAdvert(x.config.Self)
	change(&a)
	x.config.Self = a
	x.box.Ref().Offer(message.Publish{Advert: cloneAdvert(a)})
}

// sees is how x sees y.
func (x *testNode) sees(y message.NodeID) Node {
	for _, n := range x.config.Board.View().Nodes {
		if n.ID == y {
			return n
		}
	}
	return Node{}
}

// within waits for a condition for some virtual time.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for {
		synctest.Wait()
		if ok() {
			return time.Since(begin)
		}
		if time.Since(begin) >= limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// allSee waits until every running node sees every other as alive.
func (m *mesh) allSee(limit time.Duration, nodes ...*testNode) time.Duration {
	m.t.Helper()
	missing := ""
	defer func() {
		if m.t.Failed() {
			m.t.Log(missing)
		}
	}()
	return within(m.t, limit, "everybody sees everybody", func() bool {
		for _, x := range nodes {
			for _, y := range nodes {
				if x != y && x.sees(y.id).State != Alive {
					missing = fmt.Sprintf("%s sees %s as %q", x.config.Self.Name, y.config.Self.Name, x.sees(y.id).State)
					return false
				}
			}
		}
		return true
	})
}

// drain takes what is in a mailbox now.
func drain[M any](b *actors.Mailbox[M]) (out []M) {
	for {
		select {
		case v := <-b.C():
			out = append(out, v)
		default:
			return out
		}
	}
}

// table replays what a node's route table was told.
func table(told map[message.NodeID]message.Advert, msgs []message.ToRoutes) {
	for _, msg := range msgs {
		switch msg := msg.(type) {
		case message.Advertised:
			told[msg.Advert.ID] = msg.Advert
		case message.Withdrawn:
			delete(told, msg.Node)
		}
	}
}

func newBox[M any](room int) *actors.Mailbox[M] { return actors.NewMailbox[M]("box", room) }

func newReply() (actors.Reply[error], <-chan error) { return actors.NewReply[error]() }

func containsAll(text string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}
