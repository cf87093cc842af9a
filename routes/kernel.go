package routes

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/hashicorp/go-hclog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Protocol marks our routes in the kernel (`ip route show proto 108`), so that
// what belongs to the tunnel is told from what does not: by us after a kill -9,
// by the transport that must not send into the tunnel, and by the user.
const Protocol = 108

// Metric of our routes, larger than that of the kernel's own IPv4 connected routes. Where
// somebody else has a route for the same prefix ours gives way altogether.
const Metric = 50

// Kernel keeps the host's main routing table in step with what is decided. It
// owns the routes with [Protocol] through the tunnel's device and nothing else.
// It is for one goroutine, except Changes. Create it with [NewKernel].
type Kernel struct {
	device func() string
	tune   bool
	log    hclog.Logger
	rtnl   *netlink.Handle
	watch  *watch
	tuned  int // index of the device whose reverse path filter was set
}

// KernelConfig is what a Kernel needs.
type KernelConfig struct {
	Device func() string // name of the tunnel's interface at this moment; empty: there is none
	Tune   bool          // may relax the reverse path filter of that interface
	Log    hclog.Logger  // nil: silent
}

// NewKernel opens netlink in the network namespace of the calling thread.
func NewKernel(cfg KernelConfig) (*Kernel, error) {
	if cfg.Device == nil {
		return nil, errors.New("kernel routes: no device")
	}
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	rtnl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("kernel routes: open netlink: %w", err)
	}
	w, err := newWatch()
	if err != nil {
		rtnl.Close()
		return nil, fmt.Errorf("kernel routes: %w", err)
	}
	return &Kernel{device: cfg.Device, tune: cfg.Tune, log: cfg.Log, rtnl: rtnl, watch: w}, nil
}

// Changes is ready after links, addresses or routes of the host changed.
func (k *Kernel) Changes() <-chan struct{} { return k.watch.changed.C() }

// Close gives netlink back. It leaves the routes; see [Kernel.Clear].
func (k *Kernel) Close() {
	k.watch.close()
	k.rtnl.Close()
}

// Sync makes want the set of our routes: it adds what is missing, removes what is
// ours and not wanted, what a killed process left included, and touches nothing
// else. For each prefix that is not in place it returns the reason. An error means
// that the table could not be read.
func (k *Kernel) Sync(want []netip.Prefix) (refused map[netip.Prefix]string, err error) {
	refused = make(map[netip.Prefix]string)
	link, err := k.link()
	if err != nil {
		return nil, err
	}
	if link == nil {
		for _, p := range want {
			refused[p] = "the tunnel's interface is not there"
		}
		return refused, nil
	}
	k.relax(link)
	index := link.Attrs().Index
	ours, others, err := k.routes(index, want)
	if err != nil {
		return nil, err
	}
	keep := make(map[netip.Prefix]bool)
	for _, p := range want {
		pieces := halves(p)
		if i := slices.IndexFunc(pieces, func(q netip.Prefix) bool { return others[q] != "" }); i >= 0 {
			refused[p] = others[pieces[i]]
			continue
		}
		for _, q := range pieces {
			keep[q] = true
			if ours[q] {
				continue
			}
			if err := k.rtnl.RouteAdd(route(index, q)); err != nil && !errors.Is(err, unix.EEXIST) {
				refused[p] = fmt.Sprintf("the kernel refused it: %v%s", err, remedy(err))
			}
		}
	}
	for q := range ours {
		if keep[q] {
			continue
		}
		if err := k.rtnl.RouteDel(route(index, q)); err != nil && !errors.Is(err, unix.ESRCH) {
			k.log.Warn("cannot remove route", "prefix", q, "reason", err)
		}
	}
	return refused, nil
}

// Clear removes all of our routes.
func (k *Kernel) Clear() error {
	_, err := k.Sync(nil)
	return err
}

// Connected returns the networks that this host is in, other than through the
// tunnel: those of its addresses, and those to which it has a route without a
// gateway that the kernel, DHCP or a router advertisement made.
func (k *Kernel) Connected() ([]netip.Prefix, error) {
	link, err := k.link()
	if err != nil {
		return nil, err
	}
	skip := map[int]bool{}
	if link != nil {
		skip[link.Attrs().Index] = true
	}
	if lo, err := k.rtnl.LinkByName("lo"); err == nil {
		skip[lo.Attrs().Index] = true
	}
	var all []netip.Prefix
	addresses, err := dump(func() ([]netlink.Addr, error) { return k.rtnl.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addresses {
		if p := prefixOf(a.IPNet); !skip[a.LinkIndex] && p.IsValid() && !p.Addr().IsLinkLocalUnicast() {
			all = append(all, p)
		}
	}
	found, err := k.search(func(r *netlink.Route, p netip.Prefix) bool {
		onLink := r.Gw == nil && len(r.MultiPath) == 0 && r.Via == nil && r.Type == unix.RTN_UNICAST
		made := r.Protocol == unix.RTPROT_KERNEL || r.Protocol == unix.RTPROT_DHCP || r.Protocol == unix.RTPROT_RA
		return onLink && made && !skip[r.LinkIndex] && p.Bits() > 0 && !p.Addr().IsLinkLocalUnicast() && !p.Addr().IsMulticast()
	})
	for _, f := range found {
		all = append(all, f.prefix)
	}
	return all, err
}

// link returns the tunnel's interface, or nil while there is none.
func (k *Kernel) link() (netlink.Link, error) {
	name := k.device()
	if name == "" {
		return nil, nil
	}
	link, err := k.rtnl.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", name, err)
	}
	return link, nil
}

// routes reads the main table. Of the routes that are not ours it keeps those for a
// prefix that is wanted, each with the sentence that says whose it is.
func (k *Kernel) routes(index int, want []netip.Prefix) (ours map[netip.Prefix]bool, others map[netip.Prefix]string, err error) {
	wanted := make(map[netip.Prefix]bool)
	for _, p := range want {
		for _, q := range halves(p) {
			wanted[q] = true
		}
	}
	ours, others = make(map[netip.Prefix]bool), make(map[netip.Prefix]string)
	isOurs := func(r *netlink.Route) bool { return r.Protocol == Protocol && r.LinkIndex == index }
	found, err := k.search(func(r *netlink.Route, p netip.Prefix) bool { return isOurs(r) || wanted[p] })
	for _, f := range found {
		if isOurs(&f.route) {
			ours[f.prefix] = true
			continue
		}
		where := ""
		if l, err := k.rtnl.LinkByIndex(f.route.LinkIndex); err == nil {
			where = " dev " + l.Attrs().Name
		}
		others[f.prefix] = fmt.Sprintf("there is a route of somebody else for it: %s%s proto %s", f.prefix, where, f.route.Protocol)
	}
	return ours, others, err
}

type found struct {
	route  netlink.Route
	prefix netip.Prefix
}

// search returns the routes of the main table that match. It holds no more than
// those: a router may have a million.
func (k *Kernel) search(match func(*netlink.Route, netip.Prefix) bool) (all []found, err error) {
	for family, whole := range map[int]netip.Prefix{
		netlink.FAMILY_V4: netip.PrefixFrom(netip.IPv4Unspecified(), 0),
		netlink.FAMILY_V6: netip.PrefixFrom(netip.IPv6Unspecified(), 0),
	} {
		some, err := dump(func() (some []found, err error) {
			err = k.rtnl.RouteListFilteredIter(family, &netlink.Route{}, 0, func(r netlink.Route) bool {
				p := whole
				if r.Dst != nil {
					p = prefixOf(r.Dst).Masked()
				}
				if p.IsValid() && match(&r, p) {
					some = append(some, found{r, p})
				}
				return true
			})
			return some, err
		})
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("read the routing table: %w", err)
		}
		all = append(all, some...)
	}
	return all, nil
}

// dump repeats a netlink dump that the kernel says was inconsistent.
func dump[T any](list func() ([]T, error)) (all []T, err error) {
	for range 5 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, nil // a busy table: the next change brings us here again
}

// relax makes the reverse path filter of the tunnel's own interface loose. A
// packet from a LAN behind a site is legitimate also where the kernel would
// answer another way; the source check of the mesh is the stricter one.
func (k *Kernel) relax(link netlink.Link) {
	a := link.Attrs()
	if !k.tune || a.Index == k.tuned {
		return
	}
	k.tuned = a.Index
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+a.Name+"/rp_filter", []byte("2"), 0o644); err != nil {
		k.log.Debug("cannot relax the reverse path filter", "interface", a.Name, "reason", err)
	}
}

// route is ours for p.
func route(index int, p netip.Prefix) *netlink.Route {
	r := &netlink.Route{
		LinkIndex: index, Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
		Protocol: Protocol, Priority: Metric, Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST,
	}
	if p.Addr().Is4() {
		r.Scope = unix.RT_SCOPE_LINK
	}
	return r
}

// halves splits a default route in two, which together come before the host's own and leave
// it in its place.
func halves(p netip.Prefix) []netip.Prefix {
	if p.Bits() > 0 {
		return []netip.Prefix{p}
	}
	upper := netip.AddrFrom4([4]byte{0x80})
	if p.Addr().Is6() {
		upper = netip.AddrFrom16([16]byte{0x80})
	}
	return []netip.Prefix{netip.PrefixFrom(p.Addr(), 1), netip.PrefixFrom(upper, 1)}
}

// prefixOf converts; it returns the zero Prefix for nil.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, size := n.Mask.Size()
	if a.Is4In6() && size == 32 {
		a = a.Unmap()
	}
	if !ok || size != a.BitLen() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, bits)
}

func remedy(err error) string {
	switch {
	case errors.Is(err, unix.ENETDOWN):
		return ": the tunnel's interface is set down"
	case errors.Is(err, unix.EPERM):
		return ": run as root or with CAP_NET_ADMIN"
	}
	return ""
}
