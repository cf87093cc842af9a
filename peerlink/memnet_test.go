package peerlink

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/noise"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// internet is a network in memory on which whole directories run, in the virtual
// time of a bubble. Its hooks are read by any goroutine and set before traffic.
type internet struct {
	t     *testing.T
	delay func() time.Duration
	drop  func(from, to netip.AddrPort) bool

	mu    sync.Mutex
	sites map[netip.AddrPort]*site
	ports uint16
	wire  [][]byte // every datagram sent, if tapped
	tap   bool
}

func newInternet(t *testing.T) *internet {
	return &internet{
		t: t, sites: map[netip.AddrPort]*site{}, ports: 40000,
		delay: func() time.Duration { return 10 * time.Millisecond },
		drop:  func(_, _ netip.AddrPort) bool { return false },
	}
}

// site is one node: a directory under a supervisor, and a plain pump.
type site struct {
	net     *internet
	name    string
	address netip.AddrPort
	key     ed25519.PrivateKey
	d       *Directory
	rx      chan packet.Arrival
	got     chan []byte // IP packets that arrived
	deaf    atomic.Bool // neither sends nor hears: it crashed
	log     *logLines
	root    *actors.Supervisor
	stop    func()
	routes  *actors.Mailbox[message.ToRoutes]
	seen    func(inner []byte) // called for each datagram relayed, if set
}

// memPath is one end of a flow.
type memPath struct {
	owner         *site
	local, remote netip.AddrPort
	other         *memPath
	alive         atomic.Bool
}

const memPrefix = 5

func (p *memPath) Prefix() int            { return memPrefix }
func (p *memPath) MaxDatagram() int       { return 1350 }
func (p *memPath) Kind() packet.Kind      { return packet.RawTCP }
func (p *memPath) Local() netip.AddrPort  { return p.local }
func (p *memPath) Remote() netip.AddrPort { return p.remote }
func (p *memPath) Adopt()                 {}
func (p *memPath) Alive() bool            { return p.alive.Load() }

func (p *memPath) Close() {
	if p.alive.Swap(false) && !p.owner.deaf.Load() {
		// A FIN comes behind the data that was sent before.
		time.AfterFunc(p.owner.net.delay()+time.Millisecond, func() {
			if !p.other.owner.deaf.Load() {
				p.other.alive.Store(false)
			}
		})
	}
}

func (p *memPath) Send(t *packet.Train) error {
	n := p.owner.net
	if !p.alive.Load() {
		return net.ErrClosed
	}
	if t.Prefix() != memPrefix {
		n.t.Errorf("train with prefix %d for a path with %d", t.Prefix(), memPrefix)
	}
	// Datagrams of equal delay stay together and in order.
	var burst [][]byte
	var late time.Duration
	flush := func() {
		if sent := burst; len(sent) > 0 {
			time.AfterFunc(late, func() {
				for _, b := range sent {
					p.other.arrive(b)
				}
			})
		}
		burst = nil
	}
	defer flush()
	for i := range t.Len() {
		b := slices.Clone(t.Datagram(i))
		if len(b) > p.MaxDatagram() {
			n.t.Errorf("datagram of %d bytes on a path for %d", len(b), p.MaxDatagram())
		}
		if n.tap {
			n.mu.Lock()
			n.wire = append(n.wire, slices.Clone(b))
			n.mu.Unlock()
		}
		if p.owner.deaf.Load() || n.drop(p.local, p.remote) {
			continue
		}
		if d := n.delay(); d != late {
			flush()
			late = d
		}
		burst = append(burst, b)
	}
	return nil
}

func (p *memPath) arrive(b []byte) {
	if p.owner.deaf.Load() || !p.alive.Load() {
		return
	}
	select {
	case p.owner.rx <- packet.Arrival{Data: b, Path: p}:
	default:
		p.owner.net.t.Error("the receiving pump is stuck")
	}
}

// Dial implements packet.Dialer.
func (s *site) Dial(remote netip.AddrPort, done func(packet.Path, error)) func() {
	n := s.net
	var once sync.Once
	timer := time.AfterFunc(2*n.delay(), func() {
		n.mu.Lock()
		far := n.sites[remote]
		n.ports++
		local := netip.AddrPortFrom(s.address.Addr(), n.ports)
		n.mu.Unlock()
		if far == nil || far.deaf.Load() || s.deaf.Load() {
			once.Do(func() { done(nil, errors.New("connection refused")) })
			return
		}
		near := &memPath{owner: s, local: local, remote: remote}
		near.other = &memPath{owner: far, local: remote, remote: local, other: near}
		near.alive.Store(true)
		near.other.alive.Store(true)
		once.Do(func() { done(near, nil) })
	})
	return func() {
		timer.Stop()
		once.Do(func() { done(nil, net.ErrClosed) })
	}
}

// start brings a node up. change may alter the config.
func (n *internet) start(name, address string, seeds []string, change func(*Config)) *site {
	n.t.Helper()
	seedBytes := sha256.Sum256([]byte(name))
	s := &site{
		net: n, name: name, address: netip.MustParseAddrPort(address),
		key: ed25519.NewKeyFromSeed(seedBytes[:]),
		rx:  make(chan packet.Arrival, 8192), got: make(chan []byte, 8192), log: &logLines{},
		routes: actors.NewMailbox[message.ToRoutes]("routes", 256),
	}
	keys := actors.NewMailbox[message.ToKeys]("keys", 64)
	cfg := Config{
		ID: message.NodeID(s.key.Public().(ed25519.PublicKey)), Static: noise.StaticKey(s.key),
		MeshKey: sha256.Sum256([]byte("mesh")), Dialer: s, Seeds: seeds, Relay: true,
		Keys: keys.Ref(), Routes: s.routes.Ref(),
		Log: hclog.New(&hclog.LoggerOptions{Output: s.log, Level: hclog.Debug}),
	}
	started := time.Now().UnixMilli()
	cfg.Hello = func() message.Hello {
		return message.Hello{Name: name, Version: "test", Relay: cfg.Relay, Started: started}
	}
	if change != nil {
		change(&cfg)
	}
	d, err := New(cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	s.d = d
	n.mu.Lock()
	n.sites[s.address] = s
	n.mu.Unlock()

	s.root = actors.NewSupervisor(name, actors.Policy{},
		actors.Spec{Name: "keys", New: func() actors.Actor {
			return actors.Func(func(ctx context.Context) error {
				for {
					select {
					case <-ctx.Done():
						return nil
					case m := <-keys.C():
						if a, ok := m.(message.Authorize); ok {
							a.Reply.Offer(message.Authorized{Token: a.Token, Node: a.Hello.ID, Refusal: refusals[a.Hello.Name]})
						}
					}
				}
			})
		}},
		actors.Spec{Name: "rx", New: func() actors.Actor { return actors.Func(s.pump) }},
		d.Spec(actors.Policy{}),
	)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.root.Run(ctx); err != nil {
			n.t.Errorf("%s ended: %v", name, err)
		}
	}()
	s.stop = sync.OnceFunc(func() { cancel(); <-ended })
	n.t.Cleanup(s.stop)
	return s
}

// refusals are the names that every node's roster refuses, and why.
var refusals = map[string]string{"outlaw": "address 10.0.0.2 belongs to node office since yesterday"}

// crash takes the node away without a word.
func (s *site) crash() {
	s.deaf.Store(true)
	s.net.mu.Lock()
	delete(s.net.sites, s.address)
	s.net.mu.Unlock()
	s.stop()
}

// pump is the least that a receiving pump has to do.
func (s *site) pump(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-s.rx:
			s.receive(a.Data, a.Path)
		}
	}
}

func (s *site) receive(data []byte, path packet.Path) {
	size := len(data)
	h, err := s.d.Unmask(data)
	if err != nil {
		return
	}
	in := s.d.Session(h.Index)
	if h.Kind.IsHandshake() || in == nil {
		s.d.Handshake(data, path)
		return
	}
	switch {
	case h.Kind == wire.Relay:
		e, inner, err := in.OpenRelay(data, h)
		if err != nil {
			return
		}
		in.Touch(path, size)
		if e.Dst == s.d.Self() {
			s.receive(inner, s.d.RelayPath(in.Peer(), e.Src))
			return
		}
		if s.seen != nil {
			s.seen(inner)
		}
		out := s.d.Onward(e, in.Peer())
		if out == nil {
			return
		}
		t := packet.NewTrain()
		t.Reset(out.Path().Prefix())
		e.Hops = s.d.CapHops(e.Hops) - 1
		out.SealRelay(t.Next(len(inner)+wire.RelayOverhead), e, inner)
		_ = out.Path().Send(t)
	case h.Kind == wire.Control || h.Kind.IsData():
		plain, err := in.Open(data[wire.HeaderLen:wire.HeaderLen], data, h)
		if err != nil {
			return
		}
		in.Touch(path, size)
		if h.Kind == wire.Control {
			in.Control(plain, path)
			return
		}
		s.got <- slices.Clone(plain)
	}
}

// send is the least that a sending pump has to do.
func (s *site) send(to *site, text string) {
	peer := s.d.Peer(to.d.cfg.ID)
	if peer == nil {
		s.net.t.Errorf("%s does not know %s", s.name, to.name)
		return
	}
	out := peer.Outbound()
	if out == nil {
		peer.Stage(wire.Data, []byte(text))
		return
	}
	t := packet.NewTrain()
	t.Reset(out.Path().Prefix())
	out.Seal(t.Next(len(text)+wire.Overhead), out.Begin(1), wire.Data, []byte(text))
	if err := out.Path().Send(t); errors.Is(err, net.ErrClosed) {
		peer.PathLost(out.Path())
	}
}

// link is how s sees its link to another node.
func (s *site) link(to *site) Snapshot {
	p := s.d.Peer(to.d.cfg.ID)
	if p == nil {
		return Snapshot{}
	}
	return p.Snapshot()
}

// eventually waits, in virtual time, until ok, and returns how long it took.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if <-tick.C; time.Since(began) > limit {
			t.Fatalf("after %v still not: %s", limit, what)
		}
	}
	return time.Since(began)
}

// pass lets virtual time pass.
func pass(d time.Duration) { <-time.After(d) }

// logLines keeps what a node logs.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(b))
	return len(b), nil
}

func (l *logLines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// reordering is a delay that shuffles bursts; it is seeded, so a run repeats.
func reordering(seed uint64, least, spread time.Duration) func() time.Duration {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 1))
	return func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return least + time.Duration(r.Int64N(int64(spread)))
	}
}

func (n *internet) must(address string) netip.AddrPort { return netip.MustParseAddrPort(address) }
