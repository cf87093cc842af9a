package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

func TestManySocketsReceiveAndReleaseKeepsTheAdopted(t *testing.T) {
	na, nb := nstest.Pair(t)
	families(t, na, nb, Config{}, Config{}, func(t *testing.T, a, b *host, at addresses) {
		v6 := at.b.Is6()
		numbers := b.more(t, 256, v6)
		ports := map[uint16]bool{b.Port(v6): true}
		var kept, lost []*Path
		for i, n := range numbers {
			port := b.PortOf(n, v6)
			if port == 0 || ports[port] || b.PortOf(n, !v6) != 0 {
				t.Fatalf("socket %d has port %d", n, port)
			}
			ports[port] = true
			out, hello := b.through(t, n, a.at(at.a)), text(fmt.Sprint("from ", n))
			send(t, out, hello)
			back := a.takes(t, hello)
			if back.Remote().Port() != port {
				t.Fatalf("socket %d with port %d sends from %v", n, port, back.Remote())
			}
			send(t, back, hello)
			if got := b.takes(t, hello); got != out {
				t.Fatalf("the answer came by %v, not %v", got, out)
			}
			if i%100 == 50 {
				out.Adopt()
				kept = append(kept, out)
			} else {
				lost = append(lost, out)
			}
		}
		zero := b.through(t, 0, a.at(at.a))
		b.Release(append(numbers, 0))
		if got := b.Status().Sockets; got != 2+len(kept) {
			t.Fatalf("%d sockets are open, %d paths are adopted", got, len(kept))
		}
		for _, p := range lost {
			if p.Alive() || !errors.Is(p.Send(text("x")), net.ErrClosed) {
				t.Fatalf("path of a released socket lives: %v", p)
			}
		}
		for _, p := range append(kept, zero) {
			send(t, p, text("still here"))
			send(t, a.takes(t, text("still here")), text("here too"))
			if got := b.takes(t, text("here too")); got != p {
				t.Fatalf("the answer came by %v, not %v", got, p)
			}
		}
		for _, p := range kept {
			p.Close()
		}
		if got := b.Status().Sockets; got != 2 {
			t.Fatalf("%d sockets are open after the last path ended", got)
		}
		if _, err := b.Through(numbers[0], a.at(at.a)); err == nil {
			t.Fatal("a path through a closed socket")
		}
	})
}

func TestTooManySocketsAreRefused(t *testing.T) {
	a := newHost(t, nstest.New(t), Config{Listen: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	if _, err := a.Sockets(maxSockets, false); err == nil {
		t.Error("thousands of sockets")
	}
	if _, err := a.Sockets(1, true); err == nil {
		t.Error("a socket of a family that is not served")
	}
}

func TestBothFamiliesShareAPort(t *testing.T) {
	ns := nstest.New(t)
	a := newHost(t, ns, Config{})
	if a.Port(false) == 0 || a.Port(false) != a.Port(true) {
		t.Fatalf("ports %d and %d", a.Port(false), a.Port(true))
	}
	b := newHost(t, ns, Config{})
	if a.Port(false) == b.Port(false) {
		t.Fatal("the same port twice")
	}
	var err error
	ns.Do(func() { _, err = New(Config{Port: a.Port(false)}) })
	if err == nil {
		t.Fatal("took a port that is taken")
	}
}

func TestAHostWithoutIPv6ServesIPv4(t *testing.T) {
	// The nearest that a namespace comes to it: no address to bind to.
	ns := nstest.New(t)
	a := newHost(t, ns, Config{Listen: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Port: 777})
	if a.Port(false) != 777 || a.Port(true) != 0 {
		t.Fatalf("ports %d and %d", a.Port(false), a.Port(true))
	}
	if _, err := a.Through(0, netip.MustParseAddrPort("[::1]:9")); err == nil {
		t.Fatal("a path in a family that is not served")
	}
}

func TestOnlyTheListedAddressesAreServed(t *testing.T) {
	na, nb := nstest.Pair(t)
	nb.Run("ip addr add 10.77.0.3/24 dev v0", "ip addr add 10.77.0.4/24 dev v0")
	third, fourth := netip.MustParseAddr("10.77.0.3"), netip.MustParseAddr("10.77.0.4")
	a := pumped(t, na, Config{})
	for name, listen := range map[string][]netip.Addr{"one": {third}, "two": {third, fourth}} {
		t.Run(name, func(t *testing.T) {
			b := pumped(t, nb, Config{Listen: listen})
			if b.Port(true) != 0 {
				t.Fatal("IPv6 is served")
			}
			send(t, a.through(t, 0, b.at(b4)), text("to an address that is not listed"))
			send(t, a.through(t, 0, b.at(third)), text("to the third"))
			b.takes(t, text("to the third"))
			// The host would prefer 10.77.0.2.
			send(t, b.through(t, 0, a.at(a4)), text("from the third"))
			if got := a.takes(t, text("from the third")); got.Remote().Addr() != third {
				t.Fatalf("came from %v", got.Remote())
			}
		})
	}
	for _, bad := range []netip.Addr{{}, netip.MustParseAddr("224.0.0.1"), netip.MustParseAddr("192.0.2.1")} {
		var err error
		na.Do(func() { _, err = New(Config{Listen: []netip.Addr{bad}}) })
		if err == nil {
			t.Errorf("listens on %v", bad)
		}
	}
}

func TestStrangersCannotUseUpMemory(t *testing.T) {
	const most, crowd = 32, 500
	na, nb := nstest.Pair(t)
	a, b := pumped(t, na, Config{}), pumped(t, nb, Config{MaxPaths: most})
	friend := a.through(t, 0, b.at(b4))
	send(t, friend, text("friend"))
	back := b.takes(t, text("friend"))
	back.Adopt()
	active := a.more(t, 1, false)[0]
	send(t, a.through(t, active, b.at(b4)), text("active"))
	busy := b.takes(t, text("active"))
	for i, n := range a.more(t, crowd, false) {
		hello := text(fmt.Sprint("stranger ", i))
		send(t, a.through(t, n, b.at(b4)), hello)
		b.takes(t, hello)
		if i%(most/4) == 0 { // who is heard of again stays
			send(t, a.through(t, active, b.at(b4)), text("active"))
			if got := b.takes(t, text("active")); got != busy {
				t.Fatalf("after %d strangers a path in use was forgotten", i)
			}
		}
	}
	if s := b.Status(); s.Paths > most+1 || s.Adopted != 1 || !back.Alive() {
		t.Fatalf("%+v", s)
	}
	if got := b.Drops()["stranger-forgotten"]; got != crowd+2-most-1 {
		t.Fatalf("%v forgotten", b.Drops())
	}
	if n := len(b.rx.finder.known); n > most+1+256 {
		t.Fatalf("the pump knows %d paths", n)
	}
	for port := range most {
		b.through(t, 0, netip.AddrPortFrom(a4, uint16(port+1)))
	}
	if _, err := b.Through(0, netip.AddrPortFrom(a4, most+1)); !errors.Is(err, errTooMany) {
		t.Fatalf("more paths than may be: %v", err)
	}
	b.through(t, 0, netip.AddrPortFrom(a4, 1)).Close()
	b.through(t, 0, netip.AddrPortFrom(a4, most+1)).Adopt()
	b.through(t, 0, netip.AddrPortFrom(a4, most+2))
}
