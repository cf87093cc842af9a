package lab

import (
	"context"
	"errors"
	"fmt"
)

// NATRouter is a router with hosts, or more routers, behind it: wan0 is its
// outside, lan0 (a bridge) its inside.
type NATRouter struct {
	*Namespace
	Public4, Public6 string // its own addresses outside; of a router behind a router Public4 is the carrier's
	internet         *Internet
	config           RouterConfig
	inside           network
	inside6          int // the number of the inside IPv6 network; 0: none can be had
	members          int
}

func (i *Internet) newRouter(ctx context.Context, role string, config RouterConfig) (*NATRouter, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	n, err := i.lab.Namespace(ctx, i.config.Name+role)
	return &NATRouter{Namespace: n, internet: i, config: config, members: 1}, err
}

// start gives the router its inside and its rules.
func (r *NATRouter) start(ctx context.Context) error {
	script := forwarding + "ip link add lan0 type bridge mcast_snooping 0\n"
	if r.config.Families != OnlyIPv6 {
		script += fmt.Sprintf("ip addr add %s/24 dev lan0\n", r.inside.address4(1))
	}
	if r.config.Families != OnlyIPv4 {
		script += fmt.Sprintf("ip addr add %s/64 dev lan0 nodad\n", r.inside.at(r.inside6).address6(1))
	}
	script += "ip link set lan0 up\n"
	for name, seconds := range map[string]int{"nf_conntrack_udp_timeout": r.config.UDPTimeout, "nf_conntrack_udp_timeout_stream": r.config.UDPStream} {
		if seconds != 0 {
			script += fmt.Sprintf("echo %d > /proc/sys/net/netfilter/%s\n", seconds, name)
		}
	}
	// The rules first: conntrack's settings appear with them.
	if err := r.Firewall(ctx, natRules(r.config, r.Public4, r.internet.seeds4, r.internet.seeds6)); err != nil {
		return err
	}
	if _, err := r.Shell(ctx, script); err != nil {
		return err
	}
	if r.config.MapsPorts {
		return r.mapsPorts(ctx)
	}
	return nil
}

// attach lays a cable from the inside to device of a namespace and returns the
// number of its address there.
func (r *NATRouter) attach(ctx context.Context, n *Namespace, device string) (host int, err error) {
	r.members++
	host = r.members
	end := End{In: n, Device: device}
	script := ""
	if r.config.Families != OnlyIPv6 {
		end.Addresses = append(end.Addresses, r.inside.address4(host)+"/24")
		script += fmt.Sprintf("ip route add default via %s\n", r.inside.address4(1))
	}
	if r.config.Families != OnlyIPv4 {
		inside := r.inside.at(r.inside6)
		end.Addresses = append(end.Addresses, inside.address6(host)+"/64")
		script += fmt.Sprintf("ip -6 route add default via %s\n", inside.address6(1))
	}
	if err := Connect(ctx, end, End{In: r.Namespace, Device: fmt.Sprintf("port%d", host), Bridge: "lan0"}, r.internet.config.Offload); err != nil {
		return 0, err
	}
	_, err = n.Shell(ctx, script)
	return host, err
}

// Host puts a host behind the router; its device is eth0.
func (r *NATRouter) Host(ctx context.Context, role string) (*Host, error) {
	n, err := r.internet.lab.Namespace(ctx, r.internet.config.Name+role)
	if err != nil {
		return nil, err
	}
	number, err := r.attach(ctx, n, "eth0")
	if err != nil {
		return nil, err
	}
	h := &Host{Namespace: n}
	if r.config.Families != OnlyIPv6 {
		h.IPv4 = r.inside.address4(number)
	}
	if r.config.Families != OnlyIPv4 {
		h.IPv6 = r.inside.at(r.inside6).address6(number)
	}
	return h, nil
}

// Router puts a home router behind this one, which is a carrier's then: what is
// between them has addresses of RFC 6598. Both translate, IPv4 alone.
func (r *NATRouter) Router(ctx context.Context, role string, config RouterConfig) (*NATRouter, error) {
	switch {
	case !config.Kind.Translates() || !r.config.Kind.Translates():
		return nil, errors.New("both of two routers in a row translate")
	case config.Families != OnlyIPv4 || r.config.Families != OnlyIPv4:
		return nil, errors.New("two routers in a row have IPv4 only")
	}
	if r.inside.form4 == home.form4 && r.members > 1 {
		return nil, errors.New("a router in front of homes has no hosts of its own")
	}
	if r.inside.form4 == home.form4 {
		if _, err := r.Shell(ctx, "ip addr flush dev lan0"); err != nil {
			return nil, err
		}
		r.inside = carrier.at(r.internet.links)
		if _, err := r.Shell(ctx, fmt.Sprintf("ip addr add %s/24 dev lan0", r.inside.address4(1))); err != nil {
			return nil, err
		}
	}
	inner, err := r.internet.newRouter(ctx, role, config)
	if err != nil {
		return nil, err
	}
	number, err := r.attach(ctx, inner.Namespace, "wan0")
	if err != nil {
		return nil, err
	}
	inner.inside = home
	inner.Public4 = r.inside.address4(number) // what its rules translate to
	err = inner.start(ctx)
	inner.Public4, inner.Public6 = r.Public4, ""
	return inner, err
}

// Traffic is what a router has passed to and from others than the public hosts,
// in packets.
type Traffic struct {
	UDPOut, UDPIn, TCPOut, TCPIn uint64
}

// Traffic reads the router's counters.
func (r *NATRouter) Traffic(ctx context.Context) (t Traffic, err error) {
	for name, into := range map[string]*uint64{"udp_out": &t.UDPOut, "udp_in": &t.UDPIn, "tcp_out": &t.TCPOut, "tcp_in": &t.TCPIn} {
		if *into, err = r.Counter(ctx, name); err != nil {
			return t, err
		}
	}
	return t, nil
}
