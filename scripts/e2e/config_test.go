package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// What -g says must be done with its two files is done, and no more.
func TestTheGeneratedConfigurationsRunAMesh(t *testing.T) {
	m := newMesh(t, plain(t), lab.StarConfig{Sites: 2})
	config := filepath.Join(m.lab.Dir(), "config.json")
	_, err := m.Server.Run(m.ctx, m.binary, "-g", config)
	must(t, err)
	if !strings.Contains(readFile(t, config+".client"), "SERVER_ADDRESS") {
		t.Fatal("there is no place for the server's address")
	}
	m.start(m.Server, "server", lab.NodeConfig{Bare: true, Args: []string{"-c", config}})
	for number, site := range m.Sites {
		own := fmt.Sprintf("%s.client%d", config, number)
		_, err := site.Shell(m.ctx, fmt.Sprintf("umask 077; sed 's/SERVER_ADDRESS/%s/; s|10.0.0.2/24|%s|' %s.client >%s", lab.ServerIPv4, cidr4(number+2), config, own))
		must(t, err)
		m.start(site.Namespace, siteName(number+1), lab.NodeConfig{Bare: true, Args: []string{"-c", own, "--name", siteName(number + 1)}})
	}
	m.reaches(m.Sites[0].Namespace, ip4(1), ip4(3))
	m.reaches(m.Sites[1].Namespace, ip4(1), ip4(2))
}

func TestAMeshMayHaveIPv6AddressesOnly(t *testing.T) {
	m := newMesh(t, plain(t), lab.StarConfig{Sites: 2})
	args := func(number int, more ...string) lab.NodeConfig {
		return lab.NodeConfig{Args: append([]string{"--key-file", m.keyFile, "--address", cidr6(number)}, more...)}
	}
	m.start(m.Server, "seed", args(1, "--name", "seed", "--listen", "0.0.0.0:9000"))
	for number, site := range m.Sites {
		m.start(site.Namespace, siteName(number+1), args(number+2, "--name", siteName(number+1), "--seed", lab.ServerIPv4+":9000"))
	}
	m.reaches(m.Sites[0].Namespace, ip6(1), ip6(3))
	_, err := lab.Transfer(m.ctx, m.Sites[1].Namespace, m.Sites[0].Namespace, ip6(2), 1<<20)
	must(t, err)
}
