// Package simnet is an internet in memory, for tests of everything above the
// codecs: hosts with addresses behind routers of every NAT kind, joined by lines
// that delay, lose, reorder, duplicate and throttle, and a TUN device without a
// kernel. It runs in virtual time inside a testing/synctest bubble and is
// seeded: what the lines do to the n-th packet between two hosts is the same in
// every run.
//
//	net := simnet.New(1)
//	seed := net.Host("seed", "203.0.113.1")
//	home := net.NAT("home", simnet.NATConfig{Kind: simnet.PortRestricted}, "198.51.100.7")
//	site := home.Host("site", "192.168.1.10")
//	net.SetLink(seed, site, simnet.Link{Delay: 20 * time.Millisecond, Loss: 0.03})
//	server, err := seed.Open(9000)
//
// A [Transport] is what rawtcp would be on such a host: packet.Receiver,
// packet.Dialer and packet.Crosser; its half [UDPTransport] is a packet.Pather, and what
// comes over both is received together. Mistakes of the test itself, such as an address that does not
// parse, panic. Nothing needs to be closed at the end of a bubble but what a
// goroutine waits in: a Receive, a [Tun.Read].
package simnet

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Net is the internet: the outermost segment and all that hangs on it. All its
// methods, and those of its hosts and routers, may be called by any goroutine.
type Net struct {
	seed  uint64
	clock schedule

	mu       sync.Mutex // guards everything on the network: hosts, routers, lines
	internet segment
	standard Link
	hops     int // routers in each line of the internet
	channels map[[2]member]*channel
	drops    map[string]uint64
	tap      func(src, dst netip.AddrPort, payload []byte)
	swallow  func(src, dst netip.AddrPort) bool
}

// member is what has an address on a segment: a *Host or a *NAT.
type member interface {
	memberName() string
	on() *segment
}

// segment is a set of members that reach each other without a router.
type segment struct {
	router  *NAT // toward the internet; nil: this is the internet
	members map[netip.Addr]member
}

// New returns an empty internet on which all lines take 10 ms and are perfect.
func New(seed uint64) *Net {
	return &Net{
		seed:     seed,
		internet: segment{members: map[netip.Addr]member{}},
		standard: Link{Delay: 10 * time.Millisecond},
		hops:     4,
		channels: map[[2]member]*channel{},
		drops:    map[string]uint64{},
	}
}

// SetDefault replaces the properties of all lines for which no SetLink was made.
func (n *Net) SetDefault(l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.standard = l
	for _, c := range n.channels {
		if !c.own {
			c.link = l
		}
	}
}

// SetHops says how many routers, besides those that tests put there, a packet
// passes between any two members of the internet: 4 at first.
func (n *Net) SetHops(hops int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hops = hops
}

// SetLink replaces the properties of the line between two hosts, in both
// directions. A line joins what stands on one segment: for hosts behind
// different NATs that is the line between the routers, shared by their sites.
func (n *Net) SetLink(a, b member, l Link) {
	n.SetLinkOneWay(a, b, l)
	n.SetLinkOneWay(b, a, l)
}

// SetLinkOneWay replaces the properties of the line from a to b.
func (n *Net) SetLinkOneWay(a, b member, l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.channel(meet(a, b))
	c.link, c.own = l, true
}

// Blackhole switches whether the line between two hosts swallows everything.
func (n *Net) Blackhole(a, b member, on bool) {
	n.BlackholeOneWay(a, b, on)
	n.BlackholeOneWay(b, a, on)
}

// BlackholeOneWay is Blackhole for what goes from a to b.
func (n *Net) BlackholeOneWay(a, b member, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.channel(meet(a, b)).blackhole = on
}

// Drops says how many packets were lost, by reason.
func (n *Net) Drops() map[string]uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	drops := make(map[string]uint64, len(n.drops))
	for reason, count := range n.drops {
		drops[reason] = count
	}
	return drops
}

// Swallow makes every packet vanish for which f says so, addresses as they are on
// the line: what Vanish does, one way only or by any rule. nil ends it. f must not
// call the network.
func (n *Net) Swallow(f func(src, dst netip.AddrPort) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.swallow = f
}

// Tap lets f see every datagram as it enters a line, addresses as they are
// there: what an observer in the middle sees. The payload is valid during the
// call only; f must not call the network.
func (n *Net) Tap(f func(src, dst netip.AddrPort, payload []byte)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tap = f
}

// channel returns the line from a to b, which stand on one segment.
func (n *Net) channel(a, b member) *channel {
	key := [2]member{a, b}
	c := n.channels[key]
	if c == nil {
		// A source of randomness of its own makes the fate of a line's packets
		// independent of what the scheduler lets happen elsewhere.
		h := fnv.New64a()
		fmt.Fprintf(h, "%s>%s", a.memberName(), b.memberName())
		c = &channel{link: n.standard, rng: rand.New(rand.NewPCG(n.seed, h.Sum64()))}
		n.channels[key] = c
	}
	return c
}

// meet climbs from a and b to the segment that both are on or under, and
// returns what stands there for each.
func meet(a, b member) (member, member) {
	for x := a; ; x = x.on().router {
		for y := b; ; y = y.on().router {
			if x.on() == y.on() {
				return x, y
			}
			if y.on().router == nil {
				break
			}
		}
		if x.on().router == nil {
			panic("simnet: " + a.memberName() + " and " + b.memberName() + " are on different networks")
		}
	}
}

func (n *Net) drop(reason string) { n.drops[reason]++ }

func parse(addrs []string) []netip.Addr {
	parsed := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		parsed[i] = netip.MustParseAddr(a)
	}
	return parsed
}
