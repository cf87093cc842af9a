package portmap

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// defaultGateway reads the IPv4 default route: of several, the one that the
// kernel prefers. Routes through the excluded interfaces do not count, nor do
// those that go out of an interface without a router.
func defaultGateway(exclude []string) (Gateway, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return Gateway{}, fmt.Errorf("open route netlink socket: %w", err)
	}
	defer h.Close()
	routes, err := h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return Gateway{}, fmt.Errorf("read the routing table: %w", err)
	}
	slices.SortStableFunc(routes, func(a, b netlink.Route) int { return a.Priority - b.Priority })
	for _, r := range routes {
		if r.Dst != nil && (!r.Dst.IP.IsUnspecified() || len(r.Dst.Mask) == 0 || r.Dst.Mask[0] != 0) {
			continue
		}
		if len(r.MultiPath) > 0 { // the first will do: what leaves by another is its router's affair
			r.Gw, r.LinkIndex = r.MultiPath[0].Gw, r.MultiPath[0].LinkIndex
		}
		hop, ok := netip.AddrFromSlice(r.Gw)
		if hop = hop.Unmap(); !ok || !hop.Is4() || hop.IsUnspecified() {
			continue
		}
		link, err := h.LinkByIndex(r.LinkIndex)
		if err != nil || slices.Contains(exclude, link.Attrs().Name) || link.Attrs().Flags&unix.IFF_UP == 0 {
			continue
		}
		gw := Gateway{Address: hop, Interface: link.Attrs().Name, Index: r.LinkIndex}
		if gw.Source, ok = source(h, r, gw); ok {
			return gw, nil
		}
	}
	return Gateway{}, errNoGateway
}

// source is this host's address toward the router: that of the default route if
// it names one, because data leaves from it too.
func source(h *netlink.Handle, r netlink.Route, gw Gateway) (netip.Addr, bool) {
	if a, ok := netip.AddrFromSlice(r.Src); ok && a.Unmap().Is4() {
		return a.Unmap(), true
	}
	ways, err := h.RouteGetWithOptions(gw.Address.AsSlice(), &netlink.RouteGetOptions{Oif: gw.Interface})
	if err != nil || len(ways) == 0 {
		return netip.Addr{}, false
	}
	a, ok := netip.AddrFromSlice(ways[0].Src)
	return a.Unmap(), ok
}
