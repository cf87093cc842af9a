package gossip

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// The kernel's own sockets, on loopback addresses and bound to that device.
func TestNodesMeetOverTheKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: binds sockets to a device")
	}
	for _, family := range []struct {
		name string
		at   func(n int) string
	}{
		{"IPv4", func(n int) string { return fmt.Sprintf("127.77.3.%d", n) }},
		{"IPv6", func(int) string { return "::1" }},
	} {
		t.Run(family.name, func(t *testing.T) {
			m := &mesh{t: t, net: newFakeNet()}
			defer func() {
				for _, x := range m.nodes {
					x.stop()
				}
			}()
			port := freePort(t, family.at(1))
			for n := 1; n <= 2; n++ {
				addr := netip.MustParseAddr(family.at(n))
				self := template(n)
				self.Addresses = []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}
				x := m.prepare(n, self)
				x.config.Bind, x.config.Port, x.config.Device = addr, port, "lo"
				x.config.NewTransport = nil
				if n == 2 && addr.Is6() {
					// One address for both: the second listens elsewhere, and only it joins.
					x.config.NewTransport = func() (memberlist.Transport, error) {
						return newNetTransport(netip.AddrPortFrom(addr, 0), "lo")
					}
				}
				x.start()
				m.nodes = append(m.nodes, x)
			}
			m.nodes[1].linkTo(m.nodes[0], true)
			for i, x := range m.nodes {
				select {
				case msg := <-x.routes.C():
					if a, ok := msg.(message.Advertised); !ok || a.Advert.ID != m.nodes[1-i].id {
						t.Fatalf("%+v", msg)
					}
				case <-time.After(20 * time.Second):
					t.Fatal("they do not meet")
				}
			}
			reply, answer := newReply()
			m.nodes[1].box.Ref().Offer(message.Leave{Reply: reply})
			if err := <-answer; err != nil {
				t.Fatal(err)
			}
			select {
			case msg := <-m.nodes[0].routes.C():
				if w, ok := msg.(message.Withdrawn); !ok || w.Reason != "node left" {
					t.Fatalf("%+v", msg)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the good-bye does not arrive")
			}
		})
	}
}

func freePort(t *testing.T, addr string) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

func TestTransportLeavesNothingOpenBehindIt(t *testing.T) {
	at := netip.MustParseAddrPort("127.77.4.1:0")
	a, err := newNetTransport(at, "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := newNetTransport(netip.MustParseAddrPort("127.77.4.2:0"), "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Shutdown()
	near, err := a.DialTimeout(b.place.String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	far := <-b.StreamCh()
	if host, _, _ := net.SplitHostPort(far.RemoteAddr().String()); host != "127.77.4.1" {
		t.Fatalf("dialed from %s", host)
	}
	if _, err := a.WriteTo([]byte("hello"), b.place.String()); err != nil {
		t.Fatal(err)
	}
	if p := <-b.PacketCh(); string(p.Buf) != "hello" || p.From.String() != a.place.String() {
		t.Fatalf("%q from %s", p.Buf, p.From)
	}
	// Somebody else keeps sending while it goes down; nobody receives.
	for range 10 {
		b.WriteTo([]byte("late"), a.place.String())
	}
	if err := a.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if n, err := near.Read(make([]byte, 1)); err == nil {
		t.Fatalf("an open stream gave %d bytes", n)
	}
	if n, err := far.Read(make([]byte, 1)); err == nil {
		t.Fatalf("its far end gave %d bytes", n)
	}
	if _, err := a.DialTimeout(b.place.String(), time.Second); err == nil {
		t.Fatal("dialed after its end")
	}
	again, err := newNetTransport(a.place, "")
	if err != nil {
		t.Fatalf("the address is not free again: %v", err)
	}
	again.Shutdown()
}

func TestTransportErrorNamesAddressAndDevice(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: binds sockets to a device")
	}
	_, err := newNetTransport(netip.MustParseAddrPort("127.0.0.1:0"), "no-such-dev0")
	if err == nil {
		t.Fatal("no error")
	}
	if got := err.Error(); !containsAll(got, "127.0.0.1:0", "no-such-dev0") {
		t.Fatal(got)
	}
	x := (&mesh{t: t, net: newFakeNet()}).prepare(1, template(1))
	x.config.Device, x.config.NewTransport = "no-such-dev0", nil
	g, err := New(x.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(context.Background()); err == nil {
		t.Fatal("runs without its device")
	}
}
