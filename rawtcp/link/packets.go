package link

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

type addr = netip.Addr

// packets is a batch of single packets for one system call: headers that it
// owns, payloads that it borrows.
type packets struct {
	n        int
	head     [packet.MaxSlots][packet.Headroom]byte // vnet_hdr, link layer, IP, TCP; right-aligned
	headLen  int                                    // IP and TCP headers
	iov      [packet.MaxSlots][2]unix.Iovec
	msg      [packet.MaxSlots]mmsghdr
	name4    unix.RawSockaddrInet4
	name6    unix.RawSockaddrInet6
	nameLink unix.RawSockaddrLinklayer
	control  [cmsgSpace / 8]uint64
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

func (m *packets) reset() { m.n = 0 }

// add takes one packet; its headers are copied.
func (m *packets) add(headers, payload []byte) {
	m.headLen = len(headers)
	copy(m.head[m.n][packet.Headroom-len(headers):], headers)
	m.payload(m.n, payload)
	m.n++
}

func (m *packets) payload(i int, b []byte) {
	v := &m.iov[i][1]
	v.Base = nil
	if len(b) > 0 {
		v.Base = &b[0]
	}
	v.SetLen(len(b))
}

// split makes a packet of each slot of the train.
func (m *packets) split(t *packet.Train, ipLen, tcpLen int) {
	m.n, m.headLen = t.Len(), ipLen+tcpLen
	super := t.Frame(m.headLen)[:m.headLen]
	whole := tcpLen + len(t.Bytes())
	for i := range m.n {
		slot := t.Slot(i)
		c := cut{first: i, offset: i * t.SlotSize(), size: len(slot), last: i == m.n-1}
		c.headers(m.head[i][packet.Headroom-m.headLen:], super, ipLen, whole)
		m.payload(i, slot)
	}
}

// sendFramed sends all through the packet socket.
func (m *packets) sendFramed(s *sockets, h *hop, ipLen, tcpLen int) unix.Errno {
	linkLen := h.linkLen()
	front := linkLen
	vnet := s.vnet && h.dev.kind == linkEther
	if vnet {
		front += vnetLen
	}
	for i := range m.n {
		b := m.head[i][packet.Headroom-m.headLen-front:]
		if vnet {
			putVnet(b, b[front]>>4 == 6, linkLen, ipLen, tcpLen, 0)
		} else {
			m.finish(i, ipLen)
		}
		copy(b[front-linkLen:front], h.ether[:])
		m.message(i, front, unsafe.Pointer(&h.to), unix.SizeofSockaddrLinklayer)
	}
	return m.send(s.of(h))
}

// sendRaw sends all through a raw socket, out of the interface of the hop: the
// kernel's own choice might be the tunnel.
func (m *packets) sendRaw(s *sockets, h *hop, dst addr, ipLen int) unix.Errno {
	for i := range m.n {
		m.finish(i, ipLen)
	}
	return m.sendKernel(s, h.dev.index, dst)
}

// sendKernel has the kernel's IP layer send what has its checksums already, by
// the best route out of one interface (0: any).
func (m *packets) sendKernel(s *sockets, ifindex int, dst addr) unix.Errno {
	fd, name, nameLen, controlLen := s.raw4, unsafe.Pointer(&m.name4), uint32(unix.SizeofSockaddrInet4), cmsgSpace4
	if dst.Is4() {
		m.name4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: dst.As4()}
		putPktinfo4(&m.control, ifindex)
	} else {
		fd, name, nameLen, controlLen = s.raw6, unsafe.Pointer(&m.name6), unix.SizeofSockaddrInet6, cmsgSpace6
		m.name6 = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: dst.As16()}
		if dst.IsLinkLocalUnicast() {
			m.name6.Scope_id = uint32(ifindex)
		}
		putPktinfo6(&m.control, ifindex)
	}
	for i := range m.n {
		m.message(i, 0, name, nameLen)
		m.msg[i].hdr.Control = (*byte)(unsafe.Pointer(&m.control))
		m.msg[i].hdr.SetControllen(controlLen)
	}
	return m.send(fd)
}

// sendBack sends what has its checksums already to a neighbour on its link.
func (m *packets) sendBack(fd int, to Origin, v6 bool) unix.Errno {
	name := &m.nameLink
	*name = unix.RawSockaddrLinklayer{
		Family: unix.AF_PACKET, Protocol: bigEndian(unix.ETH_P_IP), Ifindex: int32(to.IfIndex), Halen: to.Halen, Addr: to.Address,
	}
	if v6 {
		name.Protocol = bigEndian(unix.ETH_P_IPV6)
	}
	for i := range m.n {
		m.message(i, 0, unsafe.Pointer(name), unix.SizeofSockaddrLinklayer)
	}
	return m.send(fd)
}

// finish computes the TCP checksum of packet i.
func (m *packets) finish(i, ipLen int) {
	tcp := m.head[i][packet.Headroom-m.headLen+ipLen:]
	var payload []byte
	if v := &m.iov[i][1]; v.Base != nil {
		payload = unsafe.Slice(v.Base, int(v.Len))
	}
	finishTCP(tcp, payload)
}

// message describes packet i, with front bytes before its IP header.
func (m *packets) message(i, front int, name unsafe.Pointer, nameLen uint32) {
	b := m.head[i][packet.Headroom-m.headLen-front:]
	m.iov[i][0].Base = &b[0]
	m.iov[i][0].SetLen(len(b))
	m.msg[i] = mmsghdr{hdr: unix.Msghdr{Name: (*byte)(name), Namelen: nameLen, Iov: &m.iov[i][0]}}
	m.msg[i].hdr.SetIovlen(2)
}

// send hands everything to the kernel. If that takes only a part, the rest is
// dropped: a burst is never sent twice.
func (m *packets) send(fd int) unix.Errno {
	if fd < 0 {
		return unix.EAFNOSUPPORT
	}
	for sent := 0; sent < m.n; {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.msg[sent])),
			uintptr(m.n-sent), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0 && sent > 0:
			return unix.ENOBUFS
		case errno != 0:
			return errno
		default:
			sent += int(n)
		}
	}
	return 0
}

// spares keeps packets for reuse.
type spares struct{ Spares[packets] }

func (s *spares) give(m *packets) {
	clear(m.iov[:m.n])
	clear(m.msg[:m.n])
	s.Give(m)
}

// headerLengths finds the TCP header of a packet without IPv6 extensions.
func headerLengths(pkt []byte) (ipLen, tcpLen int, ok bool) {
	if len(pkt) < 40 {
		return 0, 0, false
	}
	switch pkt[0] >> 4 {
	case 4:
		ipLen = int(pkt[0]&15) * 4
		if ipLen < 20 || pkt[9] != unix.IPPROTO_TCP || binary.BigEndian.Uint16(pkt[6:])&0x3fff != 0 {
			return 0, 0, false
		}
	case 6:
		ipLen = 40
		if pkt[6] != unix.IPPROTO_TCP {
			return 0, 0, false
		}
	default:
		return 0, 0, false
	}
	if len(pkt) < ipLen+20 {
		return 0, 0, false
	}
	tcpLen = int(pkt[ipLen+12]>>4) * 4
	return ipLen, tcpLen, tcpLen >= 20 && len(pkt) >= ipLen+tcpLen
}
