package udp

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

// withTunnel gives a namespace an interface tun0 that looks the best way to the
// other side of v0.
func withTunnel(t *testing.T, ns *nstest.NS) {
	t.Helper()
	ns.Run("ip link add tun0 type veth peer name end", "ip link set end up", "ip link set tun0 up",
		"ip addr add 10.99.0.1/24 dev tun0", "ip addr add fd99::1/64 dev tun0 nodad")
}

// intoTunnel leads the other side's addresses into the tunnel.
func intoTunnel(ns *nstest.NS) {
	ns.Run("ip route add 10.77.0.2/32 via 10.99.0.2 dev tun0 onlink", "ip -6 route add fd77::2/128 via fd99::2 dev tun0 onlink")
}

// tunnelled counts the UDP datagrams that left through the tunnel.
func tunnelled(t *testing.T, ns *nstest.NS) string {
	t.Helper()
	return ns.Run("nft list counter inet t leaks")
}

func TestNothingIsSentIntoTheTunnel(t *testing.T) {
	na, nb := nstest.Pair(t)
	withTunnel(t, na)
	na.Run("ip addr add fd77::9/64 dev v0 nodad", "ip addr add 10.77.0.9/24 dev v0")
	if _, err := na.Try("nft add table inet t"); err != nil {
		t.Skip("needs nft")
	}
	na.Run("nft add counter inet t leaks", "nft add chain inet t out { type filter hook postrouting priority 300 ; }",
		"nft add rule inet t out oifname tun0 meta l4proto udp counter name leaks")
	families(t, na, nb, Config{ExcludeInterfaces: []string{"tun0"}}, Config{}, func(t *testing.T, a, b *host, at addresses) {
		defer func() {
			na.Run("ip route flush 10.77.0.2/32", "ip -6 route flush fd77::2/128")
			if got := tunnelled(t, na); !strings.Contains(got, "packets 0 ") {
				t.Errorf("into the tunnel: %s", got)
			}
		}()
		before := a.through(t, 0, b.at(at.b))
		before.Adopt()
		second := netip.MustParseAddr("10.77.0.9")
		if at.b.Is6() {
			second = netip.MustParseAddr("fd77::9")
		}
		if before.Local().Addr() == second { // it shall be the one that is not preferred
			second = at.a
		}
		send(t, b.through(t, 0, a.at(second)), text("stranger"))
		stranger := a.takes(t, text("stranger"))
		send(t, b.through(t, 0, a.at(second)), text("stranger"))
		a.takes(t, text("stranger"))

		intoTunnel(na)
		eventually(t, "the route is noticed", func() bool {
			w, err := a.router.find(before.Local().Addr(), at.b)
			return err == nil && w.hop.Ready() && !before.moved.Load() && !a.rerouted.Load()
		})
		send(t, before, text("before"))
		b.takes(t, text("before"))
		after := a.through(t, a.more(t, 1, at.b.Is6())[0], b.at(at.b))
		send(t, after, text("after"))
		b.takes(t, text("after"))
		if after.Local().Addr() != before.Local().Addr() {
			t.Errorf("from %v, not %v", after.Local(), before.Local())
		}
		// IPv6 cannot be kept off the tunnel when the source is given too.
		stranger.Adopt()
		err := stranger.Send(text("answer"))
		if at.b.Is6() {
			if !errors.Is(err, packet.ErrFull) || a.Drops()["route-into-tunnel"] != 1 {
				t.Errorf("%v: %v", err, a.Drops())
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := b.takes(t, text("answer")); got.Remote() != a.at(second) {
			t.Errorf("from %v", got.Remote())
		}
	})
}

func TestNothingIsReceivedFromTheTunnel(t *testing.T) {
	na, nb := nstest.Pair(t)
	a, b := pumped(t, na, Config{}), pumped(t, nb, Config{ExcludeInterfaces: []string{"v0"}})
	p := a.through(t, 0, b.at(b4))
	send(t, p, train(3, 100, 0))
	eventually(t, "it is counted", func() bool { return b.Drops()["out-of-tunnel"] == 3 })
	if s := b.Status(); s.Paths != 0 || len(b.arrived) != 0 {
		t.Fatalf("%+v", s)
	}
}
