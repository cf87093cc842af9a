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
	seed, site := m.seed(), m.site(1)
	must(t, site.Up(m.ctx, "seed"))
	for _, side := range []struct {
		name string
		node *lab.Node
		host *lab.Namespace
		far  string
	}{{"site", site, m.Sites[0].Namespace, ip4(1)}, {"seed", seed, m.Server, ip4(2)}} {
		m.reaches(side.host, side.far)
		status, err := side.node.Status(m.ctx)
		must(t, err)
		var actors []string
		status.Walk(func(path string, _ lab.Actor) { actors = append(actors, path) })
		if len(actors) < 8 {
			t.Fatalf("the %s's tree has these actors only: %v", side.name, actors)
		}
		for _, actor := range actors {
			before := m.restarts(side.node, actor)
			must(t, control.NewClient(control.SocketPath(side.node.StateDir, "")).Fail(m.ctx, actor))
			began := time.Now()
			ctx := m.within(2 * time.Second)
			if err := lab.Until(ctx, actor+" is restarted", func() error {
				if now := m.restarts(side.node, actor); now <= before {
					return fmt.Errorf("it has been restarted %d times, as before", now)
				}
				return nil
			}); err != nil {
				t.Errorf("%s: %v", side.name, err)
				continue
			}
			if err := side.host.Reaches(ctx, side.far); err != nil {
				t.Errorf("%s: after a panic in %s: %v", side.name, actor, err)
				m.reaches(side.host, side.far) // the next actor's turn begins with traffic
				continue
			}
			t.Logf("%s: %s: healed in %s", side.name, actor, time.Since(began).Round(10*time.Millisecond))
		}
	}
	_, err := lab.Transfer(m.ctx, m.Sites[0].Namespace, m.Server, ip4(1), 4<<20)
	must(t, err)
}

// restarts says how often an actor has been restarted, -1 if nobody is there.
func (m *mesh) restarts(node *lab.Node, path string) int {
	status, err := node.Status(m.ctx)
	if err != nil {
		return -1
	}
	restarts := -1
	status.Walk(func(p string, a lab.Actor) {
		if p == path {
			restarts = a.Restarts
		}
	})
	return restarts
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
	m.site(1, "--transport", "rawtcp") // some of the junk is for the site's own flow
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
	flood("--rand-source", "-S", "-i", "u20")                    // half-open connections
	flood("--rand-source", "-A", "-P", "-d", "900", "-i", "u40") // data of nobody's flow
	flood("--rand-source", "-R", "-i", "u100")                   // resets
	flood("-2", "--rand-source", "-d", "300", "-i", "u100")      // UDP
	port, err := site.MappedPort(m.ctx, "tcp", 9000)
	must(t, err)
	own := []string{"-a", site.PublicIPv4, "-s", fmt.Sprint(port), "-k", "-i", "u100"} // the site's own flow, blindly
	flood(append(own, "-A", "-P", "-d", "500")...)
	flood(append(own, "-R")...)

	must(t, client.Wait(m.ctx))
	for _, p := range floods {
		must(t, p.Kill())
	}
	if client.ExitCode() != 0 {
		t.Errorf("iperf3 ended with %d:\n%s%s", client.ExitCode(), client.Log(), server.Log())
	}
	if idle := strings.Count(client.Log(), " 0.00 Bytes "); idle > int(junkFor.Seconds())/4 {
		t.Errorf("nothing got through in %d seconds of %s:\n%s", idle, *junkFor, client.Log())
	}
	m.reaches(site.Namespace, ip4(1))
	status, err := seed.Status(m.ctx)
	must(t, err)
	status.Walk(func(path string, a lab.Actor) {
		if a.Restarts > 0 {
			t.Errorf("%s was restarted %d times: %s", path, a.Restarts, a.LastError)
		}
	})
}
