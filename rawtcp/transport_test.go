package rawtcp

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

type dialled struct {
	path packet.Path
	err  error
}

func dialTest(tr *Transport, to string) chan dialled {
	ch := make(chan dialled, 1)
	tr.Dial(netip.MustParseAddrPort(to), func(p packet.Path, err error) { ch <- dialled{p, err} })
	return ch
}

func mustDial(t *testing.T, tr *Transport, to string) *Flow {
	t.Helper()
	d := <-dialTest(tr, to)
	if d.err != nil {
		t.Fatal(d.err)
	}
	return d.path.(*Flow)
}

// sendTest sends n datagrams of size bytes, numbered from first, in one train.
func sendTest(f packet.Path, first, n, size int) error {
	tr := packet.NewTrain()
	tr.Reset(f.Prefix())
	for i := range n {
		b := tr.Next(size)
		for j := range b {
			b[j] = byte(first + i)
		}
	}
	return f.Send(tr)
}

func serverConfig() Config {
	return Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:9000"), netip.MustParseAddrPort("[::]:9000")}}
}

func bothFamilies(t *testing.T, f func(t *testing.T, client, server string)) {
	for name, addrs := range map[string][2]string{"v4": {"192.0.2.1", "192.0.2.2"}, "v6": {"2001:db8::1", "2001:db8::2"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, addrs[0], addrs[1]) })
		})
	}
}

func TestDatagramsTravelBothWays(t *testing.T) {
	bothFamilies(t, func(t *testing.T, client, server string) {
		n := newTestNet(t)
		a, fromServer := n.transport(n.host(client), Config{})
		_, fromClient := n.transport(n.host(server), serverConfig())
		f := mustDial(t, a, netip.AddrPortFrom(netip.MustParseAddr(server), 9000).String())
		if err := sendTest(f, 1, 3, 1000); err != nil {
			t.Fatal(err)
		}
		got := <-fromClient
		if !bytes.Equal(numbers(got), []byte{1, 2, 3}) || len(got[0].Data) != 1000 {
			t.Fatalf("got %v", numbers(got))
		}
		back := got[0].Path.(*Flow)
		back.Adopt()
		if err := sendTest(back, 9, 40, 1200); err != nil {
			t.Fatal(err)
		}
		if got := <-fromServer; len(got) != 40 || got[39].Data[0] != 48 {
			t.Fatalf("got %d", len(got))
		}
		if f.Remote() != back.Local() || f.Local() != back.Remote() || f.Kind() != packet.RawTCP || !f.Alive() {
			t.Fatalf("%v, %v", f, back)
		}
		want := 1500 - 20 - 32 - 5
		if strings.Contains(client, ":") {
			want -= 20
		}
		if f.MaxDatagram() != want || back.MaxDatagram() != want {
			t.Fatalf("datagrams of %d and %d, want %d", f.MaxDatagram(), back.MaxDatagram(), want)
		}
		if rst := n.sent(flagRST); len(rst) != 0 {
			t.Fatalf("%d resets", len(rst))
		}
	})
}

func TestHandshakeSurvivesTheLossOfEachOfItsSegments(t *testing.T) {
	for name, lost := range map[string]func(g *segment) bool{
		"syn":     func(g *segment) bool { return g.flags == flagSYN },
		"syn-ack": func(g *segment) bool { return g.flags == flagSYN|flagACK },
		"ack":     func(g *segment) bool { return g.flags == flagACK && len(g.payload) == 0 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newTestNet(t)
				first := true
				n.drop = func(g *segment) bool {
					hit := first && lost(g)
					first = first && !hit
					return hit
				}
				a, _ := n.transport(n.host("192.0.2.1"), Config{})
				_, arrived := n.transport(n.host("192.0.2.2"), serverConfig())
				began := time.Now()
				f := mustDial(t, a, "192.0.2.2:9000")
				if took := time.Since(began); took > 1100*time.Millisecond {
					t.Fatalf("took %v", took)
				}
				if err := sendTest(f, 7, 1, 100); err != nil {
					t.Fatal(err)
				}
				if got := <-arrived; !bytes.Equal(numbers(got), []byte{7}) {
					t.Fatalf("got %v", numbers(got))
				}
			})
		})
	}
}

func TestAHandshakeWhoseFirstSegmentsAreLostCompletesFromTheBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		a, _ := n.transport(n.host("192.0.2.1"), Config{})
		_, arrived := n.transport(n.host("192.0.2.2"), serverConfig())
		n.dropping(func(g *segment) bool { return g.flags&flagSYN == 0 })
		f := mustDial(t, a, "192.0.2.2:9000")
		_ = sendTest(f, 1, 1, 100)
		synctest.Wait()
		n.dropping(nil)
		_ = sendTest(f, 2, 1, 100) // completes the handshake, and is lost with it
		pass(5 * time.Millisecond)
		_ = sendTest(f, 3, 1, 100)
		if got := <-arrived; !bytes.Equal(numbers(got), []byte{3}) {
			t.Fatalf("got %v", numbers(got))
		}
	})
}

func TestDialSaysWhyItFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		a, _ := n.transport(n.host("192.0.2.1"), Config{DialTimeout: 10 * time.Second})
		w := n.host("192.0.2.2")
		n.transport(w, serverConfig())
		w.mu.Lock()
		w.ports[9001] = true
		w.mu.Unlock()
		d := <-dialTest(a, "192.0.2.2:9001")
		if d.err == nil || !strings.Contains(d.err.Error(), "connection refused by 192.0.2.2:9001: is a node listening there?") {
			t.Fatal(d.err)
		}
		began := time.Now()
		d = <-dialTest(a, "192.0.2.77:9000")
		if d.err == nil || !strings.Contains(d.err.Error(), "no answer from 192.0.2.77:9000 within 10s") || time.Since(began).Round(time.Second) != 10*time.Second {
			t.Fatal(d.err, time.Since(began))
		}
		ch := make(chan error, 2)
		cancel := a.Dial(netip.MustParseAddrPort("192.0.2.77:9000"), func(_ packet.Path, err error) { ch <- err })
		synctest.Wait()
		cancel()
		if err := <-ch; !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		if len(ch) != 0 || a.Status().Flows != 0 || len(a.wire.(*testWire).ports) != 0 {
			t.Fatal("something of the cancelled dial is left")
		}
	})
}

func TestListenNamesTheAddressThatIsTaken(t *testing.T) {
	_, err := newTransport(Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:1")}}, newTestNet(t).host("192.0.2.1"), testProfile())
	if err == nil || !strings.HasPrefix(err.Error(), "listen 0.0.0.0:1: address in use: ") {
		t.Fatal(err)
	}
}

func TestCloseIsSeenByTheOtherSideAndFreesThePort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		a, _ := n.transport(n.host("192.0.2.1"), Config{})
		b, arrived := n.transport(n.host("192.0.2.2"), serverConfig())
		f := mustDial(t, a, "192.0.2.2:9000")
		_ = sendTest(f, 1, 1, 100)
		back := (<-arrived)[0].Path.(*Flow)
		back.Adopt()
		back.Close()
		pass(10 * time.Millisecond)
		synctest.Wait()
		if f.Alive() || back.Alive() || !errors.Is(sendTest(f, 1, 1, 9), net.ErrClosed) {
			t.Fatal("a closed flow is alive")
		}
		if fins := n.sent(flagFIN | flagACK); len(fins) != 2 {
			t.Fatalf("%d FINs, want one from each side", len(fins))
		}
		pass(5 * time.Second)
		if len(a.table.Load().flows)+len(b.table.Load().flows) != 0 || len(a.wire.(*testWire).ports) != 0 {
			t.Fatal("something is left")
		}
		if rst := n.sent(flagRST); len(rst) != 0 {
			t.Fatalf("%d resets", len(rst))
		}
	})
}

func TestClosingATransportTellsAllPeersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		a, _ := n.transport(n.host("192.0.2.1"), Config{})
		n.transport(n.host("192.0.2.2"), serverConfig())
		var flows []*Flow
		for range 5 {
			flows = append(flows, mustDial(t, a, "192.0.2.2:9000"))
		}
		began := time.Now()
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 250*time.Millisecond {
			t.Fatalf("took %v", took)
		}
		for _, f := range flows {
			if f.Alive() {
				t.Fatal("a flow outlived its transport")
			}
		}
		if d := <-dialTest(a, "192.0.2.2:9000"); !errors.Is(d.err, net.ErrClosed) {
			t.Fatal(d.err)
		}
	})
}

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

func TestAcknowledgementsComeAtOnceThenDelayedOrPerAmount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		a, _ := n.transport(n.host("192.0.2.1"), Config{})
		_, arrived := n.transport(n.host("192.0.2.2"), serverConfig())
		f := mustDial(t, a, "192.0.2.2:9000")
		acks := func() int { return len(n.sent(flagACK)) }
		send := func(count, size int) {
			if err := sendTest(f, 1, count, size); err != nil {
				t.Fatal(err)
			}
			(<-arrived)[0].Path.(*Flow).Adopt()
			pass(2 * time.Millisecond)
		}
		quick := 0
		for range 30 { // single datagrams carry PSH, so ACK alone is a pure one
			was := acks()
			send(1, 100)
			quick += acks() - was
		}
		if quick < 16 || quick > 18 {
			t.Fatalf("%d of the first 30 segments were acknowledged at once", quick)
		}
		pass(time.Second)
		was := acks()
		send(1, 100)
		pass(30 * time.Millisecond)
		if acks() != was {
			t.Fatal("not delayed")
		}
		pass(20 * time.Millisecond)
		if acks() != was+1 {
			t.Fatalf("%d acknowledgements after 50 ms", acks()-was)
		}
		pass(time.Second)
		before := len(n.sent(flagACK))
		for range 200 {
			send(40, 1400)
		}
		pure := 0
		for _, g := range n.sent(flagACK)[before:] {
			if len(g.payload) == 0 {
				pure++
			}
		}
		if bytes := 200 * 40 * 1405; pure > bytes/(100<<10) {
			t.Fatalf("%d pure acknowledgements for %d bytes", pure, bytes)
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

func TestSendingAllocatesNothing(t *testing.T) {
	n := newTestNet(t)
	w := n.host("192.0.2.1")
	tr, err := newTransport(Config{}, w, testProfile())
	if err != nil {
		t.Fatal(err)
	}
	tr.wire = discard{w}
	g := segment{tuple: newTuple(netip.MustParseAddrPort("192.0.2.1:9000"), netip.MustParseAddrPort("192.0.2.2:4"))}
	f := tr.acceptedFlow(&g, testHop{w, false}, &options{mss: 1460, wscale: 10, stamps: true}, tr.now())
	f.sndEdge.Store(1 << 30)
	train := packet.NewTrain()
	got := testing.AllocsPerRun(100, func() {
		train.Reset(5)
		for range 40 {
			train.Next(1400)
		}
		if err := f.Send(train); err != nil {
			t.Fatal(err)
		}
	})
	if got != 0 {
		t.Fatalf("%v allocations", got)
	}
}

// replaying returns a Transport whose pump gets the same packets again and
// again: one super-segment of 40 records for f, repeated.
func replaying(t testing.TB, packets int) (*Transport, *Flow) {
	n := newTestNet(nil)
	w := n.host("192.0.2.1")
	tr, err := newTransport(Config{}, w, testProfile())
	if err != nil {
		t.Fatal(err)
	}
	r := &replay{discard: discard{w}}
	tr.wire = r
	tu := newTuple(netip.MustParseAddrPort("192.0.2.1:9000"), netip.MustParseAddrPort("192.0.2.2:4"))
	back := newTuple(tu.remoteAddrPort(), tu.localAddrPort())
	g := segment{tuple: tu, seq: 1000, ack: 1}
	ms := millis(tr.now())
	f := tr.acceptedFlow(&g, testHop{w, false}, &options{mss: 1460, wscale: 10, stamps: true}, tr.now())
	f.oldest.Store(f.stamp(ms))
	tr.state.flows[tu], tr.state.dirty = f, true
	tr.state.publish()
	for i := range packets {
		body := records(40, 1400)
		h := header{tuple: &back, pseudo: back.pseudoSum(), ttl: 64, flags: flagACK, window: 64, seq: 1000 + uint32(i*len(body)), ack: 1,
			opts: options{wscale: -1, stamps: true, val: 9, ecr: f.stamp(ms)}}
		ip, tcp := h.size()
		pkt := make([]byte, ip+tcp, ip+tcp+len(body))
		h.put(pkt, len(body))
		r.packets = append(r.packets, link.Packet{IP: append(pkt, body...), SegmentSize: 1400})
	}
	return tr, f
}

func TestReceivingAllocatesNothing(t *testing.T) {
	tr, f := replaying(t, 4)
	got := testing.AllocsPerRun(100, func() {
		f.rcvNxt.Store(1000)
		f.ackSent.Store(1000)
		in, err := tr.Receive()
		if err != nil || len(in) != 160 {
			t.Fatal(len(in), err, tr.Drops())
		}
	})
	if got != 0 {
		t.Fatalf("%v allocations", got)
	}
}

func BenchmarkReceive(b *testing.B) {
	tr, f := replaying(b, 4)
	b.SetBytes(4 * 40 * 1400)
	for b.Loop() {
		f.rcvNxt.Store(1000)
		f.ackSent.Store(1000)
		if in, _ := tr.Receive(); len(in) != 160 {
			b.Fatal(len(in))
		}
	}
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
