package portmap

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

func TestTheRouterIsTheNextHopOfTheBestDefaultRoute(t *testing.T) {
	n := nstest.New(t)
	n.Run("ip link add eth0 type veth peer name p0", "ip link set p0 up", "ip addr add 192.168.1.7/24 dev eth0", "ip addr add 192.168.1.8/24 dev eth0", "ip link set eth0 up",
		"ip link add wlan0 type veth peer name p1", "ip link set p1 up", "ip addr add 10.9.0.7/16 dev wlan0", "ip link set wlan0 up",
		"ip link add tun7 type veth peer name p2", "ip link set p2 up", "ip addr add 10.0.0.2/24 dev tun7", "ip link set tun7 up")
	for _, step := range []struct {
		name, run                   string
		address, source, interface_ string
	}{
		{name: "no default route", run: "ip route add 172.16.0.0/12 via 192.168.1.1"},
		{name: "one without a router", run: "ip route add default dev eth0 metric 1"},
		{name: "one through our own device", run: "ip route add default via 10.0.0.1 dev tun7 metric 2"},
		{"wireless", "ip route add default via 10.9.0.1 metric 600", "10.9.0.1", "10.9.0.7", "wlan0"},
		{"wired is better", "ip route add default via 192.168.1.1 metric 100", "192.168.1.1", "192.168.1.7", "eth0"},
		{"the source is given", "ip route replace default via 192.168.1.1 metric 100 src 192.168.1.8", "192.168.1.1", "192.168.1.8", "eth0"},
		{"several next hops", "ip route replace default metric 100 nexthop via 10.9.0.2 nexthop via 192.168.1.1", "10.9.0.2", "10.9.0.7", "wlan0"},
		{"another table is not for us", "ip route add default via 192.168.1.99 table 77", "10.9.0.2", "10.9.0.7", "wlan0"},
		{"an interface goes down", "ip link set wlan0 down", "", "", ""},
	} {
		n.Run(step.run)
		var gw Gateway
		var err error
		n.Do(func() { gw, err = defaultGateway([]string{"tun7"}) })
		if step.address == "" {
			if !errors.Is(err, errNoGateway) {
				t.Errorf("%s: got %+v, %v", step.name, gw, err)
			}
			continue
		}
		want := Gateway{Address: netip.MustParseAddr(step.address), Source: netip.MustParseAddr(step.source), Interface: step.interface_, Index: gw.Index}
		if err != nil || gw != want || gw.Index == 0 {
			t.Errorf("%s: got %+v, %v, want %+v", step.name, gw, err, want)
		}
	}
}
