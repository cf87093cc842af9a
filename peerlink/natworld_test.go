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
