package udp

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

// way is how the packets of one path leave this host. It follows the routes.
type way struct {
	local netip.Addr
	hop   *link.NextHop // from local; nil: a neighbour on a link, fixed
	// preferred is the hop without a given source. IPv6 takes the interface for a
	// mere hint when the source address is given, so it is left to the kernel
	// where that would choose the same.
	preferred *link.NextHop
	// obeyed is the generation of hop as of which the kernel said that it follows
	// the hint.
	obeyed atomic.Uint64

	ifindex int // of a fixed one
	mtu     int
}

// heading is where packets go at present: what an observer is told of.
type heading struct {
	ifindex int
	source  netip.Addr // invalid: the kernel's choice, which is the same
	why     reason     // not to send, or noDrop
}

func (w *way) out() heading {
	if w.hop == nil {
		return heading{w.ifindex, w.local, noDrop}
	}
	generation := w.hop.Generation()
	index, _ := w.hop.Interface()
	switch {
	case index == 0 || !w.hop.Ready():
		return heading{why: dropNoRoute}
	case w.local.Is4():
		return heading{index, w.local, noDrop}
	case w.chosen(index):
		return heading{index, netip.Addr{}, noDrop}
	case w.obeyed.Load() != generation:
		return heading{why: dropIntoTunnel}
	}
	return heading{index, w.local, noDrop}
}

// chosen says whether the kernel would choose the local address by itself.
func (w *way) chosen(index int) bool {
	if w.preferred == nil || w.preferred.Source() != w.local {
		return false
	}
	i, _ := w.preferred.Interface()
	return i == index
}

// errNoRoute says that there is no way at present.
var errNoRoute = link.ErrNoRoute

// linkMTU is the largest packet of the first link, in bytes; 0: no route.
func (w *way) linkMTU() int {
	if w.hop == nil {
		return w.mtu
	}
	return w.hop.MTU()
}

// generation grows with every change.
func (w *way) generation() uint64 {
	if w.hop == nil {
		return 0
	}
	return w.hop.Generation()
}

// router finds ways. All methods may be called by any goroutine; they ask the
// kernel, which takes some tens of microseconds.
type router struct {
	resolver *link.Resolver
	handle   *netlink.Handle
	exclude  []string
}

func (r *router) open(cfg *Config) (err error) {
	if r.resolver, err = link.NewResolver(cfg.Log.Named("link")); err != nil {
		return fmt.Errorf("watching routes: %w", err)
	}
	if cfg.RoutesElsewhere {
		r.resolver.Quiet()
	}
	r.exclude = cfg.ExcludeInterfaces
	for _, name := range r.exclude {
		r.resolver.Refuse(name)
	}
	if r.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open route netlink socket: %w", err)
	}
	return nil
}

func (r *router) close() error {
	if r.handle != nil {
		r.handle.Close()
	}
	if r.resolver != nil {
		return r.resolver.Close()
	}
	return nil
}

// excluded says whether an interface is one that we never use.
func (r *router) excluded(ifindex int) bool {
	l, err := r.handle.LinkByIndex(ifindex)
	return err == nil && slices.Contains(r.exclude, l.Attrs().Name)
}

// source is the address that the kernel prefers toward remote, and the hop that
// says so, to be held: the resolver asks anew for what nobody holds.
func (r *router) source(remote netip.Addr) (netip.Addr, *link.NextHop, error) {
	if remote.IsLinkLocalUnicast() && remote.Is6() {
		a, err := r.linkLocal(remote)
		return a, nil, err
	}
	hop, err := r.resolver.Lookup(remote)
	if err != nil {
		return netip.Addr{}, nil, err
	}
	if !hop.Ready() {
		return netip.Addr{}, nil, fmt.Errorf("%v: %w", remote, errNoRoute)
	}
	return hop.Source(), hop, nil
}

// onLink is the interface that leads to a link-local neighbour.
func (r *router) onLink(remote netip.Addr) (l netlink.Link, err error) {
	if index, bad := strconv.Atoi(remote.Zone()); bad == nil {
		l, err = r.handle.LinkByIndex(index)
	} else {
		l, err = r.handle.LinkByName(remote.Zone())
	}
	if err != nil {
		return nil, fmt.Errorf("%v: which link? %w", remote, err)
	}
	if slices.Contains(r.exclude, l.Attrs().Name) {
		return nil, fmt.Errorf("%v: %w", remote, errNoRoute)
	}
	return l, nil
}

// linkLocal is this host's address on the link of a neighbour.
func (r *router) linkLocal(remote netip.Addr) (netip.Addr, error) {
	l, err := r.onLink(remote)
	if err != nil {
		return netip.Addr{}, err
	}
	addrs, err := r.handle.AddrList(l, netlink.FAMILY_V6)
	if err != nil && len(addrs) == 0 {
		return netip.Addr{}, fmt.Errorf("%v: %w", remote, err)
	}
	for _, a := range addrs {
		if own, ok := netip.AddrFromSlice(a.IP); ok && own.IsLinkLocalUnicast() {
			return own, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%v: %w", remote, errNoRoute)
}

// find returns the way from local to remote. It fails for what is no unicast
// address; where there is merely no route, the way says so.
func (r *router) find(local, remote netip.Addr) (*way, error) {
	if remote.IsLinkLocalUnicast() && remote.Is6() {
		l, err := r.onLink(remote)
		if err != nil {
			return nil, err
		}
		return &way{local: local, ifindex: l.Attrs().Index, mtu: l.Attrs().MTU}, nil
	}
	hop, err := r.resolver.LookupFrom(local, remote)
	if err != nil {
		return nil, err
	}
	w := &way{local: local, hop: hop}
	if remote.Is6() {
		if w.preferred, err = r.resolver.Lookup(remote); err != nil {
			return nil, err
		}
		r.check(w, remote)
	}
	return w, nil
}

// check asks the kernel whether it follows the interface that it is told.
func (r *router) check(w *way, remote netip.Addr) {
	if w.hop == nil || remote.Is4() {
		return
	}
	generation := w.hop.Generation()
	index, _ := w.hop.Interface()
	if index == 0 || w.chosen(index) {
		return
	}
	routes, err := r.handle.RouteGetWithOptions(remote.AsSlice(), &netlink.RouteGetOptions{OifIndex: index, SrcAddr: w.local.AsSlice()})
	if err != nil || len(routes) == 0 || routes[0].LinkIndex != index {
		generation = 0
	}
	w.obeyed.Store(generation)
}
