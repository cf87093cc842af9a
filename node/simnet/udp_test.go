package simnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func through(t *testing.T, u *UDPTransport, s packet.Socket, remote netip.AddrPort) packet.Path {
	t.Helper()
	p, err := u.Through(s, remote)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// sayHops sends one datagram with so many hops to live.
func sayHops(t *testing.T, p packet.Path, hops uint8, datagram string) {
	t.Helper()
	train := packet.NewTrain()
	train.Reset(p.Prefix())
	copy(train.Next(len(datagram)), datagram)
	if err := p.(packet.Hopper).SendHops(train, hops); err != nil {
		t.Fatal(err)
	}
}

func TestOneReceiverBringsFlowsAndDatagramsOfTheSamePort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		server, client := mustOpen(t, n.Host("seed", "203.0.113.1", "2001:db8::1"), 9000), mustOpen(t, n.Host("site", "198.51.100.9", "2001:db8::9"), 0)
		u, v := server.UDP(), client.UDP()
		if u.Port(false) != 9000 || u.Port(true) != 9000 || v.Port(false) == 0 || u != server.UDP() {
			t.Fatalf("ports %d %d and %d", u.Port(false), u.Port(true), v.Port(false))
		}
		result := make(chan dialed, 1)
		begun := time.Now()
		v.Dial(at("203.0.113.1:9000"), func(p packet.Path, err error) { result <- dialed{p, err} })
		d := <-result
		if d.err != nil || time.Since(begun) != 0 {
			t.Fatalf("%v after %v", d.err, time.Since(begun))
		}
		if p := d.path; p.Kind() != packet.UDP || p.Prefix() != 0 || p.MaxDatagram() != 1472 || !p.Alive() || p != through(t, v, 0, at("203.0.113.1:9000")) {
			t.Fatalf("%v, prefix %d, largest %d", p.Kind(), p.Prefix(), p.MaxDatagram())
		}
		if p := through(t, v, 0, at("[2001:db8::1]:9000")); p.MaxDatagram() != 1452 || p.Local().Addr() != netip.MustParseAddr("2001:db8::9") {
			t.Fatalf("over IPv6: largest %d, from %v", p.MaxDatagram(), p.Local())
		}
		say(t, mustDial(t, client, "203.0.113.1:9000"), "by flow")
		say(t, d.path, "by datagram")
		pass(time.Second)
		heard, from := hear(t, server)
		if fmt.Sprint(heard) != "[by flow by datagram]" || from.Remote() != d.path.Local() || from != through(t, u, 0, d.path.Local()) {
			t.Fatalf("heard %q from %v", heard, from.Remote())
		}
		say(t, from, "answer")
		pass(time.Second)
		if heard, from := hear(t, client); fmt.Sprint(heard) != "[answer]" || from != d.path {
			t.Fatalf("heard %q", heard)
		}
		server.Close()
		if from.Alive() || from.Send(packet.NewTrain()) != net.ErrClosed {
			t.Fatal("a path outlived its transport")
		}
		if _, err := u.Receive(); err != net.ErrClosed {
			t.Fatal(err)
		}
	})
}

func TestReleasedSocketsLiveAsLongAsAdoptedPathsUseThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		server, client := mustOpen(t, n.Host("seed", "203.0.113.1"), 9000), mustOpen(t, n.Host("site", "198.51.100.9"), 0)
		u := client.UDP()
		server.UDP()
		sockets, err := u.Sockets(3, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Sockets(1, true); !errors.Is(err, syscall.EAFNOSUPPORT) {
			t.Fatal(err)
		}
		var paths []packet.Path
		ports := map[uint16]bool{u.Port(false): true}
		for _, s := range sockets {
			p := through(t, u, s, at("203.0.113.1:9000"))
			ports[p.Local().Port()] = true
			paths = append(paths, p)
		}
		if len(ports) != 4 {
			t.Fatalf("4 sockets have %d ports", len(ports))
		}
		paths[1].Adopt()
		u.Release(sockets)
		if alive := []bool{paths[0].Alive(), paths[1].Alive(), paths[2].Alive()}; !slices.Equal(alive, []bool{false, true, false}) {
			t.Fatalf("alive: %v", alive)
		}
		if _, err := u.Through(sockets[1], at("203.0.113.1:9001")); !errors.Is(err, syscall.EBADF) {
			t.Fatal("a released socket serves new paths:", err)
		}
		say(t, paths[1], "still here")
		pass(time.Second)
		_, back := hear(t, server)
		say(t, back, "good")
		pass(time.Second)
		if heard, from := hear(t, client); len(heard) != 1 || from != paths[1] {
			t.Fatalf("heard %q", heard)
		}
		paths[1].Close()
		say(t, back, "too late")
		pass(time.Second)
		if heard, _ := hear(t, client); heard != nil || n.Drops()["no socket"] != 1 {
			t.Fatalf("heard %q, drops %v", heard, n.Drops())
		}
	})
}

func TestADatagramPathOutlivesAMoveAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		site := n.Host("site", "198.51.100.9")
		server, u := mustOpen(t, n.Host("seed", "203.0.113.1"), 9000), mustOpen(t, site, 0).UDP()
		server.UDP()
		p := through(t, u, 0, at("203.0.113.1:9000"))
		changes := 0
		p.(packet.Watched).OnChange(func() { changes++ })
		site.SetAddrs("192.0.2.5")
		if changes != 1 || !p.Alive() || p.Local().Addr() != netip.MustParseAddr("192.0.2.5") {
			t.Fatalf("%d changes, from %v", changes, p.Local())
		}
		say(t, p, "moved")
		pass(time.Second)
		if _, from := hear(t, server); from.Remote() != p.Local() {
			t.Fatalf("seen from %v", from.Remote())
		}
		site.SetAddrs("2001:db8::9")
		train := packet.NewTrain()
		train.Reset(0)
		train.Next(1)
		if err := p.Send(train); err != packet.ErrFull || !p.Alive() {
			t.Fatal(err)
		}
		if _, err := u.Through(0, at("203.0.113.1:9000")); !errors.Is(err, syscall.ENETUNREACH) || u.Port(false) != 0 {
			t.Fatal(err)
		}
	})
}

func TestAPacketDiesWhereItsHopsRunOutAndOpensWhatItPassed(t *testing.T) {
	for hops, want := range map[uint8]struct{ opens, arrives bool }{
		1: {false, false}, // dies at the own router
		2: {true, false},  // dies behind it
		5: {true, false},  // dies at the last router of the internet
		6: {true, false},  // dies at the peer's router
		7: {true, true},
	} {
		t.Run(fmt.Sprint(hops), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New(1)
				near := n.NAT("near", NATConfig{Kind: PortRestricted}, "198.51.100.1")
				far := n.NAT("far", NATConfig{Kind: FullCone}, "198.51.100.2")
				a, b := mustOpen(t, near.Host("a", "192.168.1.10"), 5001), mustOpen(t, far.Host("b", "192.168.1.10"), 5002)
				p, q := through(t, a.UDP(), 0, at("198.51.100.2:5002")), through(t, b.UDP(), 0, at("198.51.100.1:5001"))
				sayHops(t, q, 2, "the far router knows b from now on")
				pass(time.Second)
				sayHops(t, p, hops, "ahead")
				pass(time.Second)
				if heard, _ := hear(t, b); (heard != nil) != want.arrives {
					t.Errorf("b heard %q", heard)
				}
				say(t, q, "back")
				pass(time.Second)
				if heard, _ := hear(t, a); (heard != nil) != want.opens {
					t.Errorf("a heard %q", heard)
				}
			})
		})
	}
}

func TestDatagramsCrossRoutersAsTheirKindsSay(t *testing.T) {
	// Each side tells the other the mapping that the seed sees, and both send.
	kinds := []NATConfig{{Kind: NoNAT}, {Kind: Firewall}, {Kind: FullCone}, {Kind: Restricted}, {Kind: PortRestricted}, {Kind: Symmetric}}
	for i, a := range kinds {
		for _, b := range kinds[i:] {
			// Who is symmetric is heard by those that do not care for the port, and the
			// answer to the source that they see gets back.
			want := b.Kind != Symmetric || a.Kind == NoNAT || a.Kind == FullCone || a.Kind == Restricted
			synctest.Test(t, func(t *testing.T) {
				n := New(1)
				server := mustOpen(t, n.Host("seed", "203.0.113.1"), 9000)
				server.UDP()
				var sides [2]*Transport
				var seen [2]netip.AddrPort
				for i, cfg := range []NATConfig{a, b} {
					home := n.NAT(fmt.Sprint("home", i), cfg, fmt.Sprintf("198.51.100.%d", i+1))
					inside := "192.168.1.10"
					if !cfg.Kind.translates() {
						inside = fmt.Sprintf("192.0.2.%d", i+1)
					}
					sides[i] = mustOpen(t, home.Host(fmt.Sprint("site", i), inside), 0)
					say(t, through(t, sides[i].UDP(), 0, at("203.0.113.1:9000")), "where am I")
					pass(time.Second)
					_, from := hear(t, server)
					seen[i] = from.Remote()
				}
				for range 2 {
					for i := range sides {
						say(t, through(t, sides[i].UDP(), 0, seen[1-i]), "ping")
					}
					pass(time.Second)
				}
				// Whoever hears something answers the source that it sees.
				var reached [2]bool
				for range 2 {
					for i := range sides {
						if heard, from := hear(t, sides[i]); heard != nil {
							reached[i] = true
							say(t, from, "pong")
							pass(time.Second)
						}
					}
				}
				if got := reached[0] && reached[1]; got != want {
					t.Errorf("%d and %d: reached %v, want %v; drops %v", a.Kind, b.Kind, reached, want, n.Drops())
				}
			})
		}
	}
}
