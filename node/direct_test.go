package node

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/simnet"
)

// throughNATs gives a station UDP and fake TCP that is opened from both sides.
func throughNATs(s *station) {
	s.cfg.P2P, s.cfg.NATDetection, s.cfg.STUNOff = true, true, true
	s.parts = func(s *station, p *Parts) {
		p.UDP, p.Cross = simDatagrams{s.transport.UDP()}, s.transport
		p.Hosts = func() []netip.Addr { return []netip.Addr{s.host.Addr()} }
	}
}

// simDatagrams is the simulated UDP transport as a node wants it.
type simDatagrams struct{ *simnet.UDPTransport }

func (simDatagrams) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
func (simDatagrams) Drops() map[string]uint64 { return nil }
func (simDatagrams) Describe() Transport      { return Transport{} }

// behindA puts a station behind a router of a kind.
func behindA(n int, cfg simnet.NATConfig) func(*station) {
	return func(s *station) {
		s.router = s.mesh.net.NAT(fmt.Sprintf("router-%d", n), cfg, fmt.Sprintf("198.51.100.%d", n))
	}
}

// pathTo is the path of the link from s to another station, and why it is not direct.
func (s *station) pathTo(other *station) (path, why string) {
	for _, p := range s.node.peers.Peers() {
		if v := p.Snapshot(); v.Name == other.cfg.Name {
			return v.Path, v.WhyNotDirect
		}
	}
	return "", ""
}

func TestNodesFindDirectPathsThroughTheirNATs(t *testing.T) {
	kinds := map[string]simnet.NATConfig{
		"full":            {Kind: simnet.FullCone},
		"port-restricted": {Kind: simnet.PortRestricted},
		"step":            {Kind: simnet.Symmetric, Step: 1},
		"random":          {Kind: simnet.Symmetric},
		"UDP blocked":     {Kind: simnet.PortRestricted, NoUDP: true},
	}
	for _, c := range []struct{ a, b, want string }{
		{"full", "full", "direct"}, {"port-restricted", "port-restricted", "direct"}, {"step", "port-restricted", "direct"},
		{"random", "full", "direct"}, {"random", "port-restricted", "udp"}, {"random", "random", "relay"},
		{"UDP blocked", "port-restricted", "rawtcp"},
	} {
		t.Run(c.a+"/"+c.b, func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				m.seed("fra-seed", seedAddress, "10.0.0.1/24", throughNATs)
				m.seed("ams-seed", "203.0.113.2:9000", "10.0.0.9/24", throughNATs, func(s *station) { s.cfg.Seeds = []string{seedAddress} })
				a := m.site(2, throughNATs, behindA(2, kinds[c.a]))
				b := m.site(3, throughNATs, behindA(3, kinds[c.b]))
				m.reachAll(10*time.Second, a, b)
				direct := func() bool {
					pa, _ := a.pathTo(b)
					pb, _ := b.pathTo(a)
					if c.want == "direct" {
						return pa == pb && (pa == "udp" || pa == "rawtcp")
					}
					return pa == c.want && pb == c.want
				}
				if c.want != "relay" {
					m.eventually(20*time.Second, "a direct path", func() bool { m.reachAll(time.Second, a, b); return direct() })
					return
				}
				m.pass(15 * time.Second)
				m.reachAll(time.Second, a, b)
				if _, why := a.pathTo(b); !direct() || !strings.Contains(why, "both NATs symmetric") {
					t.Errorf("why: %s", why)
				}
			})
		})
	}
}
