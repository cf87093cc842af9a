package link

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// localPrefix holds this host's own addresses: the entries of type local of the
// kernel's local table, which may be whole prefixes.
type localPrefix struct {
	single map[netip.Addr]struct{}
	wide   []netip.Prefix
}

// IsLocal says whether packets to addr are for this host. It may be called by
// any goroutine and does not ask the kernel.
func (r *Resolver) IsLocal(addr netip.Addr) bool {
	l := r.local.Load()
	if l == nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	if _, ok := l.single[addr]; ok {
		return true
	}
	for _, p := range l.wide {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

func (r *Resolver) readLocal() {
	l := &localPrefix{single: map[netip.Addr]struct{}{}}
	filter := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := r.handle.RouteListFiltered(family, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
		if err != nil && len(routes) == 0 {
			continue // a kernel without IPv6
		}
		for _, route := range routes {
			if route.Dst == nil {
				continue
			}
			a, ok := netip.AddrFromSlice(normal(route.Dst.IP))
			ones, _ := route.Dst.Mask.Size()
			switch {
			case !ok:
			case ones == a.BitLen():
				l.single[a] = struct{}{}
			default:
				l.wide = append(l.wide, netip.PrefixFrom(a, ones))
			}
		}
	}
	r.local.Store(l)
}
