package simnet

import (
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"time"
)

// NAT is a router with hosts, or more routers, behind it.
type NAT struct {
	net    *Net
	name   string
	seg    *segment // outside
	inside segment
	outer  []netip.Addr
	table  *natTable // of TCP
	udp    *natTable
	track  *conntrack
	police [2]policer // of UDP, out and in
}

// NAT puts a router on the internet. The addresses are its own outside; a
// router that does not translate needs none.
func (n *Net) NAT(name string, cfg NATConfig, outside ...string) *NAT {
	return n.newNAT(&n.internet, name, cfg, outside)
}

// NAT puts a router behind this one, as carriers do.
func (r *NAT) NAT(name string, cfg NATConfig, outside ...string) *NAT {
	return r.net.newNAT(&r.inside, name, cfg, outside)
}

func (n *Net) newNAT(seg *segment, name string, cfg NATConfig, outside []string) *NAT {
	h := fnv.New64a()
	h.Write([]byte("nat " + name))
	rng := func(protocol uint64) *rand.Rand { return rand.New(rand.NewPCG(n.seed+protocol, h.Sum64())) }
	r := &NAT{net: n, name: name, seg: seg, outer: parse(outside), table: newNATTable(cfg, rng(0)), udp: newUDPTable(cfg, rng(17))}
	r.track = newConntrack(r.table.Timeout)
	for i := range r.police {
		r.police[i].rate = cfg.UDPRate
	}
	r.inside = segment{router: r, members: map[netip.Addr]member{}}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range r.outer {
		seg.attach(a, r)
	}
	return r
}

func (r *NAT) memberName() string { return r.name }
func (r *NAT) on() *segment       { return r.seg }

// Forward leads everybody who sends to outside to inside, over TCP and UDP, as a
// port forward set by hand does.
func (r *NAT) Forward(outside, inside string) {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	for _, t := range []*natTable{r.table, r.udp} {
		t.forward(netip.MustParseAddrPort(outside), netip.MustParseAddrPort(inside))
	}
}

// Reboot makes the router forget every mapping but the forwards.
func (r *NAT) Reboot() {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	r.forget()
}

func (r *NAT) forget() {
	r.table.forget()
	r.udp.forget()
	r.track.forget()
}

// SetOutside gives the router other outside addresses; it forgets its mappings.
func (r *NAT) SetOutside(outside ...string) {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	r.outer = r.seg.renumber(r, r.outer, outside)
	r.forget()
}

// of is the table for a packet.
func (r *NAT) of(p *wirePacket) *natTable {
	if p.kind == wireUDP {
		return r.udp
	}
	return r.table
}

// outward changes p as the router does on its way out, or says why it does not
// get there. A packet whose hops run out here has opened nothing.
func (r *NAT) outward(now time.Time, p *wirePacket) (dropped string) {
	if p.hops--; p.hops == 0 {
		return ranOut
	}
	t := r.of(p)
	if dropped := r.policy(now, p, 0); dropped != "" {
		return dropped
	}
	kind := t.kind(p.src.Addr())
	if p.kind != wireUDP && kind != NoNAT && !r.track.segment(now, p.src, p.dst, true, p.kind) {
		return "nat invalid"
	}
	if !kind.translates() {
		t.out(now, p.src, p.dst, netip.Addr{})
		return ""
	}
	for _, a := range r.outer {
		if a.Is4() == p.dst.Addr().Is4() {
			p.src = t.out(now, p.src, p.dst, a)
			return ""
		}
	}
	return "router has no address of that family"
}

// inward changes p as the router does on its way in, or says why it is let go no
// further.
func (r *NAT) inward(now time.Time, p *wirePacket) (dropped string) {
	if dropped := r.policy(now, p, 1); dropped != "" {
		return dropped
	}
	t := r.of(p)
	inner, ok := t.in(now, p.src, p.dst)
	tracked := p.kind != wireUDP && t.kind(p.dst.Addr()) != NoNAT
	if ok && tracked && t.asked(p.dst) {
		// What opened the hole must have been a connection that still is one.
		ok = r.track.knows(now, inner, p.src)
	}
	if !ok {
		r.refuse(now, p)
		return "nat filter"
	}
	if tracked && !r.track.segment(now, inner, p.src, false, p.kind) {
		r.refuse(now, p)
		return "nat invalid"
	}
	if p.hops--; p.hops == 0 {
		return ranOut
	}
	p.dst = inner
	return ""
}

// policy drops UDP where the router's owner does not want (all of) it.
func (r *NAT) policy(now time.Time, p *wirePacket, direction int) (dropped string) {
	switch {
	case p.kind != wireUDP:
	case r.udp.NoUDP:
		return "udp is blocked"
	case !r.police[direction].pass(now, p.size()):
		return "udp is throttled"
	}
	return ""
}

// refuse does to a packet that is not let in what this router does to such.
func (r *NAT) refuse(now time.Time, p *wirePacket) {
	t := r.of(p)
	if t.Unasked == TakeUnasked && r.owns(p.dst.Addr()) {
		t.steal(now, p.src, p.dst)
	}
	if t.Unasked != DropUnasked && p.kind != wireUDP && p.kind != wireRST {
		r.net.carry(r, wirePacket{src: p.dst, dst: p.src, kind: wireRST, hops: allHops})
	}
}

// renumber gives m other addresses on the segment, in place of those that it had.
func (s *segment) renumber(m member, had []netip.Addr, addrs []string) []netip.Addr {
	for _, a := range had {
		s.detach(a)
	}
	has := parse(addrs)
	for _, a := range has {
		s.attach(a, m)
	}
	return has
}

// attach makes m reachable under a on the segment, and further up as long as
// routers there leave addresses unchanged.
func (s *segment) attach(a netip.Addr, m member) {
	if other := s.members[a]; other != nil {
		panic("simnet: address " + a.String() + " of " + m.memberName() + " belongs to " + other.memberName())
	}
	s.members[a] = m
	if r := s.router; r != nil && !r.table.kind(a).translates() {
		r.seg.attach(a, r)
	}
}

func (s *segment) detach(a netip.Addr) {
	delete(s.members, a)
	if r := s.router; r != nil && !r.table.kind(a).translates() {
		r.seg.detach(a)
	}
}
