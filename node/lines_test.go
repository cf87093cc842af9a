package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/simnet"
)

// has makes a station that finds its way through NATs and whose host has these
// addresses.
func has(addresses ...string) func(*station) {
	return func(s *station) {
		throughNATs(s)
		through := s.parts
		s.parts = func(s *station, p *Parts) {
			through(s, p)
			p.Hosts = func() (all []netip.Addr) {
				for _, a := range addresses {
					all = append(all, netip.MustParseAddr(a))
				}
				return all
			}
		}
	}
}

// dual starts a station on an internet of both families, or behind router. It
// joins through the seeds, unless it is one.
func (m *mesh) dual(n int, router *simnet.NAT, seeds []string, addresses ...string) *station {
	m.t.Helper()
	name := fmt.Sprint("site-", n)
	s := m.station(name, fmt.Sprintf("10.0.0.%d/24", n), []func(*station){has(addresses...)})
	s.cfg.Seeds = seeds
	if s.router = router; router != nil {
		s.host = router.Host(name, addresses...)
	} else {
		s.host = m.net.Host(name, addresses...)
	}
	s.start()
	return s
}

// seeds6 are two seeds that are reached by both families, and all their addresses.
func (m *mesh) seeds6() (seeds []string) {
	m.t.Helper()
	for n := 1; n <= 2; n++ {
		v4, v6 := fmt.Sprintf("203.0.113.%d", n), fmt.Sprintf("2001:db8::%d", n)
		name := fmt.Sprint("seed-", n)
		s := m.station(name, fmt.Sprintf("10.0.0.%d/24", 200+n), []func(*station){has(v4, v6), func(s *station) { s.cfg.Mode, s.port = "server", 9000 }})
		s.cfg.Seeds = seeds[:min(len(seeds), 1)]
		for _, a := range []string{v4, v6} {
			s.cfg.Listen = append(s.cfg.Listen, netip.AddrPortFrom(netip.MustParseAddr(a), 9000))
		}
		s.host = m.net.Host(name, v4, v6)
		s.start()
		for _, l := range s.cfg.Listen {
			seeds = append(seeds, l.String())
		}
	}
	return seeds
}

// endpointsOf waits until both of two stations show a path of one of the kinds,
// while they talk, and returns where it leads: from a, from b.
func (m *mesh) endpointsOf(limit time.Duration, a, b *station, kinds ...string) (ab, ba netip.AddrPort) {
	m.t.Helper()
	m.eventually(limit, fmt.Sprintf("%s and %s show %v", a.cfg.Name, b.cfg.Name, kinds), func() bool {
		m.reachAll(5*time.Second, a, b)
		there, back := a.peer(b).Link, b.peer(a).Link
		ab, _ = netip.ParseAddrPort(there.Endpoint)
		ba, _ = netip.ParseAddrPort(back.Endpoint)
		return slices.Contains(kinds, there.Path) && slices.Contains(kinds, back.Path)
	})
	return ab, ba
}

// Two homes of one carrier know nothing of each other's inside addresses; those
// outside are the carrier's own.
func TestHomesOfOneCarrierMeetByHairpinAndOnlyByIt(t *testing.T) {
	for _, hairpin := range []bool{true, false} {
		t.Run(fmt.Sprint("hairpin ", hairpin), func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				m.seed("fra-seed", seedAddress, "10.0.0.1/24", throughNATs)
				m.seed("ams-seed", "203.0.113.2:9000", "10.0.0.9/24", throughNATs, func(s *station) { s.cfg.Seeds = []string{seedAddress} })
				const outside = "198.51.100.7"
				carrier := m.net.NAT("carrier", simnet.NATConfig{Kind: simnet.PortRestricted, Hairpin: hairpin}, outside)
				home := func(n int) *station {
					return m.site(n, throughNATs, func(s *station) {
						s.router = carrier.NAT(fmt.Sprint("home-", n), simnet.NATConfig{Kind: simnet.PortRestricted}, fmt.Sprintf("100.64.0.%d", n))
					})
				}
				a, b := home(2), home(3)
				if !hairpin {
					m.reachAll(10*time.Second, a, b)
					m.pass(10 * time.Second)
					m.endpointsOf(time.Second, a, b, "relay")
					return
				}
				ab, ba := m.endpointsOf(20*time.Second, a, b, "udp", "rawtcp")
				if want := netip.MustParseAddr(outside); ab.Addr() != want || ba.Addr() != want {
					t.Errorf("the paths lead to %s and %s, want %s", ab, ba, want)
				}
			})
		})
	}
}

// IPv6 is routed and filtered, whatever a router does with IPv4.
func TestIPv6IsTheWayOfTwoWhoHaveItAndIPv4ThatOfOthers(t *testing.T) {
	const v4of2, v4of3, v6of2, v6of3 = "192.168.2.10", "192.168.3.10", "2001:db8:2::10", "2001:db8:3::10"
	for name, c := range map[string]struct {
		kind         simnet.NATKind
		addresses2   []string
		addresses3   []string
		want         []string // paths
		want2, want3 string   // where they lead, seen from the other
	}{
		"both have it, and IPv4 is hopeless":   {simnet.Symmetric, []string{v4of2, v6of2}, []string{v4of3, v6of3}, []string{"udp", "rawtcp"}, v6of2, v6of3},
		"one has nothing else, the other both": {simnet.Symmetric, []string{v6of2}, []string{v4of3, v6of3}, []string{"udp", "rawtcp"}, v6of2, v6of3},
		"one has it, and IPv4":                 {simnet.PortRestricted, []string{v4of2, v6of2}, []string{v4of3}, []string{"udp", "rawtcp"}, "198.51.100.2", "198.51.100.3"},
		"one has it alone, the other IPv4":     {simnet.PortRestricted, []string{v6of2}, []string{v4of3}, []string{"relay"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				seeds := m.seeds6()
				router := func(n int) *simnet.NAT {
					return m.net.NAT(fmt.Sprint("router-", n), simnet.NATConfig{Kind: c.kind, Routed6: true}, fmt.Sprintf("198.51.100.%d", n))
				}
				a, b := m.dual(2, router(2), seeds, c.addresses2...), m.dual(3, router(3), seeds, c.addresses3...)
				m.reachAll(10*time.Second, a, b)
				if c.want2 == "" {
					m.pass(10 * time.Second)
				}
				ab, ba := m.endpointsOf(20*time.Second, a, b, c.want...)
				if c.want2 != "" && (ba.Addr() != netip.MustParseAddr(c.want2) || ab.Addr() != netip.MustParseAddr(c.want3)) {
					t.Errorf("the paths lead to %s and %s, want %s and %s", ba, ab, c.want2, c.want3)
				}
			})
		})
	}
}

func TestWhereUDPIsThrottledOrBlockedFakeTCPIsTheWay(t *testing.T) {
	const throttle = 1_000_000 // bits per second
	for name, c := range map[string][2]simnet.NATConfig{
		"throttled":                     {{Kind: simnet.PortRestricted, UDPRate: throttle}, {Kind: simnet.PortRestricted}},
		"throttled both":                {{Kind: simnet.FullCone, UDPRate: throttle}, {Kind: simnet.PortRestricted, UDPRate: throttle}},
		"blocked":                       {{Kind: simnet.Restricted}, {Kind: simnet.PortRestricted, NoUDP: true}},
		"blocked both":                  {{Kind: simnet.PortRestricted, NoUDP: true}, {Kind: simnet.PortRestricted, NoUDP: true}},
		"throttled here, blocked there": {{Kind: simnet.PortRestricted, UDPRate: throttle}, {Kind: simnet.PortRestricted, NoUDP: true}},
	} {
		t.Run(name, func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				m.seed("fra-seed", seedAddress, "10.0.0.1/24", throughNATs)
				m.seed("ams-seed", "203.0.113.2:9000", "10.0.0.9/24", throughNATs, func(s *station) { s.cfg.Seeds = []string{seedAddress} })
				a := m.site(2, throughNATs, behindA(2, c[0]))
				b := m.site(3, throughNATs, behindA(3, c[1]))
				m.endpointsOf(20*time.Second, a, b, "udp", "rawtcp")
				// More than a throttled line takes: 4 Mbit/s for a second and more.
				text := strings.Repeat("x", 1000)
				took := m.eventually(20*time.Second, "fake TCP carries what is too much for UDP", func() bool {
					for range 5 {
						a.say(a.address(), b.address(), text)
					}
					b.heard()
					path, _ := a.pathTo(b)
					return path == "rawtcp"
				})
				t.Logf("on fake TCP after %v of 4 Mbit/s", took)
				arrived := 0
				for range 100 {
					for range 5 {
						a.say(a.address(), b.address(), text)
					}
					m.pass(10 * time.Millisecond)
					arrived += len(b.heard())
				}
				m.pass(time.Second)
				if arrived += len(b.heard()); arrived < 500 {
					t.Errorf("%d of 500 packets arrived", arrived)
				}
			})
		})
	}
}
