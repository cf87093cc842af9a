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
	table  *natTable
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
	r := &NAT{net: n, name: name, seg: seg, outer: parse(outside),
		table: newNATTable(cfg, rand.New(rand.NewPCG(n.seed, h.Sum64())))}
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

// Forward leads everybody who sends to outside to inside, as a port forward set
// by hand does.
func (r *NAT) Forward(outside, inside string) {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	r.table.forward(netip.MustParseAddrPort(outside), netip.MustParseAddrPort(inside))
}

// Reboot makes the router forget every mapping but the forwards.
func (r *NAT) Reboot() {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	r.table.forget()
}

// SetOutside gives the router other outside addresses; it forgets its mappings.
func (r *NAT) SetOutside(outside ...string) {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	for _, a := range r.outer {
		r.seg.detach(a)
	}
	r.outer = parse(outside)
	for _, a := range r.outer {
		r.seg.attach(a, r)
	}
	r.table.forget()
}

// outward changes p as the router does on its way out; false: there is none.
func (r *NAT) outward(now time.Time, p *wirePacket) bool {
	if !r.table.Kind.translates() {
		r.table.out(now, p.src, p.dst, netip.Addr{})
		return true
	}
	for _, a := range r.outer {
		if a.Is4() == p.dst.Addr().Is4() {
			p.src = r.table.out(now, p.src, p.dst, a)
			return true
		}
	}
	return false
}

// attach makes m reachable under a on the segment, and further up as long as
// routers there leave addresses unchanged.
func (s *segment) attach(a netip.Addr, m member) {
	if other := s.members[a]; other != nil {
		panic("simnet: address " + a.String() + " of " + m.memberName() + " belongs to " + other.memberName())
	}
	s.members[a] = m
	if r := s.router; r != nil && !r.table.Kind.translates() {
		r.seg.attach(a, r)
	}
}

func (s *segment) detach(a netip.Addr) {
	delete(s.members, a)
	if r := s.router; r != nil && !r.table.Kind.translates() {
		r.seg.detach(a)
	}
}
