package rawtcp

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

func TestARestartedServerIsNoticedWithTheFirstSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		a, _ := n.transport(n.host("192.0.2.1"), Config{})
		n.transport(n.host("192.0.2.2"), serverConfig())
		f := mustDial(t, a, "192.0.2.2:9000")
		_ = sendTest(f, 1, 1, 100)
		synctest.Wait()
		n.transport(n.host("192.0.2.2"), serverConfig()) // takes over the address
		_ = sendTest(f, 2, 1, 100)
		pass(10 * time.Millisecond)
		if f.Alive() {
			t.Fatal("the flow does not know that its peer forgot it")
		}
	})
}

func TestUnadoptedFlowsExpireAndAdoptedOnesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		a, _ := n.transport(n.host("192.0.2.1"), Config{})
		_, arrived := n.transport(n.host("192.0.2.2"), serverConfig())
		stays, goes := mustDial(t, a, "192.0.2.2:9000"), mustDial(t, a, "192.0.2.2:9000")
		_ = sendTest(stays, 1, 1, 100)
		(<-arrived)[0].Path.(*Flow).Adopt()
		pass(AdoptTime + time.Second)
		if !stays.Alive() || goes.Alive() {
			t.Fatalf("adopted alive: %v, unadopted alive: %v", stays.Alive(), goes.Alive())
		}
	})
}

func TestASYNFloodCostsNoStateAndLetsOthersIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		a, _ := n.transport(n.host("192.0.2.1"), Config{})
		w := n.host("192.0.2.2")
		b, arrived := n.transport(w, serverConfig())
		syn := unhex(t, linuxSYN4)
		for i := range 2000 {
			syn[12], syn[15], syn[21] = 198, byte(i), byte(i>>8)
			w.arrive(bytes.Clone(syn), 0)
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if half := b.Status().HalfOpen; half != 256 {
			t.Fatalf("%d half-open connections", half)
		}
		w.mu.Lock()
		if w.lookups > 256 || w.answered < 1000 {
			t.Errorf("%d lookups, %d stateless answers", w.lookups, w.answered)
		}
		w.mu.Unlock()
		f := mustDial(t, a, "192.0.2.2:9000")
		for i := range 100 {
			if err := sendTest(f, i, 20, 1400); err != nil {
				t.Fatal(err)
			}
			if got := <-arrived; len(got) != 20 {
				t.Fatalf("got %d", len(got))
			}
			pass(2 * time.Millisecond) // for the acknowledgement
		}
		pass(2 * time.Minute)
		if half := b.Status().HalfOpen; half != 0 {
			t.Fatalf("%d half-open connections are left", half)
		}
	})
}

func TestTheFlowLimitRefusesMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		a, _ := n.transport(n.host("192.0.2.1"), Config{DialTimeout: 2 * time.Second})
		cfg := serverConfig()
		cfg.MaxFlows = 2
		b, _ := n.transport(n.host("192.0.2.2"), cfg)
		mustDial(t, a, "192.0.2.2:9000")
		mustDial(t, a, "192.0.2.2:9000")
		pass(10 * time.Millisecond)
		if d := <-dialTest(a, "192.0.2.2:9000"); d.err == nil {
			t.Fatal("a third connection was accepted")
		}
		if b.Drops()["flow-limit"] == 0 {
			t.Fatal("not counted")
		}
	})
}

func TestAChangedLocalAddressEndsDialledFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		w := n.host("192.0.2.1")
		a, _ := n.transport(w, Config{})
		n.transport(n.host("192.0.2.2"), serverConfig())
		f := mustDial(t, a, "192.0.2.2:9000")
		w.mu.Lock()
		w.addrs = []netip.Addr{netip.MustParseAddr("192.0.2.9")}
		changed := w.changed
		w.mu.Unlock()
		for _, f := range changed {
			f()
		}
		synctest.Wait()
		if f.Alive() {
			t.Fatal("alive on an address that is gone")
		}
	})
}

func TestHeavyLossNeverStopsAFlowNorBreaksAWindow(t *testing.T) {
	for name, split := range map[string]bool{"supers": false, "segments": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNet(t)
				n.split, n.delay = split, 20*time.Millisecond
				r, sizes := rand.New(rand.NewPCG(1, 2)), rand.New(rand.NewPCG(3, 4))
				n.drop = func(g *segment) bool { return g.flags&flagSYN == 0 && r.IntN(100) < 30 }
				a, _ := n.transport(n.host("192.0.2.1"), Config{})
				_, arrived := n.transport(n.host("192.0.2.2"), serverConfig())
				f := mustDial(t, a, "192.0.2.2:9000")
				full, sent := 0, 0
				go func() {
					for got := range arrived {
						got[0].Path.(*Flow).Adopt()
					}
				}()
				defer close(arrived)
				for range 3000 {
					switch err := sendTest(f, 1, 1+sizes.IntN(45), 1000); err {
					case nil:
						sent++
					case packet.ErrFull:
						full++
					default:
						t.Fatal(err)
					}
					pass(time.Millisecond)
				}
				if sent < 2500 || !f.Alive() {
					t.Fatalf("%d trains sent, %d refused, alive: %v", sent, full, f.Alive())
				}
				pass(30 * time.Second)
				if f.inFlight() != 0 {
					t.Fatalf("%d bytes stay unacknowledged", f.inFlight())
				}
			})
		})
	}
}

func TestAnOutageOfAFullWindowHealsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		a, _ := n.transport(n.host("192.0.2.1"), Config{})
		_, arrived := n.transport(n.host("192.0.2.2"), serverConfig())
		f := mustDial(t, a, "192.0.2.2:9000")
		_ = sendTest(f, 1, 1, 100)
		(<-arrived)[0].Path.(*Flow).Adopt()
		n.dropping(func(*segment) bool { return true })
		for sendTest(f, 1, 40, 1400) == nil {
		}
		pass(3 * time.Second)
		n.dropping(nil)
		pass(4 * time.Second)
		if err := sendTest(f, 5, 1, 1400); err != nil {
			t.Fatal(err)
		}
		if got := <-arrived; got[0].Data[0] != 5 {
			t.Fatal("not what was sent last")
		}
	})
}

func TestTheActorCanBeRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		w := n.host("192.0.2.1")
		tr, err := newTransport(Config{}, w, testProfile())
		if err != nil {
			t.Fatal(err)
		}
		n.transport(n.host("192.0.2.2"), serverConfig())
		go func() {
			for {
				if _, err := tr.Receive(); err != nil {
					return
				}
			}
		}()
		run := func() (stop func()) {
			ctx, cancel := contextWithEnd(t)
			ended := make(chan error)
			go func() { ended <- tr.Run(ctx) }()
			return func() {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
		}
		stop := run()
		first := mustDial(t, tr, "192.0.2.2:9000")
		stop()
		stop = run()
		second := mustDial(t, tr, "192.0.2.2:9000")
		if !first.Alive() || !second.Alive() {
			t.Fatal("a flow was lost")
		}
		stop()
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestJunkOfEveryKindStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		a, _ := n.transport(n.host("192.0.2.1"), Config{})
		w := n.host("192.0.2.2")
		b, arrived := n.transport(w, serverConfig())
		f := mustDial(t, a, "192.0.2.2:9000")
		_ = sendTest(f, 1, 1, 100)
		back := (<-arrived)[0].Path.(*Flow)
		back.Adopt()
		r := rand.New(rand.NewPCG(3, 4))
		for i := range 20000 {
			h := header{tuple: &f.tuple, pseudo: f.pseudo, ttl: 64, flags: uint8(r.Uint32()), window: uint16(r.Uint32()),
				seq: f.sndNxt.Load() + r.Uint32()>>uint(r.IntN(32)), ack: f.rcvNxt.Load() - r.Uint32()>>uint(r.IntN(32)),
				opts: options{wscale: -1, stamps: r.IntN(2) == 0, val: r.Uint32(), ecr: r.Uint32()}}
			if h.seq == back.rcvNxt.Load() {
				h.flags &^= flagRST // that one would be genuine
			}
			tu := f.tuple
			if r.IntN(2) == 0 {
				h.tuple = &tu
				tu.localPort = uint16(r.Uint32())
			}
			ip, tcp := h.size()
			body := r.IntN(100)
			pkt := make([]byte, ip+tcp+body)
			h.put(pkt[:ip+tcp], body)
			if r.IntN(4) == 0 {
				for range 3 {
					pkt[r.IntN(len(pkt)-24)] ^= byte(r.Uint32())
				}
			}
			w.mu.Lock()
			w.ports[f.tuple.remotePort] = true
			w.mu.Unlock()
			select {
			case w.in <- link.Packet{IP: pkt, SegmentSize: r.IntN(3) * 50}:
			default:
			}
			if i%200 == 0 {
				pass(2 * time.Millisecond)
			}
		}
		pass(time.Second)
		for len(arrived) > 0 {
			<-arrived
		}
		if !f.Alive() || !back.Alive() {
			t.Fatalf("junk ended a flow: %v", b.Drops())
		}
		if err := sendTest(f, 77, 3, 1000); err != nil {
			t.Fatal(err)
		}
		if got := <-arrived; !bytes.Equal(numbers(got), []byte{77, 78, 79}) {
			t.Fatalf("got %v", numbers(got))
		}
	})
}
