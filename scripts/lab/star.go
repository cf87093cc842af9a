package lab

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// StarConfig describes a star. Its zero value is a public network with a server
// and nobody else.
type StarConfig struct {
	Sites   int
	LANs    bool // behind each site a network of its own with a host on it
	NAT66   bool // the routers translate IPv6, too; otherwise they route it
	Offload Offload
	Name    string // starts the roles of its namespaces
}

// Star is a public network (one bridge) with a server on it, and sites around
// it, each behind a NAT router of its own:
//
//	Server ---- WAN ---- Router ---- Site ---- LAN
//	              '----- Router ---- Site ---- LAN
//
// All sites have the same private IPv4 address, as homes do. The routers are strict: they
// drop, and count, what conntrack calls invalid, and what is new from outside.
type Star struct {
	WAN    *Namespace // owns the bridge, has no address
	Server *Namespace
	Sites  []*Site
	lab    *Lab
	config StarConfig
}

// The addresses of a star's server.
const (
	ServerIPv4 = "203.0.113.1"
	ServerIPv6 = "2001:db8::1"
	// SiteIPv4 is the private address of every site.
	SiteIPv4 = "192.168.1.2"
)

// Site is a host behind a NAT router, and perhaps a router itself for a LAN.
type Site struct {
	*Namespace
	Router *Namespace // wan0 outside, lan0 inside
	LAN    *Namespace // a host behind the site, nil without LANs

	PublicIPv4 string // the router's
	PublicIPv6 string // the router's with NAT66, else the site's own
	IPv6       string // the site's own

	// What the LAN is called and which addresses the host on it has.
	LAN4, LAN6         string // prefixes
	LANHost4, LANHost6 string
}

// MappedPort is the port that the site's router gave a flow of the site, of tcp or
// udp, to a port of somebody outside.
func (s *Site) MappedPort(ctx context.Context, protocol string, to uint16) (uint16, error) {
	out, err := s.Router.Run(ctx, "conntrack", "-L", "-p", protocol, "--dport", fmt.Sprint(to))
	if err != nil {
		return 0, err
	}
	// ... sport=40000 dport=9000 src=203.0.113.1 dst=203.0.113.11 sport=9000 dport=40000 ...
	for field := range strings.FieldsSeq(out) {
		digits, found := strings.CutPrefix(field, "dport=")
		if port, err := strconv.ParseUint(digits, 10, 16); found && err == nil && uint16(port) != to {
			return uint16(port), nil
		}
	}
	return 0, fmt.Errorf("the site's router knows no %s flow to port %d: %s", protocol, to, out)
}

// NewStar builds a star.
func (l *Lab) NewStar(ctx context.Context, config StarConfig) (*Star, error) {
	star := &Star{lab: l, config: config}
	var err error
	if star.WAN, err = l.Namespace(ctx, config.Name+"wan"); err != nil {
		return nil, err
	}
	if _, err = star.WAN.Shell(ctx, "ip link add br0 type bridge mcast_snooping 0; ip link set br0 up"); err != nil {
		return nil, err
	}
	if star.Server, err = star.Attach(ctx, "server", 1); err != nil {
		return nil, err
	}
	for i := range config.Sites {
		site, err := star.addSite(ctx, i+1)
		if err != nil {
			return nil, err
		}
		star.Sites = append(star.Sites, site)
	}
	return star, nil
}

// Attach puts one more host with a public address straight on the WAN: device
// wan0, 203.0.113.<number> and 2001:db8::<number in hexadecimal>.
func (s *Star) Attach(ctx context.Context, role string, number int) (*Namespace, error) {
	host, err := s.lab.Namespace(ctx, s.config.Name+role)
	if err != nil {
		return nil, err
	}
	err = Connect(ctx,
		End{In: host, Device: "wan0", Addresses: []string{fmt.Sprintf("203.0.113.%d/24", number), fmt.Sprintf("2001:db8::%x/64", number)}},
		End{In: s.WAN, Device: fmt.Sprintf("port%d", number), Bridge: "br0"},
		s.config.Offload)
	if err != nil {
		return nil, err
	}
	// Networks that routers route without translation are reached through them.
	for i := 1; !s.config.NAT66 && i <= s.config.Sites; i++ {
		if number == 10+i {
			continue // that router itself
		}
		if _, err := host.Run(ctx, "ip", "-6", "route", "add", fmt.Sprintf("2001:db8:%x::/64", i), "via", fmt.Sprintf("2001:db8::%x", 10+i)); err != nil {
			return nil, err
		}
	}
	return host, nil
}

// router translates what leaves through wan0. nft's counters say what a real
// router of this kind would have had to drop.
const router = `
table inet lab {
	counter invalid {}
	counter unsolicited {}
	chain input {
		type filter hook input priority 0; policy accept;
		iifname "wan0" meta l4proto ipv6-icmp icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		iifname "wan0" ct state established,related accept
		iifname "wan0" meta pkttype { broadcast, multicast } drop
		iifname "wan0" counter name "unsolicited" drop
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		ct state invalid counter name "invalid" drop
		iifname "wan0" ct state new counter name "unsolicited" drop
	}
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		oifname "wan0" %s masquerade
	}
}`

func (s *Star) addSite(ctx context.Context, number int) (*Site, error) {
	site := &Site{
		PublicIPv4: fmt.Sprintf("203.0.113.%d", 10+number),
		IPv6:       fmt.Sprintf("2001:db8:%x::2", number),
	}
	inside6, translate := fmt.Sprintf("2001:db8:%x::1/64", number), "meta nfproto ipv4"
	site.PublicIPv6 = site.IPv6
	if s.config.NAT66 {
		site.IPv6, inside6, translate = "fd00:1::2", "fd00:1::1/64", ""
		site.PublicIPv6 = fmt.Sprintf("2001:db8::%x", 10+number)
	}
	var err error
	if site.Router, err = s.Attach(ctx, fmt.Sprintf("router%d", number), 10+number); err != nil {
		return nil, err
	}
	if site.Namespace, err = s.lab.Namespace(ctx, fmt.Sprintf("%ssite%d", s.config.Name, number)); err != nil {
		return nil, err
	}
	if err := Connect(ctx,
		End{In: site.Router, Device: "lan0", Addresses: []string{"192.168.1.1/24", inside6}},
		End{In: site.Namespace, Device: "eth0", Addresses: []string{SiteIPv4 + "/24", site.IPv6 + "/64"}},
		s.config.Offload); err != nil {
		return nil, err
	}
	if _, err := site.Router.Shell(ctx, "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"); err != nil {
		return nil, err
	}
	if err := site.Router.Firewall(ctx, fmt.Sprintf(router, translate)); err != nil {
		return nil, err
	}
	gateway6 := inside6[:len(inside6)-len("/64")]
	if _, err := site.Shell(ctx, "ip route add default via 192.168.1.1; ip -6 route add default via "+gateway6); err != nil {
		return nil, err
	}
	if s.config.LANs {
		return site, s.addLAN(ctx, site, number)
	}
	return site, nil
}

// addLAN makes the site a router for one more network, as an office's gateway
// is. Its host knows no other way out than the site.
func (s *Star) addLAN(ctx context.Context, site *Site, number int) error {
	site.LAN4, site.LAN6 = fmt.Sprintf("10.%d.0.0/24", 100+number), fmt.Sprintf("fd00:%x::/64", 0x100+number)
	site.LANHost4, site.LANHost6 = fmt.Sprintf("10.%d.0.2", 100+number), fmt.Sprintf("fd00:%x::2", 0x100+number)
	gateway4, gateway6 := fmt.Sprintf("10.%d.0.1", 100+number), fmt.Sprintf("fd00:%x::1", 0x100+number)
	var err error
	if site.LAN, err = s.lab.Namespace(ctx, fmt.Sprintf("%slan%d", s.config.Name, number)); err != nil {
		return err
	}
	if err := Connect(ctx,
		End{In: site.Namespace, Device: "lan0", Addresses: []string{gateway4 + "/24", gateway6 + "/64"}},
		End{In: site.LAN, Device: "eth0", Addresses: []string{site.LANHost4 + "/24", site.LANHost6 + "/64"}},
		s.config.Offload); err != nil {
		return err
	}
	if _, err := site.Shell(ctx, "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"); err != nil {
		return err
	}
	_, err = site.LAN.Shell(ctx, fmt.Sprintf("ip route add default via %s; ip -6 route add default via %s", gateway4, gateway6))
	return err
}
