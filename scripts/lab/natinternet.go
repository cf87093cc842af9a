package lab

import (
	"context"
	"fmt"
)

// InternetConfig describes an internet. Its zero value is one with cables as
// veth has them.
type InternetConfig struct {
	Offload Offload
	Name    string // starts the roles of its namespaces
}

// Internet is a core that routes between public hosts and NAT routers, so that
// packets with few hops to live die between two routers. Its addresses look
// public; nothing of the real internet is reached.
//
//	         Core
//	  .-------+----------.
//	Host    Router     Router ---- Router ---- Host
//	          '---- Host
type Internet struct {
	Core   *Namespace
	lab    *Lab
	config InternetConfig
	links  int      // cables to the core so far
	seeds4 []string // public hosts so far
	seeds6 []string
}

// Host is a host of an internet.
type Host struct {
	*Namespace
	IPv4, IPv6 string // its own addresses; empty: none of that family
}

// internetHops is how many hops the core takes: packets with fewer left vanish,
// as on a real way between two providers.
const internetHops = 4

// NewInternet makes an internet without anybody.
func (l *Lab) NewInternet(ctx context.Context, config InternetConfig) (*Internet, error) {
	core, err := l.Namespace(ctx, config.Name+"core")
	if err != nil {
		return nil, err
	}
	i := &Internet{Core: core, lab: l, config: config}
	if _, err := core.Shell(ctx, forwarding); err != nil {
		return nil, err
	}
	// The hop limit has been taken one off already where a packet is forwarded.
	return i, core.Firewall(ctx, fmt.Sprintf(`
table inet lab {
	counter spent {}
	chain forward {
		type filter hook forward priority 0; policy accept;
		ip ttl < %[1]d counter name "spent" drop
		ip6 hoplimit < %[1]d counter name "spent" drop
	}
}`, internetHops))
}

const forwarding = "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding\n"

// Host puts a host with public addresses of both families on the internet.
// Routers that are made after it do not count what is for it or from it as
// direct: make seeds first.
func (i *Internet) Host(ctx context.Context, role string) (*Host, error) {
	n, err := i.lab.Namespace(ctx, i.config.Name+role)
	if err != nil {
		return nil, err
	}
	link, err := i.link(ctx, n)
	if err != nil {
		return nil, err
	}
	h := &Host{Namespace: n, IPv4: link.address4(2), IPv6: link.address6(2)}
	i.seeds4, i.seeds6 = append(i.seeds4, h.IPv4), append(i.seeds6, h.IPv6)
	return h, nil
}

// network is a number from which the addresses of one cable, and those behind
// it, are made.
type network struct {
	form4, form6 string // of the addresses: network, host
	number       int
}

func (n network) address4(host int) string { return fmt.Sprintf(n.form4, n.number, host) }
func (n network) address6(host int) string { return fmt.Sprintf(n.form6, n.number, host) }

// The networks of an internet: between core and routers, routed behind a router,
// and private. All homes have the same private one, as real ones do.
var (
	transit = network{form4: "45.67.%d.%d", form6: "2a00:45:%x::%x"}
	routed  = network{form4: "45.68.%d.%d", form6: "2a00:46:%x::%x"}
	home    = network{form4: "192.168.%d.%d", number: 1}
	carrier = network{form4: "100.64.%d.%d"}
)

// at is n with another number.
func (n network) at(number int) network {
	n.number = number
	return n
}

// link lays a cable from the core to wan0 of a namespace and makes it the
// default route.
func (i *Internet) link(ctx context.Context, n *Namespace) (network, error) {
	i.links++
	link := transit.at(i.links)
	err := Connect(ctx,
		End{In: n, Device: "wan0", Addresses: []string{link.address4(2) + "/24", link.address6(2) + "/64"}},
		End{In: i.Core, Device: fmt.Sprintf("link%d", i.links), Addresses: []string{link.address4(1) + "/24", link.address6(1) + "/64"}},
		i.config.Offload)
	if err != nil {
		return link, err
	}
	_, err = n.Shell(ctx, fmt.Sprintf("ip route add default via %s; ip -6 route add default via %s", link.address4(1), link.address6(1)))
	return link, err
}

// Router puts a router on the internet.
func (i *Internet) Router(ctx context.Context, role string, config RouterConfig) (*NATRouter, error) {
	r, err := i.newRouter(ctx, role, config)
	if err != nil {
		return nil, err
	}
	link, err := i.link(ctx, r.Namespace)
	if err != nil {
		return nil, err
	}
	r.Public4, r.Public6 = link.address4(2), link.address6(2)
	r.inside = home
	if !config.Kind.Translates() {
		r.inside = routed.at(link.number)
	}
	inside := routed.at(link.number)
	r.inside.form6, r.inside6 = inside.form6, link.number
	if _, err := i.Core.Shell(ctx, fmt.Sprintf("ip route add %s/24 via %s; ip -6 route add %s/64 via %s",
		inside.address4(0), r.Public4, inside.address6(0), r.Public6)); err != nil {
		return nil, err
	}
	return r, r.start(ctx)
}
