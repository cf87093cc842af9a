package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ancillary is what the kernel says beside a received datagram: control
// messages as recvmsg(2) writes them, each a struct cmsghdr and its data in the
// host's byte order, padded to the size of a word.
type ancillary struct {
	local   netip.Addr // the address that it came to; invalid: not told
	unicast bool
	ifindex int // the interface that it came through; 0: not told
	segment int // bytes of each datagram but the last of a merged one; 0: single
}

// parse reads the control messages in b and says whether they are whole.
// Messages that we did not ask for are skipped.
func (a *ancillary) parse(b []byte) bool {
	*a = ancillary{}
	for len(b) >= unix.SizeofCmsghdr {
		size, level, kind := cmsgHeader(b)
		if size < uint64(unix.CmsgLen(0)) || size > uint64(len(b)) {
			return false
		}
		data := b[unix.CmsgLen(0):size]
		switch {
		case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO:
			if len(data) < unix.SizeofInet4Pktinfo {
				return false
			}
			a.ifindex = int(int32(binary.NativeEndian.Uint32(data)))
			a.local = netip.AddrFrom4([4]byte(data[4:8]))
			// Sent to a group or to everybody if that is not our own address.
			a.unicast = [4]byte(data[4:8]) == [4]byte(data[8:12])
		case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO:
			if len(data) < unix.SizeofInet6Pktinfo {
				return false
			}
			a.local = netip.AddrFrom16([16]byte(data[:16]))
			a.ifindex = int(int32(binary.NativeEndian.Uint32(data[16:])))
			a.unicast = !a.local.IsMulticast()
		case level == unix.SOL_UDP && kind == unix.UDP_GRO:
			if len(data) < 4 {
				return false
			}
			a.segment = max(int(int32(binary.NativeEndian.Uint32(data))), 0)
		}
		b = b[min(uint64(cmsgAlign(int(size))), uint64(len(b))):]
	}
	return true
}

// cmsgHeader reads a struct cmsghdr, whose length field is one word.
func cmsgHeader(b []byte) (size uint64, level, kind int32) {
	const word = unsafe.Sizeof(unix.Cmsghdr{}.Len)
	if word == 8 {
		size = binary.NativeEndian.Uint64(b)
	} else {
		size = uint64(binary.NativeEndian.Uint32(b))
	}
	return size, int32(binary.NativeEndian.Uint32(b[word:])), int32(binary.NativeEndian.Uint32(b[word+4:]))
}

func cmsgAlign(n int) int {
	const word = int(unsafe.Sizeof(unix.Cmsghdr{}.Len))
	return (n + word - 1) &^ (word - 1)
}

// controls is room for the control messages of one system call, either way: the
// packet's addresses, a segment size and a hop limit, on every platform.
type controls [16]uint64

func (c *controls) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(c)), len(c)*8)
}

// outgoing is what the kernel is told beside a datagram that is sent.
type outgoing struct {
	source  netip.Addr // invalid: the kernel's choice
	ifindex int        // 0: the kernel's choice
	segment int        // bytes of each datagram but the last; 0: there is one
	hops    uint8      // 0: as always
}

// put writes o's control messages into c, from the start, for a datagram of
// one family, and returns their length.
func (o *outgoing) put(c *controls, v6 bool) int {
	b := c.bytes()
	n := 0
	if v6 {
		data := putCmsg(b, &n, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
		if o.source.IsValid() {
			a := o.source.As16()
			copy(data, a[:])
		}
		binary.NativeEndian.PutUint32(data[16:], uint32(o.ifindex))
	} else {
		data := putCmsg(b, &n, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
		binary.NativeEndian.PutUint32(data, uint32(o.ifindex))
		if o.source.IsValid() {
			a := o.source.As4()
			copy(data[4:], a[:])
		}
	}
	if o.segment != 0 {
		data := putCmsg(b, &n, unix.SOL_UDP, unix.UDP_SEGMENT, 2)
		binary.NativeEndian.PutUint16(data, uint16(o.segment))
	}
	if o.hops != 0 {
		level, kind := int32(unix.IPPROTO_IP), int32(unix.IP_TTL)
		if v6 {
			level, kind = unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT
		}
		data := putCmsg(b, &n, level, kind, 4)
		binary.NativeEndian.PutUint32(data, uint32(o.hops))
	}
	return n
}

// putCmsg writes the header of a control message at offset *n, which it moves
// on, and returns its data, zeroed.
func putCmsg(b []byte, n *int, level, kind int32, size int) []byte {
	m := b[*n:][:unix.CmsgSpace(size)]
	clear(m)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&m[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(size))
	*n += len(m)
	return m[unix.CmsgLen(0):][:size]
}
