package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/control"
	"github.com/openbmx/lightweight-tunnel/node/simnet"
	"github.com/openbmx/lightweight-tunnel/peerlink"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// peer is how s sees another station in `node peers`.
func (s *station) peer(of *station) control.PeerView {
	all := source{s.node}.Peers().Peers
	if i := slices.IndexFunc(all, func(p control.PeerView) bool { return p.Name == of.cfg.Name }); i >= 0 {
		return all[i]
	}
	return control.PeerView{}
}

func TestASeedAndItsSitesBehindRoutersReachEachOther(t *testing.T) {
	for _, n := range []int{2, 5, 10} {
		t.Run(fmt.Sprint(n, " sites"), func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
				all := append(m.sites(n), seed)
				m.reachAll(15*time.Second, all...)
			})
		})
	}
}

func TestEveryKindOfRouterLetsASiteIntoTheMesh(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		all := []*station{m.seed("fra-seed", seedAddress, "10.0.0.1/24")}
		for i, kind := range []simnet.NATKind{simnet.FullCone, simnet.Restricted, simnet.PortRestricted, simnet.Symmetric, simnet.Firewall} {
			all = append(all, m.site(i+2, func(s *station) { s.router = m.nat(i+2, kind) }))
		}
		m.reachAll(15*time.Second, all...)
	})
}

func TestSitesReachEachOtherThroughTheSeedWhichCannotReadIt(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		var atSeed, atSites [][]byte // datagrams as they came in
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24", func(s *station) {
			s.hear = func(b []byte) { atSeed = append(atSeed, bytes.Clone(b)) }
		})
		a := m.site(2, func(s *station) { s.hear = func(b []byte) { atSites = append(atSites, bytes.Clone(b)) } })
		b := m.site(3)
		m.reachAll(10*time.Second, seed, a, b)
		seed.heard() // what its own pings were told before there were links
		for i := range 5 {
			text := fmt.Sprint("between us ", i)
			a.say(a.address(), b.address(), text)
			if _, ok := b.hears(text, time.Second); !ok {
				t.Fatalf("%q did not arrive", text)
			}
		}
		link := a.peer(b).Link
		if link.Path != "relay" || link.Via != "fra-seed" {
			t.Errorf("the link shows path %q via %q", link.Path, link.Via)
		}
		if rtt, ok := a.ping(b.address(), time.Second); !ok || rtt != 40*time.Millisecond {
			t.Errorf("round trip %v, want 40ms over two lines of 10ms", rtt)
		}
		if got := seed.heard(); len(got) != 0 {
			t.Errorf("the seed's kernel got %d packets, the first of %d bytes from %s", len(got), len(got[0].raw), got[0].src)
		}

		// What the seed forwarded opens under none of the keys that it shares with
		// anybody: those to open with are in its own sessions, those that it seals
		// with in the sessions of the sites with it.
		directory, other := seed.node.peers, a.node.peers
		var shared []*peerlink.Inbound
		var relayed [][]byte
		for _, d := range atSeed {
			h, err := directory.Unmask(d)
			in := directory.Session(h.Index)
			if err != nil || in == nil {
				continue
			}
			if !slices.Contains(shared, in) {
				shared = append(shared, in)
			}
			if h.Kind == wire.Relay {
				relayed = append(relayed, d[wire.RelayOverhead:])
			}
		}
		for _, d := range atSites {
			h, err := other.Unmask(d)
			in := other.Session(h.Index)
			if err == nil && in != nil && in.Peer().ID() == seed.node.hello.ID && !slices.Contains(shared, in) {
				shared = append(shared, in)
			}
		}
		// Their pumps have stopped before the sessions are used here.
		for _, s := range []*station{seed, a} {
			s.stop()
		}
		if len(shared) < 3 || len(relayed) < 10 {
			t.Fatalf("%d sessions and %d relayed datagrams seen", len(shared), len(relayed))
		}
		inner := 0
		for _, d := range relayed {
			h, err := directory.Unmask(d)
			if err != nil || h.Kind.IsHandshake() || !h.Kind.Valid() || h.Kind == wire.Control {
				continue
			}
			inner++
			for _, in := range shared {
				if plain, err := in.Open(nil, bytes.Clone(d), h); !errors.Is(err, wire.ErrOpen) {
					t.Fatalf("the seed could open a relayed datagram: %q, %v", plain, err)
				}
			}
		}
		if inner < 10 {
			t.Errorf("only %d relayed datagrams held data", inner)
		}
		// The trial can succeed: what was for the seed itself opens.
		opened := false
		for _, d := range atSites {
			h, err := other.Unmask(bytes.Clone(d))
			for _, in := range shared {
				_, oerr := in.Open(nil, bytes.Clone(d), h)
				opened = opened || err == nil && errors.Is(oerr, peerlink.ErrReplay)
			}
		}
		if !opened {
			t.Error("not even the seed's own datagrams open: the trial proves nothing")
		}
	})
}

func TestAMeshCarriesIPv6InsideAndOutside(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		const listen = "[2001:db8::1]:9000"
		v6 := func(n int) func(*station) {
			return func(s *station) {
				s.cfg.Seeds = []string{listen}
				s.cfg.Addresses = append(s.cfg.Addresses, netip.MustParsePrefix(fmt.Sprintf("fd00::%d/64", n)))
				s.router = m.net.NAT(fmt.Sprint("firewall-", n), simnet.NATConfig{Kind: simnet.Firewall})
			}
		}
		seed := m.seed("fra-seed", listen, "10.0.0.1/24 fd00::1/64")
		a := m.station("site-2", "10.0.0.2/24", []func(*station){v6(2)})
		b := m.station("site-3", "10.0.0.3/24", []func(*station){v6(3)})
		for i, s := range []*station{a, b} {
			s.host = s.router.Host(s.cfg.Name, fmt.Sprintf("2001:db8:%d::10", i+2))
			s.start()
		}
		all := []*station{seed, a, b}
		m.reachAll(10*time.Second, all...)
		for _, x := range all {
			for _, y := range all {
				if x != y {
					m.reachAddr(time.Second, x, y.cfg.Addresses[1].Addr())
				}
			}
		}
	})
}

func TestAMeshMayHaveOnlyIPv6Addresses(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		only := func(n int) func(*station) {
			return func(s *station) {
				s.cfg.Addresses = []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("fd00::%d/64", n))}
			}
		}
		m.reachAll(10*time.Second, m.seed("fra-seed", seedAddress, "fd00::1/64"), m.site(2, only(2)), m.site(3, only(3)))
	})
}

func TestIsolatedSitesReachTheSeedButNotEachOther(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24", func(s *station) { s.cfg.Isolation = true })
		a, b := m.site(2), m.site(3)
		m.reach(10*time.Second, a, seed)
		m.reach(10*time.Second, b, seed)
		m.pass(15 * time.Second) // long enough for gossip to tell them of each other
		for range 20 {
			if _, ok := a.ping(b.address(), 500*time.Millisecond); ok {
				t.Fatal("an isolated site answered another one")
			}
		}
		if _, ok := b.ping(seed.address(), time.Second); !ok {
			t.Error("the seed is not reached any more")
		}
	})
}

func TestANodeJoinsThroughOneMoreSeedAtRunTime(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		const second = "203.0.113.9:9000"
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
		far := m.seed("ams-seed", second, "10.0.0.9/24")
		a := m.site(2)
		m.reach(10*time.Second, a, seed)
		if _, ok := a.ping(far.address(), 2*time.Second); ok {
			t.Fatal("two meshes that never met reach each other")
		}
		if err := (source{a.node}).Join(context.Background(), "nonsense"); err == nil {
			t.Error("a seed without a port was taken")
		}
		if err := (source{a.node}).Join(context.Background(), second); err != nil {
			t.Fatal(err)
		}
		if took := m.reach(5*time.Second, a, far); took > 2*time.Second {
			t.Errorf("the second seed was reached after %v", took)
		}
		// Now the meshes are one: the seeds meet through the site's gossip.
		m.eventually(20*time.Second, "the seeds know of each other", func() bool {
			return seed.peer(far).State == control.Alive && far.peer(seed).State == control.Alive
		})
		seed.stop()
		m.reach(5*time.Second, a, far)
	})
}

func TestAMeshOfFiftyNodesConverges(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
		all := append(m.sites(49), seed)
		took := m.eventually(time.Minute, "all see all as alive", func() bool {
			return !slices.ContainsFunc(all, func(s *station) bool {
				alive := 0
				for _, n := range s.node.board.View().Nodes {
					if n.State.Here() {
						alive++
					}
				}
				return alive < len(all)-1
			})
		})
		t.Logf("converged in %v", took)
		for i, s := range all {
			m.reach(3*time.Second, s, all[(i+17)%len(all)])
		}
	})
}
