package guard

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

var (
	far4, far6 = netip.MustParseAddr("10.77.0.2"), netip.MustParseAddr("fd77::2")
	modes      = []Mode{TCX, TC, NFT, IPTables}
)

// newGuard makes a guard, or skips the test where the kernel lacks the mode.
func newGuard(t *testing.T, ns *nstest.NS, opts Options) *Guard {
	t.Helper()
	var g *Guard
	var err error
	ns.Do(func() { g, err = New(opts) })
	if err != nil {
		if strings.Contains(err.Error(), "not supported") || strings.Contains(err.Error(), exec.ErrNotFound.Error()) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	return g
}

func set(t *testing.T, ns *nstest.NS, g *Guard, ports ...uint16) {
	t.Helper()
	var err error
	ns.Do(func() { err = g.Set(ports) })
	if err != nil {
		t.Fatal(err)
	}
}

func closeGuard(t *testing.T, ns *nstest.NS, g *Guard) {
	t.Helper()
	var err error
	ns.Do(func() { err = g.Close() })
	if err != nil {
		t.Fatal(err)
	}
}

func TestKernelIsSilentOnGuardedPortsOnlyAndLeavesNothing(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			a, b := nstest.Pair(t)
			before := state(b)
			p := newProber(t, a)
			if got := p.answers(t, far4, 9000, 9002); !got[9000] || !got[9002] {
				t.Fatalf("without a guard the kernel answers only %v", got)
			}
			g := newGuard(t, b, Options{Mode: mode, XDP: true, Owner: "tun5"})
			t.Logf("%s; reasons %q", g.Name(), g.Reasons())
			for _, dst := range []netip.Addr{far4, far6} {
				set(t, b, g, 9000, 9001)
				if got := p.answers(t, dst, 9000, 9001, 9002); len(got) != 1 {
					t.Fatalf("%v: resets from %v", dst, got)
				}
				set(t, b, g, 9001)
				if got := p.answers(t, dst, 9000, 9001, 9002); len(got) != 2 || got[9001] {
					t.Fatalf("%v after a port was taken away: resets from %v", dst, got)
				}
			}
			closeGuard(t, b, g)
			if got := p.answers(t, far4, 9001, 9002); !got[9001] {
				t.Fatal("still guarded after Close")
			}
			if after := state(b); after != before {
				t.Fatalf("left over:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

// state is everything a guard might install, as the tools show it.
func state(ns *nstest.NS) string {
	var s strings.Builder
	for _, command := range []string{
		"tc qdisc show", "tc filter show dev v0 ingress", "tc filter show dev lo ingress", "nft list tables netdev",
		"iptables -t raw -S", "ip6tables -t raw -S",
	} {
		out, _ := ns.Try(command)
		fmt.Fprintf(&s, "%s:\n%s", command, out)
	}
	return s.String()
}

func TestTapSeesEverySegmentThatTheGuardDrops(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			a, b := nstest.Pair(t)
			p := newProber(t, a)
			var tap *link.Tap
			var err error
			b.Do(func() { tap, err = link.NewTap(link.TapOptions{}) })
			if err != nil {
				t.Fatal(err)
			}
			defer tap.Close()
			if err := tap.SetFilter([]uint16{9000}, nil); err != nil {
				t.Fatal(err)
			}
			g := newGuard(t, b, Options{Mode: mode, XDP: true})
			defer closeGuard(t, b, g)
			set(t, b, g, 9000)
			const n = 200
			ports := make([]uint16, n, n+1)
			for i := range ports {
				ports[i] = 9000
			}
			if got := p.answers(t, far4, append(ports, 9002)...); got[9000] {
				t.Fatal("the kernel answered")
			}
			// All of them had arrived before 9002 was answered.
			for seen := 0; seen < n; {
				batch, err := tap.Recv()
				if err != nil {
					t.Fatal(err)
				}
				seen += len(batch)
			}
		})
	}
}

func TestForwardedTrafficIsLeftAlone(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			a, b := nstest.Pair(t)
			// Beyond b, an address that is not b's: a second namespace behind it.
			c := nstest.Behind(t, b, "10.78.0.1/24", "10.78.0.2/24")
			b.Run("sysctl -qw net.ipv4.ip_forward=1")
			a.Run("ip route add 10.78.0.0/24 via 10.77.0.2")
			c.Run("ip route add default via 10.78.0.1")
			p := newProber(t, a)
			g := newGuard(t, b, Options{Mode: mode, XDP: true})
			defer closeGuard(t, b, g)
			set(t, b, g, 9000)
			if got := p.answers(t, netip.MustParseAddr("10.78.0.2"), 9000, 9002); !got[9000] {
				t.Fatal("a forwarded segment was dropped")
			}
			if got := p.answers(t, far4, 9000, 9002); got[9000] {
				t.Fatal("our own port is not guarded")
			}
		})
	}
}

func TestInterfacesAndAddressesThatAppearLaterAreGuarded(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			b := nstest.New(t)
			g := newGuard(t, b, Options{Mode: mode, XDP: true})
			defer closeGuard(t, b, g)
			set(t, b, g, 9000)
			a := nstest.Behind(t, b, "10.77.0.2/24", "10.77.0.1/24")
			// What Run does upon a change; iptables needs nothing of it.
			var err error
			b.Do(func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				err = g.refresh(false)
			})
			if err != nil {
				t.Fatal(err)
			}
			p := newProber(t, a)
			if got := p.answers(t, far4, 9000, 9002); got[9000] {
				t.Fatal("a new interface is not guarded")
			}
		})
	}
}

func TestRunFollowsChangesAndEnds(t *testing.T) {
	b := nstest.New(t)
	g := newGuard(t, b, Options{Mode: IPTables})
	defer closeGuard(t, b, g)
	seen := make(chan string, 64)
	g.backend = &spy{backend: g.backend, attached: seen}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	b.Run("ip link add new0 type veth peer name new1", "ip link set new0 up")
	for name := ""; name != "new0"; {
		select {
		case name = <-seen:
		case <-time.After(testPatience):
			t.Fatal("a new interface was not noticed")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// spy tells which interfaces are attached.
type spy struct {
	backend
	attached chan string
}

func (s *spy) attach(index int, name string) error {
	s.attached <- name
	return s.backend.attach(index, name)
}

func TestWhatAKilledProcessLeftIsRemovedAndALivingOnesIsNot(t *testing.T) {
	for _, mode := range []Mode{TC, NFT, IPTables} {
		t.Run(string(mode), func(t *testing.T) {
			a, b := nstest.Pair(t)
			before := state(b)
			p := newProber(t, a)
			killed := newGuard(t, b, Options{Mode: mode, XDP: true, Owner: "killed"})
			set(t, b, killed, 9000)
			killed.owner.release() // all that a killed process does
			// Its program of tcx lives on in this process alone.
			if found := leftovers(t, b); (len(found) == 0) != (mode == TCX) {
				t.Errorf("left by the killed one, as listed: %+v", found)
			}
			living := newGuard(t, b, Options{Mode: mode, XDP: true, Owner: "living"})
			set(t, b, living, 9001)
			if got := p.answers(t, far4, 9000, 9001, 9002); !got[9000] || got[9001] {
				t.Fatalf("resets from %v", got)
			}
			if found := leftovers(t, b); len(found) != 0 {
				t.Errorf("a living one's rules are listed as left over: %+v", found)
			}
			third := newGuard(t, b, Options{Mode: mode, XDP: true, Owner: "third"})
			if got := p.answers(t, far4, 9001, 9002); got[9001] {
				t.Fatal("a living node's rules were removed")
			}
			closeGuard(t, b, third)
			if got := p.answers(t, far4, 9001, 9002); got[9001] {
				t.Fatal("closing one guard took away another's rules")
			}
			closeGuard(t, b, living)
			if after := state(b); after != before {
				t.Fatalf("left over:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

// leftovers are those in a namespace.
func leftovers(t *testing.T, ns *nstest.NS) (found []Leftover) {
	t.Helper()
	var err error
	ns.Do(func() { found, err = Leftovers() })
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTwoGuardsOfOneOwnerAreRefused(t *testing.T) {
	b := nstest.New(t)
	g := newGuard(t, b, Options{Owner: "tun0"})
	defer closeGuard(t, b, g)
	b.Do(func() {
		if second, err := New(Options{Owner: "tun0"}); err == nil {
			second.Close()
			t.Error("a second guard for the same owner")
		} else if !strings.Contains(err.Error(), "tun0") {
			t.Errorf("error does not name the owner: %v", err)
		}
	})
}

func TestWithoutEBPFTheReasonIsTold(t *testing.T) {
	b := nstest.New(t)
	g := newGuard(t, b, Options{XDP: false})
	defer closeGuard(t, b, g)
	if name := g.Name(); name == "tcx" || name == "tc" {
		t.Fatalf("uses %s", name)
	}
	if len(g.Reasons()) < 2 || !strings.Contains(g.Reasons()[0], "switched off") {
		t.Fatalf("reasons %q", g.Reasons())
	}
}

func TestLoopbackIsGuarded(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			b := nstest.New(t)
			p := newProber(t, b)
			g := newGuard(t, b, Options{Mode: mode, XDP: true})
			defer closeGuard(t, b, g)
			set(t, b, g, 9000)
			for _, dst := range []string{"127.0.0.1", "127.9.9.9", "::1"} {
				if got := p.answers(t, netip.MustParseAddr(dst), 9000, 9002); got[9000] {
					t.Fatalf("%s answered", dst)
				}
			}
		})
	}
}
