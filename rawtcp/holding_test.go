package rawtcp

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

func mustHold(t *testing.T, tr *Transport, v6 bool) packet.Held {
	t.Helper()
	h, err := tr.Hold(v6)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestSeveralConnectionsComeFromOneHeldPort(t *testing.T) {
	bothFamilies(t, func(t *testing.T, client, server string) {
		n := newTestNet(t)
		a, toA := n.transport(n.host(client), Config{})
		_, toB := n.transport(n.host(server), serverConfig())
		third := map[bool]string{false: "192.0.2.3", true: "2001:db8::3"}[strings.Contains(client, ":")]
		_, toC := n.transport(n.host(third), serverConfig())
		h := mustHold(t, a, strings.Contains(client, ":"))
		dial := func(addr string) chan dialled {
			ch := make(chan dialled, 1)
			h.Dial(place(addr, 9000), func(p packet.Path, err error) { ch <- dialled{p, err} })
			return ch
		}
		f, g := mustCross(t, dial(server)), mustCross(t, dial(third))
		if f.Local() != g.Local() || f.Local() != place(client, h.Port()) {
			t.Fatalf("%v, %v", f, g)
		}
		for in, way := range map[chan packet.Arrivals]*Flow{toB: f, toC: g} {
			if err := sendTest(way, 1, 1, 100); err != nil {
				t.Fatal(err)
			}
			got := <-in
			got[0].Path.Adopt()
			if got[0].Path.Remote() != f.Local() {
				t.Fatalf("comes from %v", got[0].Path.Remote())
			}
			if err := sendTest(got[0].Path, 1, 1, 100); err != nil {
				t.Fatal(err)
			}
			if back := <-toA; back[0].Path != way {
				t.Fatalf("came back on %v", back[0].Path)
			}
		}
		if d := <-dial(server); d.err == nil || !strings.Contains(d.err.Error(), "there is a connection from local port") {
			t.Fatal(d.err)
		}
		h.Release()
		f.Close()
		pass(5 * time.Second)
		if !g.Alive() || a.wire.(*testWire).held() != 1 {
			t.Fatal("the port went before its last connection")
		}
		g.Close()
		pass(5 * time.Second)
		if a.wire.(*testWire).held() != 0 || len(a.table.Load().flows) != 0 {
			t.Fatal("something is left")
		}
		if d := <-dial(server); !errors.Is(d.err, net.ErrClosed) {
			t.Fatal(d.err)
		}
	})
}

func TestASYNForAHeldPortIsNotReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		a, toA := n.transport(n.host("192.0.2.1"), Config{})
		b, toB := n.transport(n.host("192.0.2.2"), Config{})
		ha, hb := mustHold(t, a, false), mustHold(t, b, false)
		first := crossTest(ha, packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.2", hb.Port())}})
		pass(time.Second) // the other side has not begun
		if n := len(n.sent(flagRST|flagACK)) + len(n.sent(flagRST)); n != 0 {
			t.Fatalf("%d resets", n)
		}
		second := crossTest(hb, packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.1", ha.Port())}})
		exchange(t, mustCross(t, first), mustCross(t, second), toA, toB)
	})
}

func TestACrossingThatFailsLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		a, _ := n.transport(n.host("192.0.2.1"), Config{})
		h := mustHold(t, a, false)
		ends := make(chan error, 9)
		done := func(_ packet.Path, err error) { ends <- err }
		cancel := h.Cross(packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.7", 1), place("192.0.2.7", 2)}}, done)
		pass(time.Second)
		cancel()
		if err := <-ends; !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		cancel()
		began := time.Now()
		h.Cross(packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.7", 1)}, Timeout: 3 * time.Second}, done)
		h.Release() // does not end it
		if err := <-ends; err == nil || !strings.Contains(err.Error(), "with 192.0.2.7:1 within 3s") || time.Since(began) < 3*time.Second {
			t.Fatal(err)
		}
		pass(10 * time.Millisecond)
		if len(ends) != 0 || len(a.table.Load().flows) != 0 || a.wire.(*testWire).held() != 0 {
			t.Fatal("something is left")
		}
		h = mustHold(t, a, false)
		for reason, remotes := range map[string][]netip.AddrPort{
			"0 addresses, 1 to 512 are allowed":           nil,
			"513 addresses, 1 to 512 are allowed":         make([]netip.AddrPort, MaxRemotes+1),
			"0.0.0.0:7: an address and a port of another": {place("0.0.0.0", 7)},
			"is not of the address family of local port":  {place("2001:db8::7", 7)},
		} {
			h.Cross(packet.Crossing{Remotes: remotes}, done)
			if err := <-ends; err == nil || !strings.Contains(err.Error(), reason) {
				t.Errorf("%v, want %q", err, reason)
			}
		}
		h.Cross(packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.7", 1)}}, done)
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ends; !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		h.Cross(packet.Crossing{Remotes: []netip.AddrPort{place("192.0.2.7", 1)}}, done)
		if err := <-ends; !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		if _, err := a.Hold(false); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
	})
}
