package link

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

// openTUN makes a TUN device in the namespace that lives as long as the test.
func openTUN(t *testing.T, ns *nstest.NS, name string) *os.File {
	t.Helper()
	var fd int
	var err error
	ns.Do(func() {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		var req *unix.Ifreq
		if req, err = unix.NewIfreq(name); err == nil {
			req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
	})
	if err != nil {
		t.Skipf("no TUN device: %v", err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	ns.Run("ip link set " + name + " up")
	return f
}

func interfaceOf(n *NextHop) string {
	_, name := n.Interface()
	return name
}

func TestUnderlayNeverEntersTheTunnel(t *testing.T) {
	far := map[bool]netip.Addr{false: netip.MustParseAddr("203.0.113.9"), true: netip.MustParseAddr("2001:db8::9")}
	for _, refused := range []bool{true, false} { // else by the routes' protocol number alone
		t.Run(fmt.Sprintf("refused=%v", refused), func(t *testing.T) {
			a, _ := nstest.Pair(t)
			openTUN(t, a, "tun9")
			a.Run("ip addr add 10.0.0.1/24 dev tun9", "ip addr add fd10::1/64 dev tun9 nodad",
				"ip route add default via 10.77.0.2", "ip -6 route add default via fd77::2")
			s := newStation(t, a, Options{}, TapOptions{})
			protocol := "proto 108"
			if refused {
				s.resolver.Refuse("tun9")
				protocol = ""
			}
			hops := map[bool]*NextHop{}
			for v6, dst := range far {
				hops[v6] = lookup(t, s, dst)
				until(t, hops[v6], "default route", func() bool { return interfaceOf(hops[v6]) == "v0" })
			}
			a.Run("ip route add 0.0.0.0/1 dev tun9 "+protocol, "ip route add 128.0.0.0/1 dev tun9 "+protocol,
				"ip route add 203.0.113.0/24 dev tun9 "+protocol, "ip -6 route add 2001:db8::/32 dev tun9 "+protocol)
			for v6, src := range map[bool]netip.Addr{false: a4, true: a6} {
				// A handle made now, and one that was there before.
				fixed, err := s.resolver.LookupFrom(src, far[v6])
				if err != nil {
					t.Fatal(err)
				}
				if interfaceOf(fixed) != "v0" || !fixed.Ready() || fixed.Source() != src {
					t.Fatalf("v6=%v: %s from %v", v6, interfaceOf(fixed), fixed.Source())
				}
				s.resolver.resolveAll()
				if interfaceOf(hops[v6]) != "v0" || hops[v6].Source() != src {
					t.Fatalf("v6=%v: %s from %v", v6, interfaceOf(hops[v6]), hops[v6].Source())
				}
			}
			// With the real way gone there is none, rather than the tunnel.
			a.Run("ip route del default", "ip -6 route del default")
			for v6 := range far {
				until(t, hops[v6], "no way", func() bool { return !hops[v6].Ready() })
			}
			tr := packet.NewTrain()
			ipLen, tcpLen := load(tr, a4, far[false], 2, 100, 100)
			if err := s.sender.Send(hops[false], tr, ipLen, tcpLen); !errors.Is(err, ErrNoRoute) {
				t.Fatalf("send without a way: %v", err)
			}
			a.Run("ip route add default via 10.77.0.2")
			until(t, hops[false], "the way back", func() bool { return hops[false].Ready() && interfaceOf(hops[false]) == "v0" })
		})
	}
}

func TestLongestPrefixAndMetricDecideAmongUnderlays(t *testing.T) {
	a, _ := nstest.Pair(t)
	nstest.Behind(t, a, "10.88.0.1/24", "10.88.0.2/24")
	second := strings.Fields(a.Run("ip -o -4 addr show to 10.88.0.1"))[1]
	openTUN(t, a, "tun9")
	a.Run("ip route add default via 10.77.0.2 metric 100", "ip route add default via 10.88.0.2 metric 50",
		"ip route add 203.0.0.0/8 via 10.77.0.2", "ip route add 0.0.0.0/1 dev tun9", "ip route add 128.0.0.0/1 dev tun9", "ip route add 203.0.113.0/24 dev tun9")
	s := newStation(t, a, Options{}, TapOptions{})
	s.resolver.Refuse("tun9")
	for dst, want := range map[string]string{"203.0.113.1": "v0", "198.51.100.1": second} {
		if n := lookup(t, s, netip.MustParseAddr(dst)); interfaceOf(n) != want {
			t.Errorf("%s goes through %q, want %q", dst, interfaceOf(n), want)
		}
	}
}

func TestHopFollowsLinkNeighbourAndMTU(t *testing.T) {
	a, b := nstest.Pair(t)
	s, far := newStation(t, a, Options{}, TapOptions{}), newStation(t, b, Options{}, TapOptions{})
	hop := lookup(t, s, b4)
	until(t, hop, "resolved", func() bool { return hop.Mode() == ModeGSO })
	if lookup(t, s, b4) != hop {
		t.Fatal("a second lookup gave another handle")
	}

	before := hop.Generation()
	b.Run("ip link set v0 address 02:00:00:00:00:77")
	a.Run("ip neigh replace 10.77.0.2 lladdr 02:00:00:00:00:77 dev v0")
	until(t, hop, "new neighbour", func() bool { return hop.cur.Load().ether[5] == 0x77 })
	if hop.Generation() <= before {
		t.Fatal("generation did not grow")
	}
	burst(t, s, far, a4, b4, true, ModeGSO)

	a.Run("ip link set v0 mtu 1300")
	until(t, hop, "new MTU", func() bool { return hop.MTU() == 1300 })
	tr := packet.NewTrain()
	ipLen, tcpLen := load(tr, a4, b4, 2, 1400, 1400)
	if err := s.sender.Send(hop, tr, ipLen, tcpLen); !errors.Is(err, ErrTooBig) {
		t.Fatalf("segments above the MTU: %v", err)
	}
	a.Run("ip link set v0 mtu 1500")

	a.Run("ip link set v0 down")
	until(t, hop, "down", func() bool { return !hop.Ready() && hop.Mode() == ModeNone })
	a.Run("ip link set v0 up")
	until(t, hop, "up again", func() bool { return hop.Mode() == ModeGSO })
	burst(t, s, far, a4, b4, true, ModeGSO)
}

func TestUnresolvedNeighbourIsReachedThroughTheKernel(t *testing.T) {
	a, b := nstest.Pair(t)
	s, far := newStation(t, a, Options{}, TapOptions{}), newStation(t, b, Options{}, TapOptions{})
	a.Run("ip link set v0 arp off", "ip link set v0 arp on") // flushes the neighbours
	hop := lookup(t, s, b4)
	tr := packet.NewTrain()
	ipLen, tcpLen := load(tr, a4, b4, 10, 1400, 1400)
	want := append([]byte(nil), tr.Bytes()...)
	if err := s.sender.Send(hop, tr, ipLen, tcpLen); err != nil {
		t.Fatal(err)
	}
	check(t, collect(t, far.tap, len(want)), want, 0xffffff00)
	until(t, hop, "resolved", func() bool { return hop.Mode() == ModeGSO })
}

func TestLinksWithoutLinkLayer(t *testing.T) {
	for kind, create := range map[string]string{
		"ipip": "ip link add t0 type ipip local %s remote %s",
		"gre":  "ip link add t0 type gre local %s remote %s",
		"sit":  "ip link add t0 type sit local %s remote %s",
	} {
		t.Run(kind, func(t *testing.T) {
			a, b := nstest.Pair(t)
			if _, err := a.Try(fmt.Sprintf(create, a4, b4)); err != nil {
				t.Skip(err)
			}
			b.Run(fmt.Sprintf(create, b4, a4))
			from, to := netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("10.99.0.2")
			if kind == "sit" {
				from, to = netip.MustParseAddr("fd99::1"), netip.MustParseAddr("fd99::2")
			}
			bits := from.BitLen() - 2
			a.Run(fmt.Sprintf("ip addr add %v/%d dev t0", from, bits), "ip link set t0 up mtu 1500")
			b.Run(fmt.Sprintf("ip addr add %v/%d dev t0", to, bits), "ip link set t0 up mtu 1500")
			b.Run("ip link set v0 mtu 1600")
			a.Run("ip link set v0 mtu 1600")
			s, far := newStation(t, a, Options{}, TapOptions{}), newStation(t, b, Options{}, TapOptions{})
			burst(t, s, far, from, to, false, ModePacket)
		})
	}
}

func TestUnderlayOfBareIPCarriesBursts(t *testing.T) {
	a, b := nstest.New(t), nstest.New(t)
	near, farEnd := openTUN(t, a, "tun8"), openTUN(t, b, "tun8")
	go func() { // the wire
		buf := make([]byte, 2048)
		for {
			n, err := near.Read(buf)
			if err != nil {
				return
			}
			if _, err := farEnd.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	for i, ns := range []*nstest.NS{a, b} {
		ns.Run("ip link set tun8 txqueuelen 500", fmt.Sprintf("ip addr add 10.77.0.%d/24 dev tun8", i+1),
			fmt.Sprintf("ip addr add fd77::%d/64 dev tun8 nodad", i+1))
	}
	for _, to := range []TapOptions{{}, {NoRing: true}, {NoVnetHdr: true}} {
		s, far := newStation(t, a, Options{}, TapOptions{}), newStation(t, b, Options{}, to)
		burst(t, s, far, a4, b4, false, ModePacket)
		burst(t, s, far, a6, b6, false, ModePacket)
	}
}

func TestLoopbackCarriesSupersToItself(t *testing.T) {
	ns := nstest.New(t)
	s := newStation(t, ns, Options{}, TapOptions{})
	for _, dst := range []string{"127.0.0.1", "::1"} {
		a := netip.MustParseAddr(dst)
		burst(t, s, s, a, a, true, ModeGSO)
	}
}

func TestOwnAddressesAreKnownAndFollowed(t *testing.T) {
	a, _ := nstest.Pair(t)
	s := newStation(t, a, Options{}, TapOptions{})
	// The kernel makes the routes of IPv6 addresses a moment after the link is up.
	for addr, want := range map[string]bool{"127.8.8.8": true, "10.77.0.1": true, "fd77::1": true, "::1": true, "10.77.0.2": false, "::ffff:10.77.0.1": true} {
		eventually(t, fmt.Sprintf("%s local: %v", addr, want), func() bool { return s.resolver.IsLocal(netip.MustParseAddr(addr)) == want })
	}
	hop := lookup(t, s, netip.MustParseAddr("192.0.2.1"))
	a.Run("ip route add local 198.51.100.0/24 dev lo", "ip addr add 192.0.2.2/24 dev v0")
	until(t, hop, "new address", hop.Ready) // the watcher read both
	for _, addr := range []string{"198.51.100.7", "192.0.2.2"} {
		if !s.resolver.IsLocal(netip.MustParseAddr(addr)) {
			t.Errorf("%s is not local", addr)
		}
	}
}

func TestHandlesNobodyHoldsAreForgotten(t *testing.T) {
	a, _ := nstest.Pair(t)
	s := newStation(t, a, Options{}, TapOptions{})
	kept := lookup(t, s, b4)
	for i := range 100 {
		lookup(t, s, netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 50)}))
	}
	count := func() (n int) {
		s.resolver.hops.Range(func(_, _ any) bool { n++; return true })
		return n
	}
	eventually(t, "handles forgotten", func() bool {
		runtime.GC()
		return count() <= 2 // the last one may linger on the stack
	})
	if lookup(t, s, b4) != kept {
		t.Fatal("a held handle was forgotten")
	}
}

func TestLookupRefusesWhatIsNoUnicastAddress(t *testing.T) {
	s := newStation(t, nstest.New(t), Options{}, TapOptions{})
	for _, dst := range []netip.Addr{{}, netip.IPv4Unspecified(), netip.MustParseAddr("ff02::1")} {
		if _, err := s.resolver.Lookup(dst); err == nil {
			t.Errorf("%v was taken", dst)
		}
	}
	if _, err := s.resolver.LookupFrom(a4, b6); err == nil {
		t.Error("mixed families were taken")
	}
	hop := lookup(t, s, b4)
	if hop.Ready() || hop.Mode() != ModeNone || hop.MTU() != 0 {
		t.Errorf("a hop without route: %v %s %d", hop.Ready(), hop.Mode(), hop.MTU())
	}
}
