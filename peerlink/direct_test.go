package peerlink

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/node/simnet"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
	"github.com/openbmx/lightweight-tunnel/peerlink/noise"
	"github.com/openbmx/lightweight-tunnel/peerlink/punch"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// natWorld is a simulated internet with two public nodes, which relay and answer
// STUN, and sites behind routers.
type natWorld struct {
	t     *testing.T
	net   *simnet.Net
	plain *internet // what memnet's site wants to know of its network
	seeds []*site
}

var publicAddrs = []string{"203.0.113.1:9000", "203.0.113.2:9000"}

func newNATWorld(t *testing.T) *natWorld {
	w := &natWorld{t: t, net: simnet.New(7), plain: newInternet(t)}
	for i, a := range publicAddrs {
		host := w.net.Host(fmt.Sprint("seed", i), strings.Split(a, ":")[0])
		var seeds []string
		if i > 0 {
			seeds = publicAddrs[:1]
		}
		w.seeds = append(w.seeds, w.start(fmt.Sprint("seed", i), host, 9000, seeds, func(c *Config) { c.Relay = i == 0 }))
	}
	return w
}

// behind starts a site behind a router of its own.
func (w *natWorld) behind(name string, i int, cfg simnet.NATConfig, change func(*Config)) (*site, *simnet.NAT) {
	router := w.net.NAT("router of "+name, cfg, fmt.Sprintf("198.51.100.%d", i))
	host := router.Host(name, fmt.Sprintf("192.168.%d.10", i))
	if cfg.Kind == simnet.NoNAT || cfg.Kind == simnet.Firewall {
		host.SetAddrs(fmt.Sprintf("198.51.99.%d", i))
	}
	return w.start(name, host, 0, publicAddrs[:1], change), router
}

func (w *natWorld) start(name string, host *simnet.Host, port uint16, seeds []string, change func(*Config)) *site {
	w.t.Helper()
	transport, err := host.Open(port)
	if err != nil {
		w.t.Fatal(err)
	}
	udp := transport.UDP()
	sum := sha256.Sum256([]byte(name))
	s := &site{
		net: w.plain, name: name, key: ed25519.NewKeyFromSeed(sum[:]), got: make(chan []byte, 8192), log: &logLines{},
		routes: actors.NewMailbox[message.ToRoutes]("routes", 256),
	}
	id := message.NodeID(s.key.Public().(ed25519.PublicKey))
	servers := func() []nat.Server {
		var all []nat.Server
		for i, a := range publicAddrs {
			if n := fmt.Sprint("seed", i); n != name {
				sum := sha256.Sum256([]byte(n))
				key := ed25519.NewKeyFromSeed(sum[:]).Public().(ed25519.PublicKey)
				all = append(all, nat.Server{Node: message.NodeID(key), Name: n, Addr: netip.MustParseAddrPort(a)})
			}
		}
		return all
	}
	var prober *nat.Prober
	prober, err = nat.New(nat.Config{
		Seal:   func(body []byte, limit int) []byte { return s.d.SealSTUN(body, limit) },
		Pather: udp, Detect: true, Servers: servers,
		Hosts: func() []netip.Addr { return []netip.Addr{host.Addr()} },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	keys := actors.NewMailbox[message.ToKeys]("keys", 64)
	started := time.Now().UnixMilli()
	cfg := Config{
		ID: id, Static: noise.StaticKey(s.key), MeshKey: sha256.Sum256([]byte("mesh")),
		Hello: func() message.Hello {
			return message.Hello{Name: name, Version: "test", Relay: name == "seed0", Started: started}
		},
		Dialer: transport, Seeds: seeds, Keys: keys.Ref(), Routes: s.routes.Ref(),
		Log:     hclog.New(&hclog.LoggerOptions{Output: s.log, Level: hclog.Debug}),
		Refresh: func() time.Duration { return prober.Report().Lifetime.Refresh() },
		P2P:     true, NATDetection: true, UDP: udp, Cross: transport, STUN: prober.Ref(),
		Candidates: func() punch.Offer { return localOf(prober.Report()) },
		SeenAs: func(p packet.Path, done func(netip.AddrPort, error)) bool {
			return prober.Ask(p, func(a nat.Answer) { done(a.Mapped, a.Err) })
		},
	}
	if change != nil {
		change(&cfg)
	}
	if s.d, err = New(cfg); err != nil {
		w.t.Fatal(err)
	}
	s.root = actors.NewSupervisor(name, actors.Policy{},
		actors.Spec{Name: "keys", New: func() actors.Actor { return actors.Func(admitAll(keys)) }},
		prober.Spec(), s.d.Spec(actors.Policy{}),
	)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			arrivals, err := transport.Receive()
			if err != nil {
				return
			}
			for _, a := range arrivals {
				s.receive(a.Data, a.Path)
			}
		}
	})
	running.Go(func() { _ = s.root.Run(ctx) })
	s.stop = sync.OnceFunc(func() { cancel(); transport.Close(); running.Wait() })
	w.t.Cleanup(s.stop)
	return s
}

// localOf is what a report of the prober says to those who look for direct paths.
func localOf(r *nat.Report) punch.Offer {
	return punch.Offer{NAT: r.Behaviour, Candidates: slices.Clone(r.Candidates)}
}

// admitAll is a key manager that knows everybody.
func admitAll(box *actors.Mailbox[message.ToKeys]) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case m := <-box.C():
				if a, ok := m.(message.Authorize); ok {
					a.Reply.Offer(message.Authorized{Token: a.Token, Node: a.Hello.ID})
				}
			}
		}
	}
}

// settled waits until all know their seed and how they are seen.
func (w *natWorld) settled(sites ...*site) {
	w.t.Helper()
	for _, s := range sites {
		both(w.t, w.seeds[0], s, 5*time.Second)
	}
	pass(10 * time.Second) // the surveys of the NATs
	for _, s := range sites {
		for _, other := range sites {
			if s != other {
				meet(s, other)
			}
		}
	}
	synctest.Wait()
}

func direct(s Snapshot) bool { return s.State == Up && s.Path != "relay" }

// stream sends numbered packets, 200 a second, both ways for a while, and returns
// how many of them did not arrive.
func (w *natWorld) stream(a, b *site, d time.Duration) (lost int) {
	w.t.Helper()
	n := int(d / (5 * time.Millisecond))
	for i := range n {
		a.send(b, fmt.Sprint("to b ", i))
		b.send(a, fmt.Sprint("to a ", i))
		pass(5 * time.Millisecond)
	}
	pass(time.Second)
	for _, s := range []*site{a, b} {
		got := map[string]bool{}
		for len(s.got) > 0 {
			got[string(<-s.got)] = true
		}
		lost += n - len(got)
	}
	return lost
}

var natKinds = []struct {
	name string
	cfg  simnet.NATConfig
}{
	{"none", simnet.NATConfig{Kind: simnet.NoNAT}},
	{"full", simnet.NATConfig{Kind: simnet.FullCone}},
	{"restricted", simnet.NATConfig{Kind: simnet.Restricted}},
	{"port-restricted", simnet.NATConfig{Kind: simnet.PortRestricted}},
	{"step", simnet.NATConfig{Kind: simnet.Symmetric, Step: 1}},
	{"random", simnet.NATConfig{Kind: simnet.Symmetric}},
}

func TestLinksMoveFromTheRelayToADirectPathWithoutALoss(t *testing.T) {
	for i, one := range natKinds {
		for _, other := range natKinds[:i+1] {
			t.Run(one.name+"/"+other.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newNATWorld(t)
					a, _ := w.behind("office", 10, one.cfg, nil)
					b, _ := w.behind("nas", 20, other.cfg, nil)
					w.settled(a, b)
					lost := w.stream(a, b, 6*time.Second)
					if lost != 0 {
						t.Errorf("%d packets lost", lost)
					}
					possible := one.name != "random" || other.name != "random" && other.name != "step"
					for _, l := range []Snapshot{a.link(b), b.link(a)} {
						if direct(l) != possible {
							t.Errorf("path %s %s, why not direct: %s\n%s", l.Path, l.Endpoint, l.WhyNotDirect, strings.Join(a.log.lines, ""))
						}
						if !possible && !strings.Contains(l.WhyNotDirect, "both NATs symmetric") {
							t.Errorf("why: %s", l.WhyNotDirect)
						}
					}
				})
			})
		}
	}
}

func TestConesAreDirectWithinThreeSecondsOfTheFirstPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNATWorld(t)
		a, _ := w.behind("office", 10, simnet.NATConfig{Kind: simnet.PortRestricted}, nil)
		b, _ := w.behind("nas", 20, simnet.NATConfig{Kind: simnet.PortRestricted}, nil)
		w.settled(a, b)
		a.send(b, "first")
		took := eventually(t, 3*time.Second, "direct", func() bool { return direct(a.link(b)) && direct(b.link(a)) })
		if l := a.link(b); l.Path != "udp" || l.WhyNotDirect != "" && l.WhyNotDirect != "-" {
			t.Errorf("%+v after %v", l, took)
		}
		pass(10 * time.Second)
		if !direct(a.link(b)) || !direct(b.link(a)) {
			t.Error("it did not last")
		}
	})
}

func TestFakeTCPIsOpenedWhereUDPIsBlocked(t *testing.T) {
	for _, kind := range []simnet.NATConfig{{Kind: simnet.FullCone}, {Kind: simnet.PortRestricted}, {Kind: simnet.PortRestricted, Unasked: simnet.ResetUnasked}} {
		kind.NoUDP = true
		synctest.Test(t, func(t *testing.T) {
			w := newNATWorld(t)
			a, _ := w.behind("office", 10, kind, nil)
			b, _ := w.behind("nas", 20, kind, nil)
			w.settled(a, b)
			if lost := w.stream(a, b, 8*time.Second); lost != 0 {
				t.Errorf("%d packets lost", lost)
			}
			for _, l := range []Snapshot{a.link(b), b.link(a)} {
				if l.Path != "rawtcp" {
					t.Errorf("path %s, why not direct: %s", l.Path, l.WhyNotDirect)
				}
			}
		})
	}
}

func TestIdleDirectPeersSayLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNATWorld(t)
		a, _ := w.behind("office", 10, simnet.NATConfig{Kind: simnet.PortRestricted}, nil)
		b, _ := w.behind("nas", 20, simnet.NATConfig{Kind: simnet.PortRestricted}, nil)
		w.settled(a, b)
		a.send(b, "first")
		eventually(t, 3*time.Second, "direct", func() bool { return direct(a.link(b)) && direct(b.link(a)) })
		pass(30 * time.Second)
		ends := map[netip.Addr]bool{netip.MustParseAddr("198.51.100.10"): true, netip.MustParseAddr("198.51.100.20"): true}
		n := 0
		var mu sync.Mutex
		w.net.Tap(func(src, dst netip.AddrPort, _ []byte) {
			mu.Lock()
			defer mu.Unlock()
			if ends[src.Addr()] && ends[dst.Addr()] {
				n++
			}
		})
		handshake := a.link(b).Handshake
		pass(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		// A question every half keepalive from one side, every keepalive from the
		// other, a few about the second path, and the answers.
		if n == 0 || n > 130 {
			t.Errorf("%d packets in an idle minute", n)
		}
		if !a.link(b).Handshake.Equal(handshake) {
			t.Error("handshakes without a reason")
		}
	})
}

// A peer may name an address that is another peer's: an old mapping, or the same
// private address in two local networks.
func TestATryLeavesThePathsOfOtherPeersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNATWorld(t)
		none := simnet.NATConfig{Kind: simnet.NoNAT}
		a, _ := w.behind("office", 10, none, nil)
		b, _ := w.behind("nas", 20, none, nil)
		c, _ := w.behind("van", 30, simnet.NATConfig{Kind: simnet.Symmetric, NoUDP: true}, func(cfg *Config) {
			cfg.Cross = nil // no try of it can succeed
			own := cfg.Candidates
			cfg.Candidates = func() punch.Offer {
				local := own()
				local.Candidates = append(local.Candidates, b.d.cfg.Candidates().Candidates...)
				return local
			}
		})
		w.settled(a, b, c)
		w.stream(a, b, 3*time.Second)
		path := a.d.Peer(b.d.cfg.ID).Outbound().Path()
		if path.Kind() != packet.UDP {
			t.Fatalf("path %s, why not direct: %s", path.Kind(), a.link(b).WhyNotDirect)
		}
		tries := a.log.count("no direct path")
		a.send(c, "first")
		eventually(t, 20*time.Second, "a try in vain", func() bool {
			a.send(c, "x")
			return a.log.count("no direct path") > tries
		})
		if now := a.d.Peer(b.d.cfg.ID).Outbound(); now == nil || now.Path() != path || !path.Alive() {
			t.Errorf("the path to another peer was closed\n%s", strings.Join(a.log.lines, ""))
		}
	})
}

func TestSwitchedOffDirectPathsAreSaidToBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNATWorld(t)
		a, _ := w.behind("office", 10, simnet.NATConfig{Kind: simnet.FullCone}, nil)
		b, _ := w.behind("nas", 20, simnet.NATConfig{Kind: simnet.FullCone}, func(c *Config) { c.P2P = false })
		w.settled(a, b)
		if lost := w.stream(a, b, 3*time.Second); lost != 0 {
			t.Errorf("%d packets lost", lost)
		}
		if l := a.link(b); l.Path != "relay" || !strings.Contains(l.WhyNotDirect, "switched off there") {
			t.Errorf("path %s, why not direct: %s", l.Path, l.WhyNotDirect)
		}
		if l := b.link(a); l.Path != "relay" || !strings.Contains(l.WhyNotDirect, "switched off, traffic goes through seed0") {
			t.Errorf("path %s, why not direct: %s", l.Path, l.WhyNotDirect)
		}
	})
}

func TestProbesAloneMoveNoLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNATWorld(t)
		off := func(c *Config) { c.P2P = false }
		a, _ := w.behind("office", 10, simnet.NATConfig{Kind: simnet.FullCone}, off)
		b, _ := w.behind("nas", 20, simnet.NATConfig{Kind: simnet.FullCone}, off)
		w.settled(a, b)
		a.send(b, "first")
		expect(t, b, "first")
		pass(time.Second)
		out := a.d.Peer(b.d.cfg.ID).Outbound()
		mapped := netip.AddrPort{}
		for _, c := range b.d.cfg.Candidates().Candidates {
			if c.Kind == message.Mapped {
				mapped = c.Addr
			}
		}
		p, err := a.d.cfg.UDP.Through(0, mapped)
		if err != nil {
			t.Fatal(err)
		}
		arrived := 0
		w.net.Tap(func(_, dst netip.AddrPort, _ []byte) {
			if dst == mapped {
				arrived++
			}
		})
		newSender(a.d).aside(out.sealer, p, wire.Probe{Try: 1, Seq: 2})
		pass(time.Second)
		if la, lb := a.link(b), b.link(a); la.Path != "relay" || lb.Path != "relay" {
			t.Errorf("paths %s and %s", la.Path, lb.Path)
		}
		w.net.Tap(nil)
		if arrived != 1 {
			t.Errorf("%d probes were under way", arrived)
		}
	})
}

func TestADirectPathThatDiedGivesWayToTheRelayAndIsFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNATWorld(t)
		a, ra := w.behind("office", 10, simnet.NATConfig{Kind: simnet.PortRestricted}, nil)
		b, rb := w.behind("nas", 20, simnet.NATConfig{Kind: simnet.PortRestricted}, nil)
		w.settled(a, b)
		a.send(b, "first")
		eventually(t, 3*time.Second, "direct", func() bool { return direct(a.link(b)) && direct(b.link(a)) })
		w.stream(a, b, 3*time.Second)
		w.net.Blackhole(ra, rb, true)
		pass(50 * time.Millisecond) // what is under way arrives
		for len(a.got)+len(b.got) > 0 {
			select {
			case <-a.got:
			case <-b.got:
			}
		}
		took := eventually(t, 5*time.Second, "packets arrive again", func() bool {
			a.send(b, "to b")
			b.send(a, "to a")
			return len(a.got) > 0 && len(b.got) > 0
		})
		if la, lb := a.link(b), b.link(a); took > 4*time.Second || la.Path != "relay" || lb.Path != "relay" {
			t.Fatalf("paths %s and %s after %v", la.Path, lb.Path, took)
		}
		w.net.Blackhole(ra, rb, false)
		eventually(t, 30*time.Second, "direct again", func() bool {
			a.send(b, "x")
			return direct(a.link(b)) && direct(b.link(a))
		})
	})
}
