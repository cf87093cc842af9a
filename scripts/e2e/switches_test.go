package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// asksRouters counts what leaves for the ports of UPnP, PCP and NAT-PMP.
const asksRouters = `
table inet lab {
	counter asked {}
	chain output {
		type filter hook output priority 0
		udp dport { 1900, 5350, 5351 } counter name "asked"
	}
}`

func TestPortMapSaysWhetherTheRouterIsAsked(t *testing.T) {
	for _, on := range []bool{false, true} {
		m := newMesh(t, plain(t), lab.StarConfig{Sites: 1})
		site := m.Sites[0].Namespace
		must(t, site.Firewall(m.ctx, asksRouters))
		m.seed()
		node := m.site(1, fmt.Sprintf("--port-map=%v", on))
		must(t, node.Up(m.ctx, "seed"))
		status, err := node.Status(m.ctx)
		must(t, err)
		there := false
		status.Walk(func(path string, _ lab.Actor) { there = there || strings.HasSuffix(path, "portmap") })
		if there != on {
			t.Errorf("port_map %v: somebody who asks is there: %v", on, there)
		}
		asked := func() error {
			n, err := site.Counter(m.ctx, "asked")
			if err == nil && n == 0 {
				err = errors.New("nothing has left")
			}
			return err
		}
		if on {
			must(t, lab.Until(m.ctx, "the router is asked", asked))
		} else if asked() == nil {
			t.Error("the router is asked although that is switched off")
		}
	}
}

func TestKernelTuneSaysWhetherForwardingIsSwitchedOn(t *testing.T) {
	m := newMesh(t, plain(t), lab.StarConfig{})
	forwarding := func(want, when string) {
		t.Helper()
		must(t, lab.Until(m.within(10*time.Second), "forwarding is "+want+" "+when, func() error {
			out, err := m.Server.Run(m.ctx, "cat", "/proc/sys/net/ipv4/ip_forward")
			if got := strings.TrimSpace(out); err == nil && got != want {
				err = fmt.Errorf("net.ipv4.ip_forward is %s", got)
			}
			return err
		}))
	}
	_, err := m.Server.Shell(m.ctx, "echo 0 >/proc/sys/net/ipv4/ip_forward; ip addr add 192.168.50.1/24 dev lo")
	must(t, err)
	for _, tune := range []string{"false", "true"} {
		want := map[string]string{"false": "0", "true": "1"}[tune]
		node := m.seed("--routes", "192.168.50.0/24", "-kernel-tune="+tune)
		must(t, node.Says(m.ctx, "node runs"))
		must(t, lab.Until(m.ctx, "the network is announced", func() error {
			routes, err := node.Routes(m.ctx)
			if err == nil && len(routes.Routes) == 0 {
				err = errors.New("there are no routes")
			}
			return err
		}))
		forwarding(want, "with enable_kernel_tune "+tune)
		_, err := node.Stop(m.ctx)
		must(t, err)
		forwarding("0", "after the node has stopped")
	}
}
