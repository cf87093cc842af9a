package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

func TestEveryNodeReachesEveryOtherOverEachUnderlay(t *testing.T) {
	for _, underlay := range []struct {
		name, listen, seed string
		config             lab.StarConfig
	}{
		{"IPv4 with NAT", "0.0.0.0:9000", lab.ServerIPv4 + ":9000", lab.StarConfig{Sites: 2}},
		{"IPv6 routed", "[::]:9000", "[" + lab.ServerIPv6 + "]:9000", lab.StarConfig{Sites: 2}},
		{"IPv6 with NAT66", "[::]:9000", "[" + lab.ServerIPv6 + "]:9000", lab.StarConfig{Sites: 2, NAT66: true}},
		{"MTU packets on the wire", "0.0.0.0:9000", lab.ServerIPv4 + ":9000", lab.StarConfig{Sites: 2, Offload: lab.NoOffload}},
	} {
		t.Run(underlay.name, func(t *testing.T) {
			m := newMesh(t, raced(t), underlay.config)
			seed := m.run(m.Server, "seed", 1, "--listen", underlay.listen)
			for number, site := range m.Sites {
				m.run(site.Namespace, siteName(number+1), number+2, "--seed", underlay.seed)
			}
			m.everyPairReaches()
			must(t, seed.Up(m.ctx, "site1"))
			must(t, seed.Up(m.ctx, "site2"))
			for _, way := range [][2]int{{0, 1}, {1, 0}, {1, 2}, {2, 1}} {
				from, to := m.hosts()[way[0]], m.hosts()[way[1]]
				for _, address := range []string{ip4(way[1] + 1), ip6(way[1] + 1)} {
					_, err := lab.Transfer(m.ctx, from, to, address, 4<<20)
					must(t, err)
					for _, size := range []int{100, 1200, 3000} {
						arrived, err := lab.Datagrams(m.ctx, from, to, address, 64, size)
						must(t, err)
						least := 60
						if size > 1280 && address == ip6(way[1]+1) {
							least = 48 // the first burst may be spent on finding the path's MTU (RFC 8201)
						}
						if arrived < least {
							t.Errorf("of 64 datagrams of %d bytes from %s to %s (%s) %d arrived", size, from.Role, to.Role, address, arrived)
						}
					}
				}
			}
			for _, site := range m.Sites {
				invalid, err := site.Router.Counter(m.ctx, "invalid")
				must(t, err)
				if invalid > 0 {
					t.Errorf("%s's router found %d packets invalid", site.Role, invalid)
				}
			}
		})
	}
}

func TestTheBareFormRunsAMesh(t *testing.T) {
	m := newMesh(t, plain(t), lab.StarConfig{Sites: 2})
	key := strings.TrimSpace(readFile(t, m.keyFile))
	server := m.start(m.Server, "server", lab.NodeConfig{Bare: true, Args: []string{"-m", "server", "-l", "0.0.0.0:9000", "-t", cidr4(1), "-k", key, "--name", "server"}})
	for number, site := range m.Sites {
		m.start(site.Namespace, siteName(number+1), lab.NodeConfig{Bare: true, Args: []string{
			"-m", "client", "-r", lab.ServerIPv4 + ":9000", "-t", cidr4(number + 2), "-k", key, "--name", siteName(number + 1)}})
	}
	for i, from := range m.hosts() {
		for j := range m.hosts() {
			if i != j {
				m.reaches(from, ip4(j+1))
			}
		}
	}
	_, err := lab.Transfer(m.ctx, m.Sites[0].Namespace, m.Sites[1].Namespace, ip4(3), 8<<20)
	must(t, err)
	if strings.Contains(server.Log(), key) {
		t.Error("the key is in the log")
	}
}

func TestTwoMeshesShareTheirHosts(t *testing.T) {
	m := newMesh(t, raced(t), lab.StarConfig{Sites: 1})
	site := m.Sites[0].Namespace
	for mesh, port := range []int{9000, 9001} {
		key := fmt.Sprintf("%s%d", m.keyFile, mesh)
		m.newKey(key)
		device, net := fmt.Sprintf("mesh%d", mesh), fmt.Sprintf("10.%d.0.", mesh)
		m.start(m.Server, device+"-seed", lab.NodeConfig{Args: []string{"--name", "seed", "--interface", device,
			"--listen", fmt.Sprintf("0.0.0.0:%d", port), "--address", net + "1/24", "--key-file", key}})
		m.start(site, device+"-site", lab.NodeConfig{Args: []string{"--name", "site", "--interface", device,
			"--seed", fmt.Sprintf("%s:%d", lab.ServerIPv4, port), "--address", net + "2/24", "--key-file", key}})
	}
	for mesh := range 2 {
		m.reaches(site, fmt.Sprintf("10.%d.0.1", mesh))
		m.reaches(m.Server, fmt.Sprintf("10.%d.0.2", mesh))
		_, err := lab.Transfer(m.ctx, site, m.Server, fmt.Sprintf("10.%d.0.1", mesh), 4<<20)
		must(t, err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}
