package rawtcp

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

// throughRouter makes a site, a strict NAT router and a server: what the
// router's conntrack finds invalid is counted and dropped, and lossRule, if any,
// drops at random.
func throughRouter(t *testing.T, lossRule string) (site, router, server *nstest.NS) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	router = nstest.New(t)
	site = nstest.Behind(t, router, "10.78.1.1/24", "10.78.1.2/24")
	server = nstest.Behind(t, router, "203.0.113.1/24", "203.0.113.2/24")
	site.Run("ip route add default via 10.78.1.1")
	router.Run(
		"sysctl -qw net.ipv4.ip_forward=1",
		"nft add table ip t",
		"nft add chain ip t strict { type filter hook forward priority 0 ; policy accept ; }",
		"nft add chain ip t nat { type nat hook postrouting priority 100 ; policy accept ; }",
		"nft add rule ip t nat ip saddr 10.78.1.0/24 masquerade",
		"nft add rule ip t strict ct state invalid counter drop",
	)
	if lossRule != "" {
		router.Run("nft add rule ip t strict " + lossRule)
	}
	return site, router, server
}

// invalid is what conntrack on the router found invalid.
func invalid(t *testing.T, router *nstest.NS) string {
	t.Helper()
	for line := range strings.Lines(router.Run("nft list chain ip t strict")) {
		if strings.Contains(line, "ct state invalid") {
			return strings.TrimSpace(line)
		}
	}
	t.Fatal("the counting rule is gone")
	return ""
}

func TestAStrictNATRouterFindsNothingInvalid(t *testing.T) {
	for name, c := range map[string]struct {
		loss string
		some float64 // of what was sent must come back
	}{
		"no loss":      {"", 1},
		"3 % loss":     {"numgen random mod 100 < 3 drop", 0.8},
		"lost SYN":     {"tcp flags syn numgen inc mod 2 == 0 drop", 1},
		"lost SYN-ACK": {"tcp flags & (syn|ack) == (syn|ack) numgen inc mod 2 == 0 drop", 1},
		"lost ACK":     {"tcp flags & (syn|ack|psh) == ack ip length <= 52 numgen inc mod 20 == 0 drop", 1},
	} {
		t.Run(name, func(t *testing.T) {
			site, router, server := throughRouter(t, c.loss)
			echo := start(t, server, "echo", "203.0.113.2:9000")
			got := start(t, site, "client", "203.0.113.2:9000", "300").wait()
			back := echo.finish()
			if got.Error != "" || got.Sent < 10000 || float64(got.Echoed) < c.some*float64(got.Sent) {
				t.Fatalf("%+v\n%+v", got, back)
			}
			if line := invalid(t, router); !strings.Contains(line, "counter packets 0 ") {
				t.Errorf("%s\n%+v\n%+v", line, got, back)
			}
		})
	}
}
