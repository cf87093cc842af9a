package e2e

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

func TestLANsBehindTwoSitesReachEachOtherWithoutNAT(t *testing.T) {
	m := newMesh(t, raced(t), lab.StarConfig{Sites: 2, LANs: true})
	m.seed()
	for number, site := range m.Sites {
		// Checksums are computed before the LAN's cable, so that its host sees finished ones.
		_, err := site.Run(m.ctx, "ethtool", "-K", "lan0", "tx", "off")
		must(t, err)
		m.site(number+1, "-routes", site.LAN4+","+site.LAN6)
	}
	for i, site := range m.Sites {
		other := m.Sites[1-i]
		capture, err := other.LAN.Capture(m.ctx, "eth0", "tcp or udp")
		must(t, err)
		for _, address := range []string{other.LANHost4, other.LANHost6} {
			m.reaches(site.LAN, address)
			_, err := lab.Transfer(m.ctx, site.LAN, other.LAN, address, 4<<20)
			must(t, err)
			arrived, err := lab.Datagrams(m.ctx, site.LAN, other.LAN, address, 64, 1200)
			must(t, err)
			if arrived < 60 {
				t.Errorf("of 64 datagrams to %s %d arrived", address, arrived)
			}
		}
		must(t, capture.Finish(m.ctx))
		from4, from6 := "ip.src == "+site.LANHost4, "ipv6.src == "+site.LANHost6
		for _, from := range []string{from4, from6} {
			for _, protocol := range []string{"tcp", "udp"} {
				rows, err := capture.Fields(m.ctx, protocol+" and "+from, protocol+".checksum.status")
				must(t, err)
				if len(rows) == 0 {
					t.Errorf("the LAN host got no %s with %s: was its source translated?", protocol, from)
				}
				bad := 0
				for _, row := range rows {
					if row[0] == "0" || strings.EqualFold(row[0], "bad") {
						bad++
					}
				}
				if bad > 0 {
					t.Errorf("%d of %d %s packets with %s arrived with a wrong checksum", bad, len(rows), protocol, from)
				}
			}
		}
	}
}

func TestASharedPrefixMovesToTheOtherHolderWhenOneDies(t *testing.T) {
	m := newMesh(t, raced(t), lab.StarConfig{Sites: 2})
	seed := m.seed()
	const prefix, service = "10.200.0.0/24", "10.200.0.1"
	nodes := map[string]*lab.Node{}
	for number, site := range m.Sites {
		// Both sites offer the same service.
		_, err := site.Shell(m.ctx, "ip addr add "+service+"/32 dev lo")
		must(t, err)
		nodes[siteName(number+1)] = m.site(number+1, "-routes", prefix)
	}
	m.reaches(m.Server, service)
	for name := range nodes {
		must(t, seed.Up(m.ctx, name))
	}
	holder := m.holder(seed, prefix)
	heir := map[string]string{"site1": "site2", "site2": "site1"}[holder]
	if nodes[holder] == nil {
		t.Fatalf("%s is held by %q", prefix, holder)
	}
	must(t, nodes[holder].Kill())
	must(t, m.routed(seed, prefix, heir))
	m.reaches(m.Server, service)
}

// holder waits until a prefix is installed and says to whom it leads.
func (m *mesh) holder(node *lab.Node, prefix string) (name string) {
	m.t.Helper()
	must(m.t, lab.Until(m.ctx, prefix+" leads somewhere", func() (err error) {
		if name, err = m.installed(node, prefix); err == nil && name == "" {
			err = errors.New("it is not installed")
		}
		return err
	}))
	return name
}

func TestHarmfulPrefixesAreNotInstalledUnasked(t *testing.T) {
	m := newMesh(t, raced(t), lab.StarConfig{Sites: 2})
	m.seed()
	victim := m.site(1)
	m.reaches(m.Sites[0].Namespace, ip4(1))
	before, err := m.Sites[0].Run(m.ctx, "ip", "route", "show", "default")
	must(t, err)
	harmful := []string{"0.0.0.0/0", "::/0", "203.0.113.0/24", "203.0.113.1/32", "192.168.0.0/16", "192.168.1.0/24"}
	m.site(2, "-routes", strings.Join(append(harmful, "10.200.0.0/24"), ","))
	must(t, m.routed(victim, "10.200.0.0/24", "site2")) // the harmless one
	routes, err := victim.Routes(m.ctx)
	must(t, err)
	for _, prefix := range harmful {
		refused := false
		for _, r := range routes.Routes {
			if r.Prefix != prefix {
				continue
			}
			refused = !r.Installed && r.Why != ""
			if !refused {
				t.Errorf("%s: %+v, want it refused with a reason", prefix, r)
			}
		}
		if !refused {
			t.Errorf("`node routes` does not show that %s was refused: %+v", prefix, routes.Routes)
		}
	}
	after, err := m.Sites[0].Run(m.ctx, "ip", "route", "show", "default")
	must(t, err)
	if before != after {
		t.Errorf("the default route was %q and is %q", before, after)
	}
	m.reaches(m.Sites[0].Namespace, ip4(1), ip4(3), lab.ServerIPv4)
}

func TestADefaultRouteThatWasAskedForDoesNotSwallowTheTunnelItself(t *testing.T) {
	m := newMesh(t, plain(t), lab.StarConfig{Sites: 2})
	seed := m.seed()
	// The exit is the second site; there the far address lives.
	const far = "198.51.100.7"
	exit := m.Sites[1]
	_, err := exit.Shell(m.ctx, "ip addr add "+far+"/32 dev lo")
	must(t, err)
	m.site(2, "-routes", "0.0.0.0/0")
	user := m.site(1, "-accept-routes", "0.0.0.0/0")
	must(t, m.routed(user, "0.0.0.0/0", "site2"))
	host := m.Sites[0].Namespace
	m.reaches(host, far, ip4(1))
	_, err = lab.Transfer(m.ctx, host, exit.Namespace, far, 4<<20)
	must(t, err)
	// A new connection to the seed, with the route in place.
	must(t, seed.Kill())
	m.start(m.Server, "seed-again", lab.NodeConfig{StateDir: seed.StateDir, Args: m.args("seed", 1, "--listen", "0.0.0.0:9000")})
	ctx := m.within(8 * time.Second)
	must(t, host.Reaches(ctx, ip4(1)))
	must(t, host.Reaches(ctx, far))
}

func TestANodeJoinsThroughOneMoreSeedWithoutARestart(t *testing.T) {
	m := newMesh(t, raced(t), lab.StarConfig{Sites: 1})
	m.seed()
	site := m.site(1)
	must(t, site.Up(m.ctx, "seed"))
	host, err := m.Attach(m.ctx, "second", 2)
	must(t, err)
	m.run(host, "second", 9, "--listen", "0.0.0.0:9000")
	_, err = lab.Datagrams(m.ctx, m.Sites[0].Namespace, host, "203.0.113.2", 1, 100)
	must(t, err)
	_, err = site.Ask(m.ctx, "join", "203.0.113.2:9000")
	must(t, err)
	must(t, site.Up(m.ctx, "second"))
	m.reaches(m.Sites[0].Namespace, ip4(9), ip4(1))
	// The two halves are one mesh now.
	m.reaches(m.Server, ip4(9))
}
