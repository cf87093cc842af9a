package node

import (
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/node/config"
	"github.com/openbmx/lightweight-tunnel/node/simnet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

// between counts the datagrams that pass between two addresses of the internet from now on.
func (m *mesh) between(a, b string) *atomic.Int64 {
	one, other := netip.MustParseAddr(a), netip.MustParseAddr(b)
	n := new(atomic.Int64)
	m.net.Tap(func(src, dst netip.AddrPort, _ []byte) {
		if src.Addr() == one && dst.Addr() == other || src.Addr() == other && dst.Addr() == one {
			n.Add(1)
		}
	})
	return n
}

func TestKeepaliveIsHowOftenAnIdleLinkIsAsked(t *testing.T) {
	idle := func(keepalive time.Duration) (n int64) {
		inMesh(t, func(t *testing.T, m *mesh) {
			often := func(s *station) { s.cfg.Keepalive = keepalive }
			seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24", often)
			site := m.site(2, often)
			m.reach(10*time.Second, site, seed)
			m.pass(time.Minute) // the size of the path is found
			count := m.between("203.0.113.1", "198.51.100.2")
			m.pass(3 * time.Minute)
			n = count.Load()
		})
		return n
	}
	often, seldom := idle(2*time.Second), idle(20*time.Second)
	if seldom == 0 || often < 5*seldom {
		t.Errorf("in three idle minutes %d datagrams with a keepalive of 2 s, %d with one of 20 s", often, seldom)
	}
}

func TestP2PKeepaliveIsHowOftenAWarmPathIsAsked(t *testing.T) {
	idle := func(warm time.Duration) (n int64) {
		inMesh(t, func(t *testing.T, m *mesh) {
			often := func(s *station) { s.cfg.P2PKeepalive = warm }
			m.seed("fra-seed", seedAddress, "10.0.0.1/24", throughNATs)
			a, b := m.site(2, throughNATs, often), m.site(3, throughNATs, often)
			m.eventually(30*time.Second, "a direct path", func() bool {
				m.reachAll(10*time.Second, a, b)
				path, _ := a.pathTo(b)
				return path == "udp" || path == "rawtcp"
			})
			m.pass(time.Minute) // the second path, too, and their sizes
			count := m.between("198.51.100.2", "198.51.100.3")
			m.pass(3 * time.Minute)
			n = count.Load()
		})
		return n
	}
	// The path in use is asked alike; on the other a question and its answer.
	often, seldom := idle(5*time.Second), idle(60*time.Second)
	if more := int64(2*(3*60/5-3*60/60)) * 3 / 4; often < seldom+more {
		t.Errorf("in three idle minutes %d datagrams with a warm path asked every 5 s, %d every 60 s", often, seldom)
	}
}

func TestP2PTimeoutBoundsATryForADirectPath(t *testing.T) {
	try := func(timeout time.Duration) (took time.Duration) {
		inMesh(t, func(t *testing.T, m *mesh) {
			bound := func(s *station) { s.cfg.P2PTimeout = timeout }
			m.seed("fra-seed", seedAddress, "10.0.0.1/24", throughNATs)
			onlyUDP := func(s *station) { s.cfg.Transport = "udp" }
			a := m.site(2, throughNATs, onlyUDP, bound, behindA(2, simnet.NATConfig{Kind: simnet.Symmetric}))
			b := m.site(3, throughNATs, onlyUDP, bound)
			m.net.Blackhole(a.router, b.router, true) // who searches for a port never finds it
			ends := map[netip.Addr]bool{netip.MustParseAddr("198.51.100.2"): true, netip.MustParseAddr("198.51.100.3"): true}
			var first, last atomic.Int64
			m.net.Tap(func(src, dst netip.AddrPort, _ []byte) {
				if ends[src.Addr()] && ends[dst.Addr()] {
					first.CompareAndSwap(0, time.Now().UnixNano())
					last.Store(time.Now().UnixNano())
				}
			})
			m.reachAll(10*time.Second, a, b)
			m.eventually(time.Minute, "the first try is over", func() bool {
				m.reachAll(10*time.Second, a, b)
				return a.log.count("no direct path") > 0
			})
			took = time.Duration(last.Load() - first.Load())
		})
		return took
	}
	for _, timeout := range []time.Duration{time.Second, 3 * time.Second} {
		if took := try(timeout); took < timeout/2 || took > timeout+time.Second/2 {
			t.Errorf("with a timeout of %s the probes go on for %s", timeout, took)
		}
	}
}

// watchedHost is a host whose routes are looked at.
type watchedHost struct{ looks atomic.Int64 }

func (h *watchedHost) Sync([]netip.Prefix) (map[netip.Prefix]string, error) { return nil, nil }
func (h *watchedHost) Connected() ([]netip.Prefix, error)                   { h.looks.Add(1); return nil, nil }
func (h *watchedHost) Changes() <-chan struct{}                             { return nil }
func (h *watchedHost) Clear() error                                         { return nil }

func TestRouteUpdateIntervalIsHowOftenTheHostsRoutesAreLookedAt(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		for n, every := range map[int]time.Duration{2: 5 * time.Second, 3: time.Minute} {
			host := new(watchedHost)
			m.site(n, alone, func(s *station) {
				s.cfg.RouteUpdate = every
				s.parts = func(_ *station, p *Parts) { p.Host = host }
			})
			m.pass(every + time.Second)
			before := host.looks.Load()
			m.pass(10 * time.Minute)
			if got, want := host.looks.Load()-before, int64(10*time.Minute/every); got != want {
				t.Errorf("every %s: %d looks in ten minutes, want %d", every, got, want)
			}
		}
	})
}

func TestP2PPortIsThePortOfDirectPaths(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	n := nstest.New(t)
	n.Run("ip link set lo up")
	for asked, want := range map[int]uint16{4242: 4242, 0: 9000} {
		n.Do(func() {
			cfg := config.Config{Transport: "auto", P2PPort: asked, Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:9000")}}
			u, err := openUDP(cfg, "tun7", nil, hclog.NewNullLogger())
			if err != nil {
				t.Error(err)
				return
			}
			defer u.Close()
			if got := u.Port(false); got != want {
				t.Errorf("p2p_port %d: UDP has port %d, want %d", asked, got, want)
			}
		})
	}
	n.Do(func() {
		held, err := openUDP(config.Config{P2PPort: 4242}, "tun7", nil, hclog.NewNullLogger())
		if err != nil {
			t.Error(err)
			return
		}
		defer held.Close()
		if again, err := openUDP(config.Config{Transport: "auto", P2PPort: 4242}, "tun7", nil, hclog.NewNullLogger()); err == nil {
			again.Close()
			t.Error("another port was taken in place of the one that was asked for")
		}
	})
}
