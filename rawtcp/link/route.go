package link

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// OwnProtocol is the routing protocol number of the routes that lead into the
// tunnel. No next hop ever follows such a route, whichever interface it names:
// two nodes on one host must not carry each other's underlay.
const OwnProtocol = 0x6c

// ask puts the question of n to the kernel. It never fails: where there is no
// way, the answer is not ready.
func (r *Resolver) ask(n *NextHop) hop {
	h := hop{asked: r.ticket.Add(1)}
	r.asking.RLock()
	defer r.asking.RUnlock()
	if r.closed {
		return h
	}
	route, dev := r.route(n.src, n.dst)
	if dev == nil {
		return h
	}
	h.dev, h.ready = dev, dev.up
	h.source = n.src
	if src, ok := netip.AddrFromSlice(route.Src); ok && !h.source.IsValid() {
		h.source = src.Unmap()
	}
	h.mtu = dev.mtu
	if route.MTU > 0 && route.MTU < h.mtu {
		h.mtu = route.MTU
	}
	h.ready = h.ready && h.source.IsValid()
	if h.ready {
		r.frame(&h, n.dst, gatewayOf(route), n.cur.Load())
	}
	return h
}

// frame fills in how a packet is addressed on the link itself. A neighbour that
// the kernel merely forgot (its table is bounded, and others can fill it) keeps
// the address that was, the hop before, until it is known to be gone.
func (r *Resolver) frame(h *hop, dst, gateway netip.Addr, was *hop) {
	protocol := uint16(unix.ETH_P_IP)
	if dst.Is6() {
		protocol = unix.ETH_P_IPV6
	}
	h.to = unix.RawSockaddrLinklayer{
		Family: unix.AF_PACKET, Protocol: bigEndian(protocol), Ifindex: int32(h.dev.index),
	}
	switch h.dev.kind {
	case linkBare:
		h.framed = true
		return
	case linkOther:
		return
	}
	mac := h.dev.mac // what the kernel uses on links without neighbours
	if !h.dev.noARP {
		h.via = dst
		if gateway.IsValid() {
			h.via = gateway
		}
		var known, gone bool
		if mac, known, gone = r.neighbour(h.dev.index, h.via); !known {
			if gone || was == nil || !was.framed || was.via != h.via || was.dev.index != h.dev.index {
				return
			}
			mac = [6]byte(was.ether[0:6])
		}
	}
	copy(h.ether[0:6], mac[:])
	copy(h.ether[6:12], h.dev.mac[:])
	binary.BigEndian.PutUint16(h.ether[12:], protocol)
	h.to.Halen = 6
	copy(h.to.Addr[:], mac[:])
	h.framed = true
}

// route asks the kernel where packets go. If that is into a tunnel of ours, it
// asks again what would be without the tunnel's routes. A nil device: nowhere.
func (r *Resolver) route(src, dst netip.Addr) (netlink.Route, *device) {
	route, ok := r.query(src, dst, 0, false)
	if !ok {
		return route, nil
	}
	dev := r.device(route.LinkIndex)
	if dev != nil && !r.refused(dev.name) && !r.ours(src, dst, 0) {
		return route, dev
	}
	return r.routeAround(src, dst)
}

// routeAround finds the best route that leads into no tunnel of ours. A lookup
// bound to an interface ignores the routes through all others, so each interface
// is asked for its best, and of those the longest prefix with the lowest metric
// wins. That obeys policy rules, and needs no copy of the routing table.
func (r *Resolver) routeAround(src, dst netip.Addr) (best netlink.Route, via *device) {
	links, err := r.handle.LinkList()
	if err != nil && len(links) == 0 {
		return best, nil
	}
	bits, metric := -1, 0
	for _, l := range links {
		a := l.Attrs()
		if a.RawFlags&unix.IFF_UP == 0 || r.refused(a.Name) {
			continue
		}
		// With a source, IPv6 takes the interface for a mere preference.
		from := src
		if dst.Is6() {
			from = netip.Addr{}
		}
		match, ok := r.query(from, dst, a.Index, true)
		if !ok || int(match.Protocol) == OwnProtocol {
			continue
		}
		ones := 0
		if match.Dst != nil {
			ones, _ = match.Dst.Mask.Size()
		}
		if ones < bits || ones == bits && match.Priority >= metric {
			continue
		}
		route, ok := r.query(from, dst, a.Index, false)
		if !ok || route.LinkIndex != a.Index {
			continue
		}
		best, via = route, r.device(a.Index)
		bits, metric = ones, match.Priority
	}
	return best, via
}

// ours says whether the matching route has our own protocol number. Only the
// entry of the routing table tells, not the result of the lookup.
func (r *Resolver) ours(src, dst netip.Addr, oif int) bool {
	match, ok := r.query(src, dst, oif, true)
	return ok && int(match.Protocol) == OwnProtocol
}

// query asks for the route to dst; with match for the entry of the routing
// table it comes from.
func (r *Resolver) query(src, dst netip.Addr, oif int, match bool) (netlink.Route, bool) {
	opts := &netlink.RouteGetOptions{OifIndex: oif, FIBMatch: match}
	if src.IsValid() {
		opts.SrcAddr = src.AsSlice()
	}
	routes, err := r.handle.RouteGetWithOptions(dst.AsSlice(), opts)
	if err != nil || len(routes) == 0 {
		return netlink.Route{}, false
	}
	route := routes[0]
	switch route.Type {
	case unix.RTN_UNICAST, unix.RTN_LOCAL, unix.RTN_UNSPEC:
		return route, true
	}
	return route, false
}

func gatewayOf(route netlink.Route) netip.Addr {
	gw := route.Gw
	if via, ok := route.Via.(*netlink.Via); ok && via != nil {
		gw = via.Addr // an IPv4 route over an IPv6 neighbour
	}
	a, _ := netip.AddrFromSlice(normal(gw))
	return a
}

// normal returns the 4-byte form of an IPv4 address.
func normal(ip net.IP) net.IP {
	if v4 := ip.To4(); v4 != nil {
		return v4
	}
	return ip
}

// device returns what is known of an interface, asking the kernel anew: it is
// called only when something has changed. What senders learned is kept as long
// as the interface stays the same.
func (r *Resolver) device(index int) *device {
	l, err := r.handle.LinkByIndex(index)
	if err != nil {
		r.known.Delete(index)
		return nil
	}
	fresh := newDevice(l)
	if old, ok := r.known.Load(index); ok && old.(*device).same(fresh) {
		return old.(*device)
	}
	r.known.Store(index, fresh)
	return fresh
}

func bigEndian(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
