package punch

import (
	"net/netip"
	"slices"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

const (
	// predictions is how many ports ahead of the last seen one are tried of a NAT
	// that steps: others behind it use some too.
	predictions = 8
	// birthdaySockets and maxSpread find each other by chance: 256 ports among
	// 64,000 are hit by one of 2,048 probes in 99.97 of 100 cases.
	birthdaySockets = 256
	maxSpread       = 2048
	maxTargets      = 64
)

// plan is what one try does.
type plan struct {
	targets  []target            // for UDP, in the order in which they are probed
	birthday netip.AddrPort      // the target that birthdaySockets more sockets probe; not valid: none
	spread   netip.Addr          // the address whose ports are probed at random; not valid: none
	cross    [2][]netip.AddrPort // fake TCP from a held port, IPv4 and IPv6
	dial     []netip.AddrPort    // fake TCP to a port at which the peer listens
	hopeless string              // why what is not in the plan is not: no port can be known
}

// target is one address that probes are sent to.
type target struct {
	remote netip.AddrPort
	near   bool // in the same local network
	// shy: a router in between might take what comes too early amiss.
	shy bool
}

func (p *plan) empty() bool {
	return len(p.targets) == 0 && !p.spread.IsValid() && len(p.cross[0])+len(p.cross[1])+len(p.dial) == 0
}

// options say what a plan may use. Skew moves the prediction of ports if both
// NATs step: see predict.
type options struct {
	udp, tcp bool
	search   bool // ports may be foreseen and searched
	skew     int
}

// makePlan says how own and peer can find a direct path.
func makePlan(own, peer Offer, o options) plan {
	p := planner{own: own, peer: peer, options: o}
	// A probe through a NAT that steps uses up a port of the prediction: what is
	// predicted goes first, then all else.
	for _, kinds := range [][]message.CandidateKind{{message.Mapped}, {message.Host, Held, message.PortMapped}} {
		for _, c := range peer.Candidates {
			if slices.Contains(kinds, c.Kind) && probable(c.Addr) {
				p.add(c)
			}
		}
	}
	slices.SortStableFunc(p.targets, func(a, b target) int {
		switch {
		case a.near == b.near:
			return 0
		case a.near:
			return -1
		}
		return 1
	})
	return p.plan
}

type planner struct {
	plan
	options
	own, peer Offer
}

// probable says whether an address may be a peer's at all.
func probable(a netip.AddrPort) bool {
	return a.Port() != 0 && a.Addr().IsGlobalUnicast() && a.Addr().Zone() == ""
}

func (p *planner) add(c Candidate) {
	v6 := c.Addr.Addr().Is6()
	udp := c.Transport == packet.UDP
	switch {
	case udp && !p.udp || !udp && !p.tcp || len(p.own.Hosts(v6)) == 0:
	case c.Kind == message.Mapped && !v6:
		p.mapped(c)
	case c.Kind == message.Host && !udp, c.Kind == message.PortMapped && !udp:
		if p.near(c.Addr.Addr()) || Public(c.Addr.Addr()) {
			p.dial = appendNew(p.dial, c.Addr)
		}
	case p.near(c.Addr.Addr()):
		p.put(c, target{remote: c.Addr, near: true})
	case c.Kind == message.Host && !v6 && Public(c.Addr.Addr()):
		p.mapped(c) // a firewall without translation is like a cone
	case Public(c.Addr.Addr()):
		p.put(c, target{remote: c.Addr})
	}
}

// mapped adds what an IPv4 mapping is good for.
func (p *planner) mapped(c Candidate) {
	own, peer, transport := p.own.NAT, p.peer.NAT, c.Transport
	open := p.own.reachable(transport) || p.peer.reachable(transport)
	neighbours := p.neighbours()
	if !p.search && (own.Symmetric() || peer.Symmetric()) && !open && !neighbours {
		p.give("a NAT is symmetric, and NAT detection is switched off here")
		return
	}
	shy := peer.Mapping != message.Direct && !(peer.Filtering == message.EndpointIndependent)
	switch {
	case peer.Stepped():
		if own.Random() && !lenient(peer) && !open && !neighbours {
			p.give("both NATs symmetric, the ports of this one are random")
			return
		}
		for _, a := range predict(c.Addr, peer.Step, own.Stepped(), p.skew) {
			p.put(c, target{remote: a, shy: shy})
		}
	case peer.Random():
		switch {
		case open || neighbours || lenient(own) && !own.Random():
			p.put(c, target{remote: c.Addr, shy: shy}) // opens the own filter; the peer comes from elsewhere
		case own.Random():
			p.give("both NATs symmetric")
		case own.Stepped():
			p.give("both NATs symmetric, the ports of the other one are random")
		case transport == packet.UDP:
			p.spread = c.Addr.Addr()
		}
	default:
		birthday := own.Random() && !lenient(peer) && !open && !neighbours
		if birthday && transport != packet.UDP {
			return
		}
		p.put(c, target{remote: c.Addr, shy: shy})
		if birthday && !p.birthday.IsValid() {
			p.birthday = c.Addr
		}
	}
}

func (p *planner) give(why string) {
	if p.hopeless == "" {
		p.hopeless = why
	}
}

// put adds a target unless it is there already.
func (p *planner) put(c Candidate, t target) {
	if c.Transport != packet.UDP {
		family := 0
		if t.remote.Addr().Is6() {
			family = 1
		}
		p.cross[family] = appendNew(p.cross[family], t.remote)
		return
	}
	if len(p.targets) < maxTargets && !slices.ContainsFunc(p.targets, func(o target) bool { return o.remote == t.remote }) {
		p.targets = append(p.targets, t)
	}
}

func appendNew(all []netip.AddrPort, a netip.AddrPort) []netip.AddrPort {
	if slices.Contains(all, a) {
		return all
	}
	return append(all, a)
}

// near says whether a is in a network that this node is in too.
func (p *planner) near(a netip.Addr) bool {
	bits := 24
	if a.Is6() {
		bits = 64
	}
	for _, own := range p.own.Hosts(a.Is6()) {
		if net, err := own.Prefix(bits); err == nil && net.Contains(a) && (a.Is6() || !Public(a)) {
			return true
		}
	}
	return !Public(a) && p.neighbours()
}

// mayShare says whether only fake TCP can show whether both are behind the same NAT.
func mayShare(own, peer Offer) bool {
	_, here := own.of(message.Mapped, packet.UDP, false)
	_, there := peer.of(message.Mapped, packet.UDP, false)
	return !(here && there) && own.NAT.Mapping != message.Direct && peer.NAT.Mapping != message.Direct
}

// neighbours says whether both are behind the same NAT.
func (p *planner) neighbours() bool {
	for _, transport := range []packet.Kind{packet.UDP, packet.RawTCP} {
		a, ok := p.own.of(message.Mapped, transport, false)
		b, too := p.peer.of(message.Mapped, transport, false)
		if ok && too && a.Addr() == b.Addr() {
			return true
		}
	}
	return false
}

var shared = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598

// Public says whether a means the same host everywhere.
func Public(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a)
}

// predict returns the ports that a NAT will give out after last. If both NATs
// step, each probe takes a port of the own one too, and only probes that have the
// same place in both rows meet: the rows begin right behind the last port, and
// skew moves one of them by what others have used meanwhile.
func predict(last netip.AddrPort, step int, both bool, skew int) []netip.AddrPort {
	first := 1
	if both {
		first += skew
	}
	var ports []netip.AddrPort
	for k := range predictions {
		if port := int(last.Port()) + step*(first+k); port > 0 && port <= 0xffff {
			ports = append(ports, netip.AddrPortFrom(last.Addr(), uint16(port)))
		}
	}
	if !both {
		ports = append(ports, last) // it may be a cone after all
	}
	return ports
}
