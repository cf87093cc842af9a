package rawtcp

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// randomNAT puts a host (IPv4) behind a NAT that gives each of its connections a
// random port and lets in nothing but answers. The NAT of the host far lets in
// everything, or, if it is restricted, what comes from where far has sent to.
func (n *testNet) randomNAT(host, outside, far netip.Addr, restricted bool) {
	type outer struct {
		port   uint16
		remote [6]byte
	}
	random := rand.New(rand.NewPCG(1, 2))
	out, back := map[[8]byte]uint16{}, map[outer]uint16{}
	spoken := map[netip.Addr]bool{}
	n.nat = func(pkt []byte) bool {
		src, dst := netip.AddrFrom4([4]byte(pkt[12:16])), netip.AddrFrom4([4]byte(pkt[16:20]))
		ports := pkt[ip4Len:]
		if src == far {
			spoken[dst] = true
		}
		switch {
		case src == host:
			inner := [8]byte(append(append(append([]byte(nil), ports[:2]...), pkt[16:20]...), ports[2:4]...))
			if out[inner] == 0 {
				out[inner] = uint16(1024 + random.IntN(60000))
				back[outer{out[inner], [6]byte(inner[2:])}] = binary.BigEndian.Uint16(ports)
			}
			copy(pkt[12:16], outside.AsSlice())
			binary.BigEndian.PutUint16(ports, out[inner])
			return !restricted || spoken[outside]
		case dst == outside:
			port, ok := back[outer{binary.BigEndian.Uint16(ports[2:]), [6]byte(append(append([]byte(nil), pkt[12:16]...), ports[:2]...))}]
			copy(pkt[16:20], host.AsSlice())
			binary.BigEndian.PutUint16(ports[2:], port)
			return ok
		}
		return true
	}
}

func TestAHostBehindARandomNATMeetsOneBehindAnOpenNAT(t *testing.T) {
	for kind, restricted := range map[string]bool{"full cone": false, "address-restricted": true} {
		for when, late := range map[string]time.Duration{"at once": 0, "soon": 70 * time.Millisecond, "late": 1200 * time.Millisecond} {
			t.Run(kind+", "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := newTestNet(t)
					n.delay = 20 * time.Millisecond
					a, toA := n.transport(n.host("10.0.0.1"), Config{})
					b, toB := n.transport(n.host("192.0.2.2"), Config{})
					n.randomNAT(netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), restricted)
					ha, hb := mustHold(t, a, false), mustHold(t, b, false)
					first := crossTest(ha, packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.2", hb.Port())}, Timeout: 5 * time.Second})
					pass(late)
					began := time.Now()
					second := crossTest(hb, packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.1", 9), place("192.0.2.1", 10)}, Timeout: 5 * time.Second})
					f, g := mustCross(t, first), mustCross(t, second)
					if took := time.Since(began); took > 700*time.Millisecond {
						t.Errorf("took %v", took)
					}
					if g.Remote().Addr() != netip.MustParseAddr("192.0.2.1") || g.Remote().Port() <= 10 {
						t.Fatalf("with %v", g.Remote())
					}
					exchange(t, f, g, toA, toB)
					if rst := n.sent(flagRST); len(rst) != 0 {
						t.Fatalf("%d resets", len(rst))
					}
					ha.Release()
					hb.Release()
					pass(AdoptTime + time.Second)
					exchange(t, f, g, toA, toB)
					f.Close()
					pass(5 * time.Second)
					for _, tr := range []*Transport{a, b} {
						if len(tr.table.Load().flows) != 0 || tr.wire.(*testWire).held() != 0 {
							t.Fatal("something is left")
						}
					}
				})
			})
		}
	}
}

func TestUnforeseenConnectionsThatFailLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		w := n.host("192.0.2.1")
		a, _ := n.transport(w, Config{})
		h := mustHold(t, a, false)
		done := crossTest(h, packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.2", 9), place("192.0.2.2", 10)}, Timeout: 3 * time.Second})
		synctest.Wait()
		for port := range uint16(40) {
			tu := newTuple(place("192.0.2.2", 5000+port), place("192.0.2.1", h.Port()))
			hd := header{tuple: &tu, pseudo: tu.pseudoSum(), ttl: 64, flags: flagSYN, seq: 7, opts: options{mss: 1460, wscale: -1}}
			pkt := make([]byte, maxHeader)
			ip, tcp := hd.size()
			hd.put(pkt[:ip+tcp], 0)
			w.arrive(pkt[:ip+tcp], 0)
		}
		synctest.Wait()
		if got := len(a.table.Load().flows); got != 2+MaxUnforeseen {
			t.Fatalf("%d flows", got)
		}
		d := <-done
		if d.err == nil || !strings.Contains(d.err.Error(), "with any of 2 addresses such as 192.0.2.2:9 within 3s") {
			t.Fatal(d.err)
		}
		if rst := n.sent(flagRST); len(rst) != 0 {
			t.Fatalf("%d resets", len(rst))
		}
		h.Release()
		pass(time.Second)
		if len(a.table.Load().flows) != 0 || w.held() != 0 {
			t.Fatal("something is left")
		}
	})
}

func TestOnlySYNsThatACrossingMayExpectAreAnswered(t *testing.T) {
	local, peer := netip.MustParseAddrPort("192.0.2.1:40001"), netip.MustParseAddr("192.0.2.2")
	for name, test := range map[string]struct {
		change  func(c *control, x *crossing, g *segment)
		answers bool
	}{
		"from another port":    {func(*control, *crossing, *segment) {}, true},
		"with ECN":             {func(_ *control, _ *crossing, g *segment) { g.flags |= 0xc0 }, true},
		"from another address": {func(_ *control, _ *crossing, g *segment) { g.tuple.remote = netip.MustParseAddr("192.0.2.3").As16() }, false},
		"to another port":      {func(_ *control, _ *crossing, g *segment) { g.tuple.localPort++ }, false},
		"no SYN":               {func(_ *control, _ *crossing, g *segment) { g.flags = flagACK }, false},
		"a SYN-ACK":            {func(_ *control, _ *crossing, g *segment) { g.flags |= flagACK }, false},
		"a SYN with FIN":       {func(_ *control, _ *crossing, g *segment) { g.flags |= flagFIN }, false},
		"a SYN with RST":       {func(_ *control, _ *crossing, g *segment) { g.flags |= flagRST }, false},
		"given up":             {func(_ *control, x *crossing, _ *segment) { x.cancelled.Store(true) }, false},
		"over":                 {func(_ *control, x *crossing, _ *segment) { x.from.forget(x) }, false},
		"too many connections": {func(c *control, _ *crossing, _ *segment) { c.t.cfg.MaxFlows = len(c.flows) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestNet(t).host("192.0.2.1")
			tr, err := newTransport(Config{}, w, testProfile())
			if err != nil {
				t.Fatal(err)
			}
			c := &tr.state
			h := &holding{t: tr, port: testPort(40001)}
			c.hold(h)
			x := &crossing{dial: dial{from: h, done: func(packet.Path, error) {}}, what: packet.Crossing{
				Remotes: []netip.AddrPort{netip.AddrPortFrom(peer, 9)}, Timeout: time.Minute}}
			c.cross(t0, x)
			g := &segment{tuple: newTuple(local, netip.AddrPortFrom(peer, 7)), flags: flagSYN, seq: 77, opts: options{mss: 1460, wscale: 7}}
			test.change(c, x, g)
			before := len(w.net.seen)
			if got := c.unforeseen(t0+1, g); got != test.answers {
				t.Fatalf("taken: %v", got)
			}
			said := w.net.seen[before:]
			switch f := c.flows[g.tuple]; {
			case !test.answers:
				if len(said) != 0 || f != nil {
					t.Fatalf("says %+v", said)
				}
			case len(said) != 1 || said[0].flags != flagSYN|flagACK || said[0].ack != g.seq+1:
				t.Fatalf("says %+v", said)
			case tr.table.Load().flows[g.tuple] != f || f.machine.state != synReceived:
				t.Fatal("what answers would find nobody")
			}
		})
	}
}
