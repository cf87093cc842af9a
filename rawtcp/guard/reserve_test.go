package guard

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

func TestReservationHoldsThePort(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::1]:0"} {
		for _, listen := range []bool{true, false} {
			b := nstest.New(t)
			b.Do(func() {
				r, err := Reserve(netip.MustParseAddrPort(addr), listen)
				if err != nil {
					t.Error(err)
					return
				}
				if r.Port() == 0 || r.Addr().Port() != r.Port() {
					t.Errorf("%s: port %d, address %v", addr, r.Port(), r.Addr())
				}
				again := netip.AddrPortFrom(netip.MustParseAddrPort(addr).Addr(), r.Port())
				if second, err := Reserve(again, listen); err == nil {
					second.Close()
					t.Errorf("%s listen=%v: somebody else got the port", addr, listen)
				}
				if addr == "[::]:0" {
					if second, err := Reserve(netip.AddrPortFrom(netip.IPv4Unspecified(), r.Port()), listen); err == nil {
						second.Close()
						t.Error("the IPv4 port is free")
					}
				}
				out, err := exec.Command("ss", "-ltnH").Output()
				if err == nil && strings.Contains(string(out), fmt.Sprintf(":%d ", r.Port())) != listen {
					t.Errorf("%s listen=%v: ss shows %q", addr, listen, out)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
				third, err := Reserve(again, listen)
				if err != nil {
					t.Errorf("%s: still held after Close: %v", addr, err)
					return
				}
				third.Close()
			})
		}
	}
}

func TestOwnersNamesAreSafeAndDistinct(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"tun0", "tün0", "tun 0", "tun;0", "a-very-long-interface-name", "a-very-long-interface-name2", "../x"} {
		safe := safeName(name)
		if len(safe) > maxOwner || safe != safeName(name) {
			t.Errorf("%q becomes %q", name, safe)
		}
		if other, taken := seen[safe]; taken {
			t.Errorf("%q and %q are both %q", name, other, safe)
		}
		seen[safe] = name
	}
}
