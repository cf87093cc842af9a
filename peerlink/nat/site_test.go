package nat

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// site is a host with a prober that runs.
type site struct {
	*host
	p       *Prober
	cfg     Config
	changes []*Report // guarded by w.mu
	stop    func()
}

// site starts a prober on h; change may alter its config.
func (w *world) site(h *host, change func(*Config)) *site {
	w.t.Helper()
	s := &site{host: h}
	s.cfg = Config{
		Seal: func(body []byte, limit int) []byte {
			return w.outer.Append(nil, wire.Handshake{Kind: wire.STUN, Body: body}, limit)
		},
		Pather: h, Detect: true, Log: hclog.NewNullLogger(),
		Hosts:   func() []netip.Addr { return []netip.Addr{h.address} },
		Resolve: func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") },
		OnChange: func(r *Report) {
			w.mu.Lock()
			defer w.mu.Unlock()
			s.changes = append(s.changes, r)
		},
	}
	if change != nil {
		change(&s.cfg)
	}
	p, err := New(s.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	s.p = p
	h.receive = func(data []byte, path packet.Path) {
		if p.TakeSTUN(data, path) {
			return
		}
		header, err := w.masker.Unmask(data)
		if err != nil {
			return
		}
		if m, err := w.outer.Open(header, data); err == nil && m.Kind == wire.STUN {
			p.Ref().Offer(Heard{Message: m.Body, Path: path, Mesh: true})
		}
	}
	w.mu.Lock()
	w.hosts[h.address] = h
	w.mu.Unlock()
	root := actors.NewSupervisor("site", actors.Policy{}, p.Spec())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := root.Run(ctx); err != nil {
			w.t.Errorf("prober ended: %v", err)
		}
	}()
	s.stop = sync.OnceFunc(func() { cancel(); <-ended })
	w.t.Cleanup(s.stop)
	return s
}

// mesh starts n nodes that the internet can reach and that know each other.
func (w *world) mesh(n int) (servers []Server) {
	var hosts []*host
	for i := range n {
		h := w.host(netip.AddrFrom4([4]byte{203, 0, 113, byte(i + 1)}).String(), nil)
		hosts = append(hosts, h)
		servers = append(servers, Server{Node: message.NodeID{byte(i + 10)}, Addr: h.endpoint()})
	}
	for i, h := range hosts {
		others := slices.Delete(slices.Clone(servers), i, i+1)
		w.site(h, func(c *Config) {
			c.Servers = func() []Server { return others }
			c.Detect = false
		})
	}
	return servers
}

func (s *site) sentSoFar() int {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.sent
}

// pass lets virtual time pass, and all that happens then come to its end.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// learns waits until the report is as wanted, and returns how long it took.
func (s *site) learns(limit time.Duration, what string, ok func(*Report) bool) time.Duration {
	s.w.t.Helper()
	began := time.Now()
	for !ok(s.p.Report()) {
		if pass(10 * time.Millisecond); time.Since(began) > limit {
			s.w.t.Fatalf("after %v still not: %s; report: %+v", limit, what, *s.p.Report())
		}
	}
	return time.Since(began)
}
