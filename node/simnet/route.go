package simnet

import (
	"net/netip"
	"time"
)

// wirePacket is one packet between hosts; routers change its addresses.
type wirePacket struct {
	src, dst netip.AddrPort
	kind     wireKind
	hops     uint8  // routers that it may reach, one more than it may pass
	mtu      int    // of the sender, in syn and synAck
	payload  []byte // of data; owned by the packet
}

// allHops is the hop limit of what nobody gave another.
const allHops = 64

// ranOut is the reason of the drop of what could go no further.
const ranOut = "hops ran out"

// wireKind is what a TCP segment would be by its flags, or that it is UDP.
type wireKind uint8

const (
	wireSYN wireKind = iota
	wireSYNACK
	wireACK
	wireData
	wireFIN
	wireRST
	wireUDP
)

// overhead is what rawtcp puts around a datagram: IP header and TCP header with
// timestamps; the record header is the path's prefix and counted there.
func overhead(remote netip.Addr) int { return ipHeader(remote) + 32 }

// udpOverhead is the same for UDP.
func udpOverhead(remote netip.Addr) int { return ipHeader(remote) + 8 }

func ipHeader(a netip.Addr) int {
	if a.Is4() {
		return 20
	}
	return 40
}

func (p *wirePacket) size() int {
	switch p.kind {
	case wireUDP:
		return udpOverhead(p.dst.Addr()) + len(p.payload)
	case wireData:
		return overhead(p.dst.Addr()) + prefix + len(p.payload)
	}
	return overhead(p.dst.Addr())
}

// send carries p away from a host. Called with the mutex held.
func (n *Net) send(from *Host, p wirePacket) {
	if !from.has(p.src.Addr()) {
		n.drop("source address is not the host's")
		return
	}
	n.carry(from, p)
}

// carry takes p toward its destination: out through routers, up to the segment
// where the destination is, and into the line there.
func (n *Net) carry(from member, p wirePacket) {
	now := time.Now()
	for at := from; ; {
		seg := at.on()
		if to := seg.members[p.dst.Addr()]; to != nil {
			n.transmit(now, at, to, p)
			return
		}
		router := seg.router
		if router == nil {
			n.drop("no such address")
			return
		}
		if router.owns(p.dst.Addr()) {
			n.hairpin(now, router, at, p)
			return
		}
		if dropped := router.outward(now, &p); dropped != "" {
			n.drop(dropped)
			return
		}
		at = router
	}
}

func (r *NAT) owns(a netip.Addr) bool {
	for _, outer := range r.outer {
		if outer == a {
			return true
		}
	}
	return false
}

// hairpin turns a packet around at the router whose outside address it is for.
func (n *Net) hairpin(now time.Time, r *NAT, at member, p wirePacket) {
	if !r.table.Hairpin {
		n.drop("hairpin")
		return
	}
	if dropped := r.outward(now, &p); dropped != "" {
		n.drop(dropped)
		return
	}
	p.hops++ // one router, not two
	if dropped := r.inward(now, &p); dropped != "" {
		n.drop(dropped)
		return
	}
	if to := r.inside.members[p.dst.Addr()]; to != nil {
		n.transmit(now, at, to, p)
		return
	}
	n.drop("no such address")
}

// transmit puts p into the line between two members of one segment.
func (n *Net) transmit(now time.Time, from, to member, p wirePacket) {
	if n.tap != nil && (p.kind == wireData || p.kind == wireUDP) {
		n.tap(p.src, p.dst, p.payload)
	}
	line := n.channel(from, to)
	if line.vanished(p) || n.swallow != nil && n.swallow(p.src, p.dst) {
		n.drop("vanished")
		return
	}
	if from.on() == &n.internet {
		if int(p.hops) <= n.hops {
			n.drop(ranOut)
			return
		}
		p.hops -= uint8(n.hops)
	}
	f := line.pass(now, p.size())
	if f.copies == 0 {
		n.drop(f.reason)
		return
	}
	for i := range f.copies {
		q := p
		if i > 0 {
			// Receivers may change what they get in place.
			q.payload = append([]byte(nil), p.payload...)
		}
		n.clock.at(f.at, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.arrive(to, q)
		})
	}
}

// arrive takes p in through routers to the host that it is for. Routers decide
// when the packet comes, not when it was sent.
func (n *Net) arrive(to member, p wirePacket) {
	now := time.Now()
	for {
		if host, ok := to.(*Host); ok {
			host.receive(p)
			return
		}
		router := to.(*NAT)
		if dropped := router.inward(now, &p); dropped != "" {
			n.drop(dropped)
			return
		}
		if to = router.inside.members[p.dst.Addr()]; to == nil {
			n.drop("no such address")
			return
		}
	}
}
