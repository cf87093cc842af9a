// Package e2e tests whole nodes as users run them: the built program, in
// network namespaces, on the running kernel.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// mesh is a star of hosts and the nodes that a test runs on them. The seed is
// 10.0.0.1 and fd00:77::1, site 1 is 10.0.0.2 and fd00:77::2, and so on.
type mesh struct {
	*lab.Star
	t       *testing.T
	ctx     context.Context
	lab     *lab.Lab
	binary  string
	keyFile string
}

// atMost bounds a test that waits for nothing slower than a connection.
const atMost = 40 * time.Second

// newMesh builds the hosts; nodes are started by the test.
func newMesh(t *testing.T, binary string, config lab.StarConfig) *mesh {
	t.Helper()
	l := lab.ForTest(t)
	ctx, cancel := context.WithTimeout(t.Context(), atMost)
	t.Cleanup(cancel)
	star, err := l.NewStar(ctx, config)
	must(t, err)
	m := &mesh{Star: star, t: t, ctx: ctx, lab: l, binary: binary, keyFile: filepath.Join(l.Dir(), "key")}
	m.newKey(m.keyFile)
	return m
}

// within is a shorter time for one part of a test.
func (m *mesh) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(m.ctx, d)
	m.t.Cleanup(cancel)
	return ctx
}

// newKey makes a mesh key as users do.
func (m *mesh) newKey(path string) {
	m.t.Helper()
	_, err := m.Server.Shell(m.ctx, fmt.Sprintf("umask 077; %s genkey >%s", m.binary, path))
	must(m.t, err)
}

// start starts a node that says all it said when the test fails, and that
// must not have had a data race.
func (m *mesh) start(host *lab.Namespace, name string, config lab.NodeConfig) *lab.Node {
	m.t.Helper()
	config.Binary, config.Name = m.binary, name
	config.Env = append(config.Env, "GORACE=halt_on_error=1 exitcode=66")
	node, err := host.StartNode(config)
	must(m.t, err)
	m.t.Cleanup(func() {
		log := node.Log()
		if strings.Contains(log, "DATA RACE") {
			m.t.Errorf("%s has a data race", name)
		}
		if m.t.Failed() {
			m.t.Logf("--- %s (%s) said:\n%s", name, host.Role, log)
		}
	})
	return node
}

// run starts a node of this mesh with `node run`.
func (m *mesh) run(host *lab.Namespace, name string, number int, args ...string) *lab.Node {
	m.t.Helper()
	return m.start(host, name, lab.NodeConfig{Args: m.args(name, number, args...)})
}

// args are those of a member of this mesh, with more.
func (m *mesh) args(name string, number int, more ...string) []string {
	return append([]string{"--name", name, "--key-file", m.keyFile, "--address", cidr4(number) + "," + cidr6(number)}, more...)
}

// seed starts the mesh's first node.
func (m *mesh) seed(args ...string) *lab.Node {
	m.t.Helper()
	return m.run(m.Server, "seed", 1, append([]string{"--listen", "0.0.0.0:9000"}, args...)...)
}

// site starts the node of site number 1, 2, ...
func (m *mesh) site(number int, args ...string) *lab.Node {
	m.t.Helper()
	return m.run(m.Sites[number-1].Namespace, siteName(number), number+1, append([]string{"--seed", lab.ServerIPv4 + ":9000"}, args...)...)
}

func siteName(number int) string { return fmt.Sprintf("site%d", number) }

// The overlay's addresses.
func ip4(number int) string   { return fmt.Sprintf("10.0.0.%d", number) }
func ip6(number int) string   { return fmt.Sprintf("fd00:77::%x", number) }
func cidr4(number int) string { return ip4(number) + "/24" }
func cidr6(number int) string { return ip6(number) + "/64" }

// reaches waits until one host's ping to an address is answered.
func (m *mesh) reaches(from *lab.Namespace, addresses ...string) {
	m.t.Helper()
	for _, address := range addresses {
		must(m.t, from.Reaches(m.ctx, address))
	}
}

// hosts are those with a node, the seed's first.
func (m *mesh) hosts() []*lab.Namespace {
	all := []*lab.Namespace{m.Server}
	for _, site := range m.Sites {
		all = append(all, site.Namespace)
	}
	return all
}

// everyPairReaches pings every address of every node from every other.
func (m *mesh) everyPairReaches() {
	m.t.Helper()
	for i, from := range m.hosts() {
		for j := range m.hosts() {
			if i != j {
				m.reaches(from, ip4(j+1), ip6(j+1))
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// plain is the program as users have it.
func plain(t *testing.T) string { return program(t, "LT_BIN", plainBuild) }

// raced is the program with the race detector built in: slow, for tests that
// measure no time.
func raced(t *testing.T) string { return program(t, "LT_RACE_BIN", racedBuild) }

// built is a directory for what this test binary builds itself.
var built string

// Whoever runs these tests may have built the programs already, and names them
// in the environment.
var (
	plainBuild = sync.OnceValues(func() (string, error) { return build("lightweight-tunnel", nil, "CGO_ENABLED=0") })
	racedBuild = sync.OnceValues(func() (string, error) { return build("lightweight-tunnel-race", []string{"-race"}) })
)

func program(t *testing.T, variable string, build func() (string, error)) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if path := os.Getenv(variable); path != "" {
		return path
	}
	path, err := build()
	must(t, err)
	return path
}

func build(name string, flags []string, env ...string) (string, error) {
	path := filepath.Join(built, name)
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "github.com/openbmx/lightweight-tunnel/cmd/lightweight-tunnel")...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program under test: %w: %s", err, out)
	}
	return path, nil
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "lightweight-tunnel-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		built = dir
		return m.Run()
	}())
}
