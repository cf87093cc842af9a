package link

import (
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// neighbourMessage is struct ndmsg of linux/neighbour.h.
type neighbourMessage struct {
	family  uint8
	index   int
	state   uint16
	address netip.Addr
	mac     [6]byte
	hasMAC  bool
}

const sizeofNdmsg = 12

// parseNeighbour reads the body of RTM_NEWNEIGH or RTM_DELNEIGH.
func parseNeighbour(b []byte) (m neighbourMessage, ok bool) {
	if len(b) < sizeofNdmsg {
		return m, false
	}
	m.family = b[0]
	m.index = int(int32(binary.NativeEndian.Uint32(b[4:])))
	m.state = binary.NativeEndian.Uint16(b[8:])
	for kind, value := range attributes(b[sizeofNdmsg:]) {
		switch kind {
		case netlink.NDA_DST:
			m.address, _ = netip.AddrFromSlice(value)
		case netlink.NDA_LLADDR:
			m.hasMAC = len(value) == len(m.mac) && copy(m.mac[:], value) > 0
		}
	}
	return m, m.address.IsValid()
}

// valid says whether the kernel itself would send to this link-layer address.
func (m neighbourMessage) valid() bool {
	const nudValid = netlink.NUD_PERMANENT | netlink.NUD_NOARP | netlink.NUD_REACHABLE |
		netlink.NUD_PROBE | netlink.NUD_STALE | netlink.NUD_DELAY
	return m.hasMAC && m.state&nudValid != 0
}

// neighbour returns the link-layer address of a neighbour. If the kernel does
// not know it, the kernel is asked to find out; a notification will tell. gone:
// it was asked and did not answer.
func (r *Resolver) neighbour(index int, addr netip.Addr) (mac [6]byte, known, gone bool) {
	m, found := r.getNeighbour(index, addr)
	if found && m.valid() {
		return m.mac, true, false
	}
	if !found || m.state&netlink.NUD_INCOMPLETE == 0 {
		r.useNeighbour(index, addr)
	}
	return mac, false, found && m.state&netlink.NUD_FAILED != 0
}

func (r *Resolver) getNeighbour(index int, addr netip.Addr) (neighbourMessage, bool) {
	replies, err := r.neighbourRequest(unix.RTM_GETNEIGH, 0, index, addr, 0).Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err != nil || len(replies) == 0 {
		return neighbourMessage{}, false
	}
	return parseNeighbour(replies[0])
}

// useNeighbour tells the kernel that we are about to send to a neighbour, as its
// own IP layer would: it resolves an unknown address, and verifies a stale one.
// The kernel does not see packet sockets use its neighbours.
func (r *Resolver) useNeighbour(index int, addr netip.Addr) {
	req := r.neighbourRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_ACK, index, addr, netlink.NTF_USE)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		r.log.Debug("cannot have a neighbour resolved", "neighbour", addr, "reason", err)
	}
}

func (r *Resolver) neighbourRequest(kind, flags, index int, addr netip.Addr, ntf uint8) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = r.socket
	family := uint8(unix.AF_INET)
	if addr.Is6() {
		family = unix.AF_INET6
	}
	req.AddData(&netlink.Ndmsg{Family: family, Index: uint32(index), Flags: ntf})
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, addr.AsSlice()))
	return req
}

// verifyNeighbours has the kernel verify the stale neighbours of the hops that
// were used since the last call, so that they neither expire nor go unnoticed
// when they die.
func (r *Resolver) verifyNeighbours() {
	type neighbour struct {
		index int
		addr  netip.Addr
	}
	seen := map[neighbour]bool{}
	for n := range r.held {
		if !n.used.Swap(false) {
			continue
		}
		h := n.cur.Load()
		if h.dev == nil || !h.via.IsValid() {
			continue
		}
		k := neighbour{h.dev.index, h.via}
		if seen[k] {
			continue
		}
		seen[k] = true
		m, found := r.getNeighbour(k.index, k.addr)
		if !found || m.state&(netlink.NUD_STALE|netlink.NUD_FAILED) != 0 || m.state == netlink.NUD_NONE {
			r.useNeighbour(k.index, k.addr)
		}
	}
}
