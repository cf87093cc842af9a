package rawtcp

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

func place(addr string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
}

func crossTest(h packet.Held, c packet.Crossing) chan dialled {
	ch := make(chan dialled, 1)
	h.Cross(c, func(p packet.Path, err error) { ch <- dialled{p, err} })
	return ch
}

func mustCross(t *testing.T, ch chan dialled) *Flow {
	t.Helper()
	d := <-ch
	if d.err != nil {
		t.Fatal(d.err)
	}
	return d.path.(*Flow)
}

// portRestricted lets nothing in to any host but what answers to what that host
// has sent. eaten, if not nil, sees what is dropped.
func (n *testNet) portRestricted(eaten func(g *segment)) {
	open := map[tuple]bool{}
	n.drop = func(g *segment) bool {
		open[tuple{g.tuple.remote, g.tuple.local, g.tuple.remotePort, g.tuple.localPort}] = true
		if open[g.tuple] {
			return false
		}
		if eaten != nil {
			eaten(g)
		}
		return true
	}
}

// exchange sends a datagram each way.
func exchange(t *testing.T, f, g *Flow, toF, toG chan packet.Arrivals) {
	t.Helper()
	for i, way := range []struct {
		from, to *Flow
		in       chan packet.Arrivals
	}{{f, g, toG}, {g, f, toF}} {
		if err := sendTest(way.from, i+1, 3, 1200); err != nil {
			t.Fatal(err)
		}
		got := <-way.in
		if len(got) != 3 || got[0].Path != way.to || got[2].Data[0] != byte(i+3) {
			t.Fatalf("got %d datagrams on %v, want them on %v", len(got), got[0].Path, way.to)
		}
	}
}

func TestTwoHostsBehindPortRestrictedNATsMeet(t *testing.T) {
	for name, late := range map[string]time.Duration{"at once": 0, "soon": 70 * time.Millisecond, "late": 1200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			bothFamilies(t, func(t *testing.T, one, two string) {
				n := newTestNet(t)
				n.delay = 20 * time.Millisecond
				n.portRestricted(nil)
				a, toA := n.transport(n.host(one), Config{})
				b, toB := n.transport(n.host(two), Config{})
				v6 := strings.Contains(one, ":")
				ha, hb := mustHold(t, a, v6), mustHold(t, b, v6)
				began := time.Now()
				first := crossTest(ha, packet.Crossing{Remotes: []netip.AddrPort{place(two, hb.Port())}, Timeout: 5 * time.Second})
				pass(late)
				second := crossTest(hb, packet.Crossing{Remotes: []netip.AddrPort{place(one, ha.Port())}, Timeout: 5 * time.Second})
				f, g := mustCross(t, first), mustCross(t, second)
				if took := time.Since(began) - late; took > 700*time.Millisecond {
					t.Errorf("took %v", took)
				}
				exchange(t, f, g, toA, toB)
				if rst := n.sent(flagRST); len(rst) != 0 {
					t.Fatalf("%d resets", len(rst))
				}
				ha.Release()
				hb.Release()
				pass(time.Second)
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

func TestOneOfSeveralPredictionsIsRightAndTheOthersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		n.portRestricted(nil)
		a, toA := n.transport(n.host("192.0.2.1"), Config{})
		b, toB := n.transport(n.host("192.0.2.2"), Config{})
		ha, hb := mustHold(t, a, false), mustHold(t, b, false)
		var guesses []netip.AddrPort
		for i := range 8 {
			guesses = append(guesses, place("192.0.2.2", hb.Port()+4-uint16(i)))
		}
		first := crossTest(ha, packet.Crossing{Remotes: append(guesses, guesses[4]), Timeout: 5 * time.Second})
		second := crossTest(hb, packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.1", ha.Port())}, Timeout: 5 * time.Second})
		f, g := mustCross(t, first), mustCross(t, second)
		exchange(t, f, g, toA, toB)
		synctest.Wait()
		if len(a.table.Load().flows) != 1 {
			t.Fatalf("%d flows", len(a.table.Load().flows))
		}
		before := len(n.sent(flagSYN))
		pass(10 * time.Second)
		if rst, fin := n.sent(flagRST), n.sent(flagFIN|flagACK); len(n.sent(flagSYN)) != before || len(rst)+len(fin) != 0 {
			t.Fatalf("%d SYNs, %d resets, %d FINs for what is over", len(n.sent(flagSYN))-before, len(rst), len(fin))
		}
	})
}

func TestASearchOverManyPortsIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		n.portRestricted(nil)
		a, toA := n.transport(n.host("192.0.2.1"), Config{})
		b, toB := n.transport(n.host("192.0.2.2"), Config{})
		ha, hb := mustHold(t, a, false), mustHold(t, b, false)
		var guesses []netip.AddrPort
		for i := range uint16(MaxRemotes) {
			guesses = append(guesses, place("192.0.2.2", hb.Port()+400-i))
		}
		first := crossTest(ha, packet.Crossing{Remotes: guesses, Timeout: 20 * time.Second})
		synctest.Wait()
		last := len(n.sent(flagSYN))
		if last != crossingBurst {
			t.Fatalf("%d SYNs at once", last)
		}
		for range 150 {
			pass(20 * time.Millisecond)
			now := len(n.sent(flagSYN))
			if now-last > 16 {
				t.Fatalf("%d SYNs within 20 ms", now-last)
			}
			last = now
		}
		if last < 1200 || last > 1600 {
			t.Fatalf("%d SYNs in 3 s", last)
		}
		second := crossTest(hb, packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.1", ha.Port())}, Timeout: 5 * time.Second})
		f, g := mustCross(t, first), mustCross(t, second)
		exchange(t, f, g, toA, toB)
	})
}

// A router that answers an unexpected SYN with a reset, and whose own host's NAT
// entry is then elsewhere, must not see one before its host's SYN went out.
func TestTheFirstSYNsDieOnTheWayIfAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		n.delay = 5 * time.Millisecond
		var unexpected []uint8
		n.portRestricted(func(*segment) { unexpected = append(unexpected, n.hops) })
		strict := n.drop
		n.drop = func(g *segment) bool { // the own router counts as one hop
			lost := strict(g)
			if n.hops < 3 && lost {
				unexpected = unexpected[:len(unexpected)-1]
			}
			return lost || n.hops < 3
		}
		a, toA := n.transport(n.host("192.0.2.1"), Config{})
		b, toB := n.transport(n.host("192.0.2.2"), Config{})
		ha, hb := mustHold(t, a, false), mustHold(t, b, false)
		began := time.Now()
		shy := func(h packet.Held, addr string, port uint16) chan dialled {
			return crossTest(h, packet.Crossing{Remotes: []netip.AddrPort{place(addr, port)}, Timeout: 5 * time.Second, Hops: 2, Shy: 250 * time.Millisecond})
		}
		first := shy(ha, "192.0.2.2", hb.Port())
		pass(150 * time.Millisecond)
		second := shy(hb, "192.0.2.1", ha.Port())
		f, g := mustCross(t, first), mustCross(t, second)
		if took := time.Since(began); took < 250*time.Millisecond || took > 500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if len(unexpected) != 0 {
			t.Fatalf("a router saw what it did not expect: hops to live %d", unexpected)
		}
		exchange(t, f, g, toA, toB)
	})
}

func TestResetsOfRoutersEndNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		w := n.host("192.0.2.1")
		n.portRestricted(func(g *segment) { // answers as Linux does where nobody listens
			if from := n.hosts[g.tuple.remoteAddr()]; g.flags == flagSYN && from != nil {
				h := header{tuple: &g.tuple, pseudo: g.tuple.pseudoSum(), ttl: 64, flags: flagRST | flagACK, ack: g.seq + 1, opts: options{wscale: -1}}
				pkt := make([]byte, ip4Len+tcpLen)
				h.put(pkt, 0)
				time.AfterFunc(n.delay, func() { from.arrive(pkt, 0) })
			}
		})
		a, toA := n.transport(w, Config{})
		b, toB := n.transport(n.host("192.0.2.2"), Config{})
		ha, hb := mustHold(t, a, false), mustHold(t, b, false)
		c := packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.2", hb.Port()), place("192.0.2.2", 9)}, Timeout: 3 * time.Second}
		d := <-crossTest(ha, c)
		if d.err == nil || !strings.Contains(d.err.Error(), "no connection from both sides with any of 2 addresses such as 192.0.2.2:40001 within 3s: 2 answered with a reset") {
			t.Fatal(d.err)
		}
		first := crossTest(ha, c)
		pass(time.Second)
		second := crossTest(hb, packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.1", ha.Port())}, Timeout: 3 * time.Second})
		exchange(t, mustCross(t, first), mustCross(t, second), toA, toB)
	})
}

func TestACrossingMeetsAListeningPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		a, toA := n.transport(n.host("192.0.2.1"), Config{})
		_, toB := n.transport(n.host("192.0.2.2"), serverConfig())
		h := mustHold(t, a, false)
		f := mustCross(t, crossTest(h, packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.2", 9000)}, Timeout: time.Second}))
		if err := sendTest(f, 1, 1, 100); err != nil {
			t.Fatal(err)
		}
		back := (<-toB)[0].Path.(*Flow)
		back.Adopt()
		exchange(t, f, back, toA, toB)
	})
}

// Two ways are open, and the sides may take different ones for the first.
func TestBothSidesMayTakeDifferentConnections(t *testing.T) {
	apart := 0
	for range 40 {
		synctest.Test(t, func(t *testing.T) {
			n := newTestNet(t)
			one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
			n.alias = map[netip.Addr]netip.Addr{netip.MustParseAddr("198.51.100.1"): one, netip.MustParseAddr("198.51.100.2"): two}
			a, toA := n.transport(n.host(one.String()), Config{})
			b, toB := n.transport(n.host(two.String()), Config{})
			ha, hb := mustHold(t, a, false), mustHold(t, b, false)
			first := crossTest(ha, packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.2", hb.Port()), place("198.51.100.2", hb.Port())}, Timeout: 2 * time.Second})
			second := crossTest(hb, packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.1", ha.Port()), place("198.51.100.1", ha.Port())}, Timeout: 2 * time.Second})
			f, g := mustCross(t, first), mustCross(t, second)
			if strings.HasPrefix(f.Remote().String(), "198") != strings.HasPrefix(g.Remote().String(), "198") {
				apart++
			}
			for in, way := range map[chan packet.Arrivals]*Flow{toB: f, toA: g} {
				if err := sendTest(way, 1, 1, 100); err != nil {
					t.Fatal(err)
				}
				(<-in)[0].Path.Adopt()
			}
			pass(2 * AdoptTime)
			if !f.Alive() || !g.Alive() {
				t.Fatal("a connection in use ended")
			}
		})
	}
	if apart == 0 {
		t.Error("never happened: the test shows nothing")
	}
}
