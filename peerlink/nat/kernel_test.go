package nat_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
	"github.com/openbmx/lightweight-tunnel/peerlink/udp"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// inside opens all sockets of a transport in the namespace of a host.
type inside struct {
	*udp.Transport
	h *lab.Host
}

func (i inside) Sockets(n int, v6 bool) (all []packet.Socket, err error) {
	err = i.h.Do(func() (err error) {
		all, err = i.Transport.Sockets(n, v6)
		return err
	})
	return all, err
}

// start runs a prober over a real socket on a host of the lab, and returns it with
// the endpoint of its data socket.
func start(t *testing.T, h *lab.Host, change func(*nat.Config)) (*nat.Prober, netip.AddrPort) {
	t.Helper()
	keys := wire.DeriveKeys([32]byte{1})
	masker := wire.NewMasker(keys.Mask)
	outer := wire.NewOuter(keys.Outer, masker)
	var p *nat.Prober
	var transport *udp.Transport
	err := h.Do(func() (err error) {
		transport, err = udp.New(udp.Config{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddr(h.IPv4)
	cfg := nat.Config{
		Seal: func(body []byte, limit int) []byte {
			return outer.Append(nil, wire.Handshake{Kind: wire.STUN, Body: body}, limit)
		},
		Pather: inside{transport, h}, Detect: true, Hosts: func() []netip.Addr { return []netip.Addr{address} },
	}
	change(&cfg)
	if p, err = nat.New(cfg); err != nil {
		t.Fatal(err)
	}
	root := actors.NewSupervisor("host", actors.Policy{}, p.Spec(),
		actors.Spec{Name: "transport", Permanent: true, New: func() actors.Actor { return transport }})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := root.Run(ctx); err != nil {
			t.Errorf("%s: %v", h.Role, err)
		}
	})
	running.Go(func() {
		for {
			batch, err := transport.Receive()
			if err != nil {
				return // closed
			}
			for _, a := range batch {
				header, err := masker.Unmask(a.Data)
				if err != nil {
					continue
				}
				if m, err := outer.Open(header, a.Data); err == nil && m.Kind == wire.STUN {
					p.Ref().Offer(nat.Heard{Message: append([]byte(nil), m.Body...), Path: a.Path, Mesh: true})
				}
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		if err := transport.Close(); err != nil {
			t.Errorf("%s: %v", h.Role, err)
		}
		running.Wait()
	})
	return p, netip.AddrPortFrom(address, transport.Port(false))
}

func TestEveryKindOfNATIsFoundOutOnARealKernel(t *testing.T) {
	const (
		independent = nat.EndpointIndependent
		address     = nat.AddressDependent
		strict      = nat.AddressAndPortDependent
	)
	l := lab.ForTest(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var running []survey // all at a time: much of a survey is waiting for silence
	for kind, want := range map[lab.NATKind]nat.Behaviour{
		lab.NATNone:           {Mapping: nat.Direct, Filtering: independent, Open: true},
		lab.NATFirewall:       {Mapping: nat.Direct, Filtering: strict},
		lab.NATFullCone:       {Mapping: independent, Filtering: independent, Preserves: true, Open: true},
		lab.NATRestricted:     {Mapping: independent, Filtering: address, Preserves: true},
		lab.NATPortRestricted: {Mapping: independent, Filtering: strict, Preserves: true},
		lab.NATStep:           {Mapping: strict, Filtering: strict, Step: 1},
		lab.NATRandom:         {Mapping: strict, Filtering: strict},
	} {
		running = append(running, survey{kind: kind, want: want}.start(ctx, t, l))
	}
	for _, s := range running {
		s.check(ctx, t)
	}
}

// survey is one that runs behind a router of its own.
type survey struct {
	kind    lab.NATKind
	want    nat.Behaviour
	public  netip.Addr     // of the router
	local   netip.AddrPort // of the data socket
	reports chan *nat.Report
}

func (s survey) start(ctx context.Context, t *testing.T, l *lab.Lab) survey {
	t.Helper()
	internet, err := l.NewInternet(ctx, lab.InternetConfig{Name: string(s.kind) + "-"})
	if err != nil {
		t.Fatal(err)
	}
	var hosts []*lab.Host
	for n := range 3 {
		h, err := internet.Host(ctx, fmt.Sprint("seed", n))
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	router, err := internet.Router(ctx, "router", lab.RouterConfig{Kind: s.kind})
	if err != nil {
		t.Fatal(err)
	}
	home, err := router.Host(ctx, "home")
	if err != nil {
		t.Fatal(err)
	}
	var servers []nat.Server
	var known atomic.Pointer[[]nat.Server]
	known.Store(new([]nat.Server))
	for n, h := range hosts {
		_, endpoint := start(t, h, func(c *nat.Config) {
			c.Detect = false
			c.Servers = func() []nat.Server { // but itself
				return slices.DeleteFunc(slices.Clone(*known.Load()), func(s nat.Server) bool { return s.Node[0] == byte(n+1) })
			}
		})
		servers = append(servers, nat.Server{Node: message.NodeID{byte(n + 1)}, Addr: endpoint})
	}
	all := slices.Clone(servers)
	known.Store(&all)
	s.reports = make(chan *nat.Report, 64)
	_, s.local = start(t, home, func(c *nat.Config) {
		c.Servers = func() []nat.Server { return servers }
		c.OnChange = func(r *nat.Report) { s.reports <- r }
	})
	s.public = s.local.Addr()
	if s.kind.Translates() {
		s.public = netip.MustParseAddr(router.Public4)
	}
	return s
}

func (s survey) check(ctx context.Context, t *testing.T) {
	t.Helper()
	var last *nat.Report
	for last == nil || last.Behaviour != s.want {
		select {
		case last = <-s.reports:
		case <-ctx.Done():
			t.Errorf("%s: want %s; last report %+v", s.kind, s.want.Describe(), last)
			return
		}
	}
	if last.Mapped4.Addr() != s.public || s.want.Preserves && last.Mapped4.Port() != s.local.Port() {
		t.Errorf("%s: the data socket %s is seen as %s", s.kind, s.local, last.Mapped4)
	}
}
