package peerlink

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/node/simnet"
	"github.com/openbmx/lightweight-tunnel/peerlink/punch"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

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
