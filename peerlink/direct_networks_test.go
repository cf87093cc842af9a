package peerlink

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/node/simnet"
)

// meetDirectly says whether two sites get a direct path, and which.
func (w *natWorld) meetDirectly(a, b *site, limit time.Duration) (Snapshot, time.Duration) {
	w.t.Helper()
	w.settled(a, b)
	a.send(b, "first")
	took := eventually(w.t, limit, "direct; "+a.link(b).WhyNotDirect, func() bool { return direct(a.link(b)) && direct(b.link(a)) })
	return a.link(b), took
}

func TestRoutersThatTakeOrResetWhatComesEarlyArePassed(t *testing.T) {
	for _, unasked := range []simnet.Unasked{simnet.ResetUnasked, simnet.TakeUnasked} {
		for _, noUDP := range []bool{false, true} {
			for _, other := range []simnet.NATKind{simnet.PortRestricted, simnet.Restricted} {
				synctest.Test(t, func(t *testing.T) {
					w := newNATWorld(t)
					a, _ := w.behind("office", 10, simnet.NATConfig{Kind: simnet.PortRestricted, Unasked: unasked, NoUDP: noUDP}, nil)
					b, _ := w.behind("nas", 20, simnet.NATConfig{Kind: other, Unasked: unasked, NoUDP: noUDP}, nil)
					l, took := w.meetDirectly(a, b, 10*time.Second)
					if took > 3*time.Second {
						t.Errorf("%v over %s", took, l.Path)
					}
				})
			}
		}
	}
}

func TestTheBirthdaySearchStandsAThievingRouter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNATWorld(t)
		a, _ := w.behind("office", 10, simnet.NATConfig{Kind: simnet.PortRestricted, Unasked: simnet.TakeUnasked}, nil)
		b, _ := w.behind("nas", 20, simnet.NATConfig{Kind: simnet.Symmetric, Unasked: simnet.TakeUnasked}, nil)
		if l, took := w.meetDirectly(a, b, 20*time.Second); l.Path != "udp" {
			t.Errorf("%s after %v", l.Path, took)
		}
	})
}

func TestSitesBehindOneRouterUseTheirOwnNetwork(t *testing.T) {
	for _, kind := range []simnet.NATKind{simnet.PortRestricted, simnet.Symmetric} {
		synctest.Test(t, func(t *testing.T) {
			w := newNATWorld(t)
			router := w.net.NAT("router", simnet.NATConfig{Kind: kind}, "198.51.100.10")
			a := w.start("office", router.Host("office", "192.168.7.10"), 0, publicAddrs[:1], nil)
			b := w.start("nas", router.Host("nas", "192.168.7.20"), 0, publicAddrs[:1], nil)
			l, took := w.meetDirectly(a, b, 3*time.Second)
			if got := l.Endpoint; got[:13] != "192.168.7.20:" || took > time.Second {
				t.Errorf("over %s %s after %v", l.Path, got, took)
			}
		})
	}
}

func TestSitesBehindTwoRoutersInARowMeet(t *testing.T) {
	for _, kind := range []simnet.NATKind{simnet.FullCone, simnet.PortRestricted} {
		synctest.Test(t, func(t *testing.T) {
			w := newNATWorld(t)
			carrier := w.net.NAT("carrier", simnet.NATConfig{Kind: kind}, "198.51.100.10")
			home := carrier.NAT("home", simnet.NATConfig{Kind: simnet.PortRestricted}, "100.64.0.7")
			a := w.start("office", home.Host("office", "192.168.7.10"), 0, publicAddrs[:1], nil)
			b, _ := w.behind("nas", 20, simnet.NATConfig{Kind: simnet.PortRestricted}, nil)
			if _, took := w.meetDirectly(a, b, 5*time.Second); took > 3*time.Second {
				t.Errorf("after %v", took)
			}
		})
	}
}

func TestALossyLineIsNoHindrance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNATWorld(t)
		a, _ := w.behind("office", 10, simnet.NATConfig{Kind: simnet.PortRestricted}, nil)
		b, _ := w.behind("nas", 20, simnet.NATConfig{Kind: simnet.PortRestricted}, nil)
		w.settled(a, b)
		w.net.SetDefault(simnet.Link{Delay: 30 * time.Millisecond, Loss: 0.3})
		a.send(b, "first")
		eventually(t, 20*time.Second, "direct", func() bool { return direct(a.link(b)) && direct(b.link(a)) })
	})
}

func TestANodeThatMovesToAnotherNetworkIsDirectAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNATWorld(t)
		a, router := w.behind("office", 10, simnet.NATConfig{Kind: simnet.PortRestricted}, nil)
		b, _ := w.behind("nas", 20, simnet.NATConfig{Kind: simnet.PortRestricted}, nil)
		w.meetDirectly(a, b, 3*time.Second)
		router.SetOutside("198.51.100.77")
		took := eventually(t, 20*time.Second, "direct again", func() bool {
			a.send(b, "x")
			b.send(a, "x")
			return direct(a.link(b)) && b.link(a).Endpoint[:14] == "198.51.100.77:"
		})
		if took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestMappingsThatAreForgottenSoonAreMeasuredAndTheirPathsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNATWorld(t)
		const life = 9 * time.Second // less than what lies between two questions of a quiet link
		cfg := simnet.NATConfig{Kind: simnet.PortRestricted, UDPTimeout: life, UDPStream: life}
		udp := func(c *Config) { c.Transport = packet.UDP }
		a, _ := w.behind("office", 10, cfg, udp)
		b, _ := w.behind("nas", 20, cfg, udp)
		w.meetDirectly(a, b, 10*time.Second)
		for _, s := range []*site{a, b} {
			eventually(t, 30*time.Minute, "the lifetime is known", func() bool { return s.d.cfg.Refresh() > 0 })
			if r := s.d.cfg.Refresh(); r > life/2 || r < life/4 {
				t.Errorf("something must go out each %v", r)
			}
		}
		eventually(t, time.Minute, "direct", func() bool {
			a.send(b, "x")
			return direct(a.link(b)) && direct(b.link(a))
		})
		pass(10 * time.Second)
		before := a.log.count("path changed") + b.log.count("path changed")
		pass(3 * time.Minute)
		if n := a.log.count("path changed") + b.log.count("path changed") - before; n > 0 || !direct(a.link(b)) {
			t.Errorf("%d changes in quiet minutes", n)
		}
	})
}
