package rawtcp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
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

// replaying returns a Transport whose pump gets the same packets again and
// again: one super-segment of 40 records for f, repeated.
