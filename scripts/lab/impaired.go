package lab

import (
	"context"
	"fmt"

	"github.com/openbmx/lightweight-tunnel/scripts/impair"
)

// ImpairedConfig describes two hosts with a bad line between them. Its zero
// value is a perfect line.
type ImpairedConfig struct {
	Line impair.Profile // of both directions; Impaired.Line changes it while packets flow
	Seed uint64         // the same seed loses the same packets
	NAT  bool           // the left host is behind a router that translates, as a site is
	Name string         // starts the roles of its namespaces
}

// Impaired is two hosts with a bad line between them, the left one perhaps
// behind a router:
//
//	Left ---- (Router) ---- line ---- Right
//
// The right host is PairRight4 and PairRight6. The left one is PairLeft4 and PairLeft6, or
// behind those, as SiteIPv4, with NAT (which is IPv4 only). All packets on the
// line have MTU size; its direction There is from left to right.
type Impaired struct {
	Left, Right *Namespace
	Router      *Namespace     // nil without NAT; wan0 outside, lan0 inside
	Line        *impair.Bridge // ends with the lab
	LineHost    *Namespace     // where the line's devices are, `left` and `right`
}

// The devices of the bridge in the line's namespace.
const (
	lineLeft  = "left"
	lineRight = "right"
)

// Impaired builds two hosts with a bad line between them.
func (l *Lab) Impaired(ctx context.Context, config ImpairedConfig) (*Impaired, error) {
	line, err := l.Namespace(ctx, config.Name+"line")
	if err != nil {
		return nil, err
	}
	// Nobody lives on the line: it must say nothing of its own.
	if _, err := line.Shell(ctx, "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"); err != nil {
		return nil, err
	}
	i := &Impaired{LineHost: line}
	if i.Left, err = l.Namespace(ctx, config.Name+"left"); err != nil {
		return nil, err
	}
	if i.Right, err = l.Namespace(ctx, config.Name+"right"); err != nil {
		return nil, err
	}
	near := End{In: i.Left, Device: PairDevice, Addresses: []string{PairLeft4 + "/24", PairLeft6 + "/64"}}
	if config.NAT {
		if i.Router, err = l.siteRouter(ctx, config.Name, i.Left); err != nil {
			return nil, err
		}
		near.In, near.Device = i.Router, "wan0"
	}
	far := End{In: i.Right, Device: PairDevice, Addresses: []string{PairRight4 + "/24", PairRight6 + "/64"}}
	for _, cable := range [][2]End{{near, {In: line, Device: lineLeft}}, {far, {In: line, Device: lineRight}}} {
		if err := Connect(ctx, cable[0], cable[1], NoOffload); err != nil {
			return nil, err
		}
		for _, end := range cable {
			if _, err := end.In.Run(ctx, "ethtool", "-K", end.Device, "tx", "off", "gso", "off"); err != nil {
				return nil, err
			}
		}
	}
	if config.NAT {
		if err := i.Router.Firewall(ctx, fmt.Sprintf(router, "meta nfproto ipv4")); err != nil {
			return nil, err
		}
	}
	err = line.Do(func() (err error) {
		i.Line, err = impair.Open(lineLeft, lineRight, config.Seed, config.Line)
		return err
	})
	if err != nil {
		return nil, err
	}
	l.atClose(i.Line.Close)
	return i, nil
}

// siteRouter puts a router in front of a host; its outside is still to connect.
func (l *Lab) siteRouter(ctx context.Context, name string, host *Namespace) (*Namespace, error) {
	router, err := l.Namespace(ctx, name+"router")
	if err != nil {
		return nil, err
	}
	if err := Connect(ctx,
		End{In: router, Device: "lan0", Addresses: []string{"192.168.1.1/24"}},
		End{In: host, Device: PairDevice, Addresses: []string{SiteIPv4 + "/24"}}, AsVeth); err != nil {
		return nil, err
	}
	if _, err := router.Shell(ctx, "echo 1 > /proc/sys/net/ipv4/ip_forward"); err != nil {
		return nil, err
	}
	_, err = host.Run(ctx, "ip", "route", "add", "default", "via", "192.168.1.1")
	return router, err
}
