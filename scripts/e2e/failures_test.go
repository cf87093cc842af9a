package e2e

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/control"
	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

func TestEveryActorsPanicIsHealed(t *testing.T) {
	m := newMesh(t, plain(t), lab.StarConfig{Sites: 1})
	m.seed()
	site := m.site(1)
	host := m.Sites[0].Namespace
	must(t, site.Up(m.ctx, "seed"))
	m.reaches(host, ip4(1))
	status, err := site.Status(m.ctx)
	must(t, err)
	var names []string
	for _, a := range status.Actors {
		for _, one := range a.All() {
			// The root is the supervisor of all: its failure ends the process.
			if len(one.Children) == 0 {
				names = append(names, one.Name)
			}
		}
	}
	if len(names) < 5 {
		t.Fatalf("the tree has these actors only: %v", names)
	}
	for _, name := range names {
		before := m.restarts(site, name)
		must(t, control.NewClient(control.SocketPath(site.StateDir, "")).Fail(m.ctx, name))
		began := time.Now()
		ctx := m.within(2 * time.Second)
		if err := lab.Until(ctx, name+" is restarted", func() error {
			if now := m.restarts(site, name); now <= before {
				return fmt.Errorf("it has been restarted %d times, as before", now)
			}
			return nil
		}); err != nil {
			t.Errorf("%v", err)
			continue
		}
		if err := host.Reaches(ctx, ip4(1)); err != nil {
			t.Errorf("after a panic in %s: %v", name, err)
			m.reaches(host, ip4(1)) // the next actor's turn begins with traffic
			continue
		}
		t.Logf("%s: healed in %s", name, time.Since(began).Round(10*time.Millisecond))
	}
	if _, err := lab.Transfer(m.ctx, host, m.Server, ip4(1), 4<<20); err != nil {
		t.Error(err)
	}
}

// restarts says how often an actor has been restarted, -1 if nobody of this name is there.
func (m *mesh) restarts(node *lab.Node, name string) int {
	status, err := node.Status(m.ctx)
	if err != nil {
		return -1
	}
	for _, a := range status.Actors {
		for _, one := range a.All() {
			if one.Name == name {
				return one.Restarts
			}
		}
	}
	return -1
}

var junkFor = flag.Duration("junk", 6*time.Second, "how long TestJunkAtThePortCostsNoConnection goes on")

// Junk of every kind at the port, from spoofed sources and in the site's own
// name, while a transfer runs.
func TestJunkAtThePortCostsNoConnection(t *testing.T) {
	m := newMesh(t, plain(t), lab.StarConfig{Sites: 1})
	ctx, cancel := context.WithTimeout(t.Context(), atMost+*junkFor)
	t.Cleanup(cancel)
	m.ctx = ctx
	seed := m.seed()
	m.site(1)
	site := m.Sites[0]
	m.reaches(site.Namespace, ip4(1))
	attacker, err := m.Attach(m.ctx, "attacker", 66)
	must(t, err)

	server, err := m.Server.Start(lab.Command{Path: "iperf3", Args: []string{"-s", "-1"}})
	must(t, err)
	must(t, m.Server.Listener(m.ctx, 5201))
	client, err := site.Start(lab.Command{Path: "iperf3", Args: []string{"-c", ip4(1), "-t", strconv.Itoa(int(junkFor.Seconds())), "-i", "1", "--forceflush"}})
	must(t, err)

	var floods []*lab.Process
	flood := func(args ...string) {
		p, err := attacker.Start(lab.Command{Path: "hping3", Args: append(args, "-q", "-p", "9000", lab.ServerIPv4)})
		must(t, err)
		floods = append(floods, p)
	}
	flood("--rand-source", "-S", "-i", "u20")                      // half-open connections
	flood("--rand-source", "-A", "-P", "-d", "900", "-i", "u40")   // data of nobody's flow
	flood("--rand-source", "-R", "-i", "u100")                     // resets
	flood("-2", "--rand-source", "-d", "300", "-i", "u100")        // UDP
	flood("-a", site.PublicIPv4, "-s", m.mapped(site), "-k", "-A", // the site's own flow, blindly
		"-P", "-d", "500", "-i", "u100")
	flood("-a", site.PublicIPv4, "-s", m.mapped(site), "-k", "-R", "-i", "u100")

	must(t, client.Wait(m.ctx))
	for _, p := range floods {
		must(t, p.Kill())
	}
	if client.ExitCode() != 0 {
		t.Errorf("iperf3 ended with %d:\n%s%s", client.ExitCode(), client.Log(), server.Log())
	}
	t.Logf("iperf3 said:\n%s", client.Log())
	m.reaches(site.Namespace, ip4(1))
	status, err := seed.Status(m.ctx)
	must(t, err)
	for _, a := range status.Actors {
		for _, one := range a.All() {
			if one.Restarts > 0 {
				t.Errorf("%s was restarted %d times: %s", one.Name, one.Restarts, one.LastError)
			}
		}
	}
}

// mapped is the port that a site's router gave the site's flow to the seed.
func (m *mesh) mapped(site *lab.Site) string {
	m.t.Helper()
	out, err := site.Router.Run(m.ctx, "conntrack", "-L", "-p", "tcp", "--dport", "9000")
	must(m.t, err)
	// ... src=192.168.1.2 dst=203.0.113.1 sport=40000 dport=9000 src=203.0.113.1 dst=203.0.113.11 sport=9000 dport=40000 ...
	for field := range strings.FieldsSeq(out) {
		if port, found := strings.CutPrefix(field, "dport="); found && port != "9000" {
			if _, err := strconv.Atoi(port); err == nil {
				return port
			}
		}
	}
	m.t.Fatalf("the router knows no flow to the seed: %s", out)
	return ""
}
