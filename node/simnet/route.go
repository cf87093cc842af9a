package simnet

import (
	"net/netip"
	"time"
)

// wirePacket is one packet between hosts; routers change its addresses.
type wirePacket struct {
	src, dst netip.AddrPort
	kind     wireKind
	mtu      int    // of the sender, in syn and synAck
	payload  []byte // of data; owned by the packet
}

// wireKind is what a TCP segment would be by its flags.
type wireKind uint8

const (
	wireSYN wireKind = iota
	wireSYNACK
	wireACK
	wireData
	wireFIN
	wireRST
)

// overhead is what rawtcp puts around a datagram: IP header and TCP header with
// timestamps; the record header is the path's prefix and counted there.
func overhead(remote netip.Addr) int {
	if remote.Is4() {
		return 20 + 32
	}
	return 40 + 32
}

func (p *wirePacket) size() int {
	size := overhead(p.dst.Addr()) + len(p.payload)
	if p.kind == wireData {
		size += prefix
	}
	return size
}

// send carries p from a host toward its destination: out through routers, up to
// the segment where the destination is, and into the line there. Called with
// the mutex held.
func (n *Net) send(from *Host, p wirePacket) {
	now := time.Now()
	if !from.has(p.src.Addr()) {
		n.drop("source address is not the host's")
		return
	}
	for at := member(from); ; {
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
		if !router.outward(now, &p) {
			n.drop("router has no address of that family")
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
	if !r.table.Hairpin || !r.outward(now, &p) {
		n.drop("hairpin")
		return
	}
	inner, ok := r.table.in(now, p.src, p.dst)
	if !ok {
		n.drop("nat filter")
		return
	}
	p.dst = inner
	if to := r.inside.members[inner.Addr()]; to != nil {
		n.transmit(now, at, to, p)
		return
	}
	n.drop("no such address")
}

// transmit puts p into the line between two members of one segment.
func (n *Net) transmit(now time.Time, from, to member, p wirePacket) {
	if n.tap != nil && p.kind == wireData {
		n.tap(p.src, p.dst, p.payload)
	}
	line := n.channel(from, to)
	if line.vanished(p) || n.swallow != nil && n.swallow(p.src, p.dst) {
		n.drop("vanished")
		return
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
		inner, ok := router.table.in(now, p.src, p.dst)
		if !ok {
			n.drop("nat filter")
			return
		}
		p.dst = inner
		if to = router.inside.members[inner.Addr()]; to == nil {
			n.drop("no such address")
			return
		}
	}
}
