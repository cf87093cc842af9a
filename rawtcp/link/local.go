package link

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// LocalTable reads which addresses are this host's own: the entries of type
// local of the kernel's local table. They are not only the addresses of
// interfaces; a cloud's load balancer is often set up as a route.
type LocalTable struct{ socket *nl.SocketHandle }

// NewLocalTable opens a socket in the network namespace of the calling thread.
func NewLocalTable() (*LocalTable, error) {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open route netlink socket: %w", err)
	}
	// Spares a router's whole routing table. Kernels before 4.20 send it all.
	_ = unix.SetsockoptInt(s.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	return &LocalTable{socket: &nl.SocketHandle{Socket: s}}, nil
}

// Read asks the kernel. It may be called by any goroutine.
func (t *LocalTable) Read() ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
		req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: t.socket}
		req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL}})
		replies, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
		if err != nil && len(replies) == 0 {
			if family == unix.AF_INET6 {
				continue // a kernel without IPv6
			}
			return nil, fmt.Errorf("read local table: %w", err)
		}
		for _, b := range replies {
			if p, ok := parseLocal(b); ok {
				prefixes = append(prefixes, p)
			}
		}
	}
	return prefixes, nil
}

// Close releases the socket.
func (t *LocalTable) Close() { t.socket.Close() }

// parseLocal reads the destination of a route of type local.
func parseLocal(b []byte) (p netip.Prefix, ok bool) {
	if len(b) < unix.SizeofRtMsg {
		return p, false
	}
	m := nl.DeserializeRtMsg(b)
	if m.Table != unix.RT_TABLE_LOCAL || m.Type != unix.RTN_LOCAL {
		return p, false
	}
	for kind, value := range attributes(b[unix.SizeofRtMsg:]) {
		if addr, ok := netip.AddrFromSlice(value); ok && kind == unix.RTA_DST {
			return netip.PrefixFrom(addr, int(m.Dst_len)), int(m.Dst_len) <= addr.BitLen()
		}
	}
	return p, false
}

// localAddrs is a snapshot of this host's own addresses.
type localAddrs struct {
	single map[netip.Addr]struct{}
	wide   []netip.Prefix
}

// IsLocal says whether packets to addr are for this host. It may be called by
// any goroutine and does not ask the kernel.
func (r *Resolver) IsLocal(addr netip.Addr) bool {
	l := r.local.Load()
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
	prefixes, err := r.table.Read()
	if err != nil {
		r.log.Warn("cannot read this host's own addresses", "reason", err)
		return
	}
	l := &localAddrs{single: map[netip.Addr]struct{}{}}
	for _, p := range prefixes {
		if p.IsSingleIP() {
			l.single[p.Addr()] = struct{}{}
		} else {
			l.wide = append(l.wide, p)
		}
	}
	r.local.Store(l)
}
