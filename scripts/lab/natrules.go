package lab

import (
	"fmt"
	"strings"
)

// natRules is the firewall of a router: wan0 is its outside, lan0 its inside.
// Everything is strict: what conntrack calls invalid is dropped, and so is what
// is new from outside and not wanted. seeds are public addresses whose packets
// are not counted as direct.
//
// A router that maps endpoint-independently for several inside hosts learns: after
// the translation (priority 100) of what goes out, a chain notes which inside
// endpoint has which port, and to whom it spoke, and the next connection of that
// endpoint, and those from outside, are translated by what it noted.
func natRules(c RouterConfig, outside string, seeds4, seeds6 []string) string {
	r := &ruleset{RouterConfig: c, outside: outside}
	r.line("table inet lab {")
	for _, counter := range []string{"invalid", "unsolicited", "udp_out", "udp_in", "tcp_out", "tcp_in"} {
		r.line("counter %s {}", counter)
	}
	r.line("set seeds4 { type ipv4_addr; %s }", elements(seeds4))
	r.line("set seeds6 { type ipv6_addr; %s }", elements(seeds6))
	if r.learns() {
		r.memory()
	}
	if c.MapsPorts {
		// The daemon's rules are theirs; it calls them by these names.
		r.line("chain upnp {}\nchain upnp_pre {}\nchain upnp_post {}")
	}
	r.counts()
	r.input()
	r.forward()
	if c.Kind.Translates() {
		r.translation()
	}
	r.line("}")
	return r.text.String()
}

type ruleset struct {
	RouterConfig
	outside string // the router's own public address
	text    strings.Builder
}

func (r *ruleset) line(format string, args ...any) {
	fmt.Fprintf(&r.text, format+"\n", args...)
}

func elements(addresses []string) string {
	if len(addresses) == 0 {
		return ""
	}
	return "elements = { " + strings.Join(addresses, ", ") + " };"
}

// learns says whether the mappings are the chain's. Without hairpin masquerade,
// which keeps the port, is the same as port-restricted, and is what Linux
// routers really do.
func (r *ruleset) learns() bool {
	return r.Kind == NATFullCone || r.Kind == NATRestricted || r.Kind == NATPortRestricted && r.Hairpin
}

// memory is what the router knows of each mapping; a little longer than
// conntrack knows of the connections.
func (r *ruleset) memory() {
	const forgets = "flags dynamic,timeout; timeout 150s; size 65535;"
	r.line("map inward { type inet_proto . inet_service : ipv4_addr . inet_service; %s }", forgets)
	r.line("map mapped { type ipv4_addr . inet_proto . inet_service : inet_service; %s }", forgets)
	r.line("set taken { type inet_proto . inet_service; %s }", forgets)
	r.line("set spoken { type %s . inet_proto . inet_service; %s }", r.partnerType(), forgets)
	r.line(`chain learn {
		type filter hook postrouting priority 120; policy accept;
		ip saddr %[1]s ct direction original ct original ip saddr != %[1]s jump note
	}
	chain note {
		meta l4proto { tcp, udp } update @inward { meta l4proto . th sport : ct original ip saddr . ct original proto-src }
		meta l4proto { tcp, udp } update @mapped { ct original ip saddr . meta l4proto . ct original proto-src : th sport }
		meta l4proto { tcp, udp } update @taken { meta l4proto . th sport }
		meta l4proto { tcp, udp } update @spoken { %[2]s . meta l4proto . th sport }
	}`, r.outside, r.partner("ct original ip daddr", "ct original proto-dst"))
}

// partner is what of a remote endpoint the filter looks at.
func (r *ruleset) partner(address, port string) string {
	if r.Kind == NATPortRestricted {
		return address + " . " + port
	}
	return address
}

func (r *ruleset) partnerType() string { return r.partner("ipv4_addr", "inet_service") }

// counts counts what goes to and comes from others than the seeds.
func (r *ruleset) counts() {
	for _, way := range []struct{ chain, hook, device, address, suffix string }{
		{"sent", "postrouting priority 300", "oifname", "daddr", "out"},
		{"received", "prerouting priority -310", "iifname", "saddr", "in"},
	} {
		r.line("chain count_%s {\ntype filter hook %s; policy accept;\n%s != \"wan0\" return", way.chain, way.hook, way.device)
		r.line("ip %s @seeds4 return\nip6 %s @seeds6 return", way.address, way.address)
		r.line("meta l4proto udp counter name \"udp_%s\"\nmeta l4proto tcp counter name \"tcp_%s\"\n}", way.suffix, way.suffix)
	}
}

// refuse is what happens to what nobody asked for.
func (r *ruleset) refuse(match string) {
	if r.Unasked != DropUnasked {
		r.line(`%s meta l4proto tcp counter name "unsolicited" reject with tcp reset`, match)
	}
	r.line(`%s counter name "unsolicited" drop`, match)
}

func (r *ruleset) input() {
	r.line(`chain input {
		type filter hook input priority 0; policy accept;
		iifname != "wan0" accept
		meta l4proto ipv6-icmp icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		meta pkttype { broadcast, multicast } drop
		ct state established,related accept`)
	if r.Unasked == TakeUnasked {
		r.line(`counter name "unsolicited" accept`)
	} else {
		r.refuse("")
	}
	r.line("}")
}

func (r *ruleset) forward() {
	r.line("chain forward {\ntype filter hook forward priority 0; policy accept;")
	switch r.UDP {
	case UDPBlocked:
		r.line("meta l4proto udp drop")
	case UDPThrottled:
		// nft's bucket holds a second of the rate and the burst.
		for _, device := range []string{"wan0", "lan0"} {
			r.line(`iifname "%s" meta l4proto udp limit rate over 125 kbytes/second burst 1 kbytes drop`, device)
		}
	}
	if r.Kind == NATNone {
		r.line("}")
		return
	}
	r.line("ct state invalid counter name \"invalid\" drop\niifname != \"wan0\" accept\nct state established,related accept")
	if r.learns() {
		admit := fmt.Sprintf("%s . meta l4proto . ct original proto-dst @spoken ", r.partner("ip saddr", "th sport"))
		if r.Kind == NATFullCone {
			admit = ""
		}
		r.line("meta nfproto ipv4 ct status dnat meta l4proto { tcp, udp } %saccept", admit)
	}
	if r.MapsPorts {
		r.line("jump upnp")
	}
	r.refuse("")
	r.line("}")
}

func (r *ruleset) translation() {
	if r.MapsPorts {
		r.line("chain mapped_ports {\ntype nat hook prerouting priority -101; policy accept;\njump upnp_pre\n}")
	}
	if r.learns() {
		from := `iifname "wan0"`
		if r.Hairpin {
			from = "meta nfproto ipv4"
		}
		r.line(`chain prerouting {
			type nat hook prerouting priority -100; policy accept;
			%s ip daddr %s dnat ip to meta l4proto . th dport map @inward
		}`, from, r.outside)
	}
	r.line("chain postrouting {\ntype nat hook postrouting priority 100; policy accept;")
	if r.learns() && r.Hairpin {
		// There is no iifname any more in postrouting.
		const inside = `oifname "lan0" ip saddr { 192.168.0.0/16, 100.64.0.0/10 } ct status dnat`
		r.line(inside+` meta l4proto { tcp, udp } snat ip to %s : ip saddr . meta l4proto . th sport map @mapped`, r.outside)
		r.line(inside+` snat ip to %s`, r.outside)
	}
	if r.MapsPorts {
		r.line("jump upnp_post")
	}
	r.line("oifname != \"wan0\" accept\nmeta nfproto != ipv4 accept")
	switch r.Kind {
	case NATStep:
		const ports = 4096
		var next strings.Builder
		for i := range ports {
			fmt.Fprintf(&next, "%d:%d,", i, 40000+i)
		}
		for _, protocol := range []string{"udp", "tcp"} {
			r.line("meta l4proto %s snat ip to %s : numgen inc mod %d map { %s }", protocol, r.outside, ports, next.String())
		}
		r.line("masquerade")
	case NATRandom:
		r.line("masquerade fully-random")
	default:
		if r.learns() {
			r.line("meta l4proto { tcp, udp } snat ip to %s : ip saddr . meta l4proto . th sport map @mapped", r.outside)
			r.line("meta l4proto { tcp, udp } meta l4proto . th sport @taken masquerade fully-random")
		}
		r.line("masquerade")
	}
	r.line("}")
}
