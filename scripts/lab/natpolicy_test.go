package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestHostsBehindOneConeHaveMappingsOfTheirOwnAndMeetByHairpin(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 30*time.Second)
	for i, kind := range []NATKind{NATFullCone, NATRestricted, NATPortRestricted} {
		w := newWorld(t, l, ctx, fmt.Sprintf("h%d-", i), RouterConfig{Kind: kind, Hairpin: true})
		second, err := w.router.Host(ctx, "second")
		must(t, err)
		for _, tcp := range []bool{false, true} {
			near, far := open(t, w.servers[0], tcp, serverPort), open(t, w.servers[1], tcp, serverPort)
			a, b := open(t, w.host, tcp, 5000), open(t, second, tcp, 5000)
			a.speak(t, ctx, near.at)
			b.speak(t, ctx, far.at)
			atA, atB := near.heard(t, ctx), far.heard(t, ctx)
			if atA == atB {
				t.Fatalf("%s, TCP %v: both hosts are %v", kind, tcp, atA)
			}
			b.speak(t, ctx, near.at)
			if again := near.heard(t, ctx); again != atB {
				t.Errorf("%s, TCP %v: %v became %v", kind, tcp, atB, again)
			}
			a.speak(t, ctx, atB)
			if from := b.heard(t, ctx); from != atA {
				t.Errorf("%s, TCP %v: seen inside from %v, want %v", kind, tcp, from, atA)
			}
		}
	}
}

func TestHomesBehindOneCarrierMeetIfItHairpins(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 30*time.Second)
	w := newWorld(t, l, ctx, "", RouterConfig{Kind: NATPortRestricted, Hairpin: true}, RouterConfig{Kind: NATPortRestricted})
	other, err := w.routers[0].Router(ctx, "other", RouterConfig{Kind: NATPortRestricted})
	must(t, err)
	neighbour, err := other.Host(ctx, "neighbour")
	must(t, err)
	if neighbour.IPv4 != w.host.IPv4 {
		t.Errorf("%s and %s: homes have the same addresses", neighbour.IPv4, w.host.IPv4)
	}
	server := open(t, w.servers[0], false, serverPort)
	a, b := open(t, w.host, false, 5000), open(t, neighbour, false, 5000)
	a.speak(t, ctx, server.at)
	atA := server.heard(t, ctx)
	b.speak(t, ctx, server.at)
	atB := server.heard(t, ctx)
	a.speak(t, ctx, atB) // opens the own home
	must(t, Until(ctx, "the other home drops it", func() error {
		n, err := other.Counter(ctx, "unsolicited")
		if err == nil && n == 0 {
			err = errors.New("nothing yet")
		}
		return err
	}))
	b.speak(t, ctx, atA)
	if from := a.heard(t, ctx); from != atB {
		t.Errorf("heard %v, want %v", from, atB)
	}
	a.speak(t, ctx, atB)
	if from := b.heard(t, ctx); from != atA {
		t.Errorf("heard %v, want %v", from, atA)
	}
}

func TestUDPIsBlockedOrThrottledAndTCPIsNot(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 30*time.Second)
	for i, policy := range []UDPPolicy{UDPBlocked, UDPThrottled} {
		w := newWorld(t, l, ctx, fmt.Sprintf("u%d-", i), RouterConfig{Kind: NATPortRestricted, UDP: policy})
		server, host := open(t, w.servers[0], false, serverPort), open(t, w.host, false, 5000)
		began := time.Now()
		datagram, bytes := make([]byte, 1000), 0
		for range 300 {
			_, err := host.udp.WriteTo(datagram, net.UDPAddrFromAddrPort(server.at))
			must(t, err)
		}
		if policy == UDPBlocked {
			before := open(t, w.servers[0], true, serverPort)
			open(t, w.host, true, 5000).speak(t, ctx, before.at)
			before.heard(t, ctx) // behind all datagrams
			if len(server.from) != 0 {
				t.Error("a datagram came through")
			}
			continue
		}
		// The first that is let through after the burst comes behind all that were.
		marker := open(t, w.host, false, 5001)
		must(t, Until(ctx, "the marker comes through", func() error {
			marker.speak(t, ctx, server.at)
			for {
				select {
				case from := <-server.from:
					if from.Port() == 5001 {
						return nil
					}
					bytes += 1028
				default:
					return errors.New("not yet")
				}
			}
		}))
		most := 4<<10 + int((time.Since(began).Seconds()+1)*(125<<10))
		if bytes < 16<<10 || bytes > most {
			t.Errorf("%d bytes came through, at most %d are allowed", bytes, most)
		}
	}
}

// sendHops sends one datagram with so many hops to live.
func (e *endpoint) sendHops(t *testing.T, to netip.AddrPort, hops int) {
	t.Helper()
	raw, err := e.udp.(*net.UDPConn).SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, hops) }))
	must(t, err)
	_, err = e.udp.WriteTo([]byte("early"), net.UDPAddrFromAddrPort(to))
	must(t, err)
}

func TestAnEarlyDatagramStealsTheTupleOfARouterWithoutInputFilter(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 30*time.Second)
	for i, test := range []struct {
		unasked Unasked
		hops    int
		stolen  bool
	}{
		{TakeUnasked, 64, true},
		{TakeUnasked, internetHops, false}, // dies in the core
		{DropUnasked, 64, false},
		{ResetUnasked, 64, false},
	} {
		w := newWorld(t, l, ctx, fmt.Sprintf("s%d-", i), RouterConfig{Kind: NATPortRestricted, Unasked: test.unasked})
		server, host := open(t, w.servers[0], false, serverPort), open(t, w.host, false, 5000)
		where, counter := w.router.Namespace, "unsolicited"
		if test.hops != 64 {
			where, counter = w.net.Core, "spent"
		}
		server.sendHops(t, netip.AddrPortFrom(netip.MustParseAddr(w.router.Public4), 5000), test.hops)
		must(t, Until(ctx, "the early datagram is counted", func() error {
			n, err := where.Counter(ctx, counter)
			if err == nil && n == 0 {
				err = errors.New("not yet")
			}
			return err
		}))
		host.speak(t, ctx, server.at)
		if from := server.heard(t, ctx); (from.Port() != 5000) != test.stolen {
			t.Errorf("%+v: mapped to port %d", test, from.Port())
		}
	}
}

func TestRoutersAnswerTCPThatNobodyAskedForAsConfigured(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 30*time.Second)
	for i, config := range []RouterConfig{
		{Kind: NATPortRestricted, Unasked: ResetUnasked}, {Kind: NATRestricted, Unasked: ResetUnasked},
		{Kind: NATPortRestricted, Unasked: TakeUnasked}, {Kind: NATPortRestricted},
	} {
		w := newWorld(t, l, ctx, fmt.Sprintf("r%d-", i), config)
		trying, stop := context.WithCancel(ctx)
		result := make(chan error, 1)
		go func() {
			result <- w.servers[0].Do(func() error {
				_, err := (&net.Dialer{}).DialContext(trying, "tcp", w.router.Public4+":5000")
				return err
			})
		}()
		must(t, Until(ctx, "the router has seen the SYN", func() error {
			if w.unsolicited(t) == 0 {
				return errors.New("not yet")
			}
			return nil
		}))
		if config.Unasked == DropUnasked {
			stop()
		}
		if err := <-result; errors.Is(err, syscall.ECONNREFUSED) != (config.Unasked != DropUnasked) {
			t.Errorf("%s: %v", config, err)
		}
		stop()
	}
}

func TestIPv6IsRoutedAndFilteredBesideOrWithoutIPv4(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 30*time.Second)
	for i, families := range []Families{BothFamilies, OnlyIPv6} {
		w := newWorld(t, l, ctx, fmt.Sprintf("f%d-", i), RouterConfig{Kind: NATFullCone, Families: families})
		must(t, w.host.Reaches(ctx, w.servers[0].IPv6))
		if families == OnlyIPv6 {
			if _, err := w.host.Ping(ctx, w.servers[0].IPv4, 1, 1); err == nil {
				t.Error("a host without IPv4 reached an IPv4 address")
			}
		} else {
			must(t, w.host.Reaches(ctx, w.servers[0].IPv4))
		}
		before := w.unsolicited(t)
		if _, err := w.servers[0].Ping(ctx, w.host.IPv6, 1, 1); err == nil {
			t.Error("unasked, and let in")
		}
		if after := w.unsolicited(t); after != before+1 {
			t.Errorf("unsolicited went from %d to %d", before, after)
		}
	}
}

func TestARouterCountsWhatIsNotForPublicHosts(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 30*time.Second)
	w := newWorld(t, l, ctx, "", RouterConfig{Kind: NATNone})
	peer, err := w.net.Router(ctx, "peer", RouterConfig{Kind: NATPortRestricted})
	must(t, err)
	behind, err := peer.Host(ctx, "behind")
	must(t, err)
	server, host := open(t, w.servers[0], false, serverPort), open(t, w.host, false, 5000)
	guest := open(t, behind, false, 5000)
	guest.speak(t, ctx, server.at)
	server.heard(t, ctx)
	guest.speak(t, ctx, host.at)
	guest.speak(t, ctx, host.at)
	from := host.heard(t, ctx)
	host.heard(t, ctx)
	host.speak(t, ctx, from)
	guest.heard(t, ctx)
	for r, want := range map[*NATRouter]Traffic{w.router: {UDPIn: 2, UDPOut: 1}, peer: {UDPOut: 2, UDPIn: 1}} {
		got, err := r.Traffic(ctx)
		must(t, err)
		if got != want {
			t.Errorf("%s counted %+v, want %+v", r.Role, got, want)
		}
	}
}

func TestRoutersThatCannotBeAreRefused(t *testing.T) {
	l, ctx := ForTest(t), timeout(t, 30*time.Second)
	net, err := l.NewInternet(ctx, InternetConfig{})
	must(t, err)
	for _, config := range []RouterConfig{{Kind: "round"}, {Kind: NATRandom, Hairpin: true}} {
		if _, err := net.Router(ctx, "router", config); err == nil {
			t.Errorf("%+v was built", config)
		}
	}
	routed, err := net.Router(ctx, "routed", RouterConfig{Kind: NATFirewall})
	must(t, err)
	if _, err := routed.Router(ctx, "home", RouterConfig{Kind: NATFullCone}); err == nil {
		t.Error("a home behind a firewall was built as if it were a carrier")
	}
}
