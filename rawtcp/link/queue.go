package link

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// queue takes packets from a packet socket one system call each, which costs
// little for super-segments.
type queue struct {
	vnet  bool   // with vnet_hdr and link layer; else without both
	arena []byte // packets one behind the other
	from  unix.RawSockaddrLinklayer
}

// arenaLen holds a few super-segments, or a hundred packets and one.
const arenaLen = 5 * maxPacket

func openQueue(vnet bool) (int, *queue, error) {
	if vnet {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return -1, nil, err
		}
		if unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1) == nil {
			return fd, &queue{vnet: true, arena: make([]byte, arenaLen)}, nil
		}
		unix.Close(fd)
	}
	// The kind of socket that leaves the link layer out.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return fd, &queue{arena: make([]byte, arenaLen)}, err
}

func (q *queue) take(fd int, batch []Packet) []Packet {
	used := 0
	for tries := 0; tries < 2*maxBatch && len(batch) < maxBatch && len(q.arena)-used >= maxPacket; tries++ {
		b, errno := recvfrom(fd, q.arena[used:], &q.from)
		if errno == unix.EAGAIN {
			break
		}
		if errno != 0 {
			continue // a packet that cannot be described by a vnet_hdr; it is gone
		}
		segment := 0
		if q.vnet {
			if len(b) < vnetLen {
				continue
			}
			front := min(vnetLen+headerLen(q.from.Hatype, b[vnetLen:]), len(b))
			segment, b = segmentSize(b), b[front:]
		}
		if p, ok := parse(b, segment, originOf(&q.from)); ok {
			batch = append(batch, p)
			used += (packet.Headroom + len(b) + 63) &^ 63
		}
	}
	return batch
}

// headerLen is the length of the link-layer header of a received frame. The
// kernel has taken a VLAN tag off already; of stacked ones the inner remain.
// Links of other kinds have none that a packet socket shows; if one has, what
// follows does not parse as a TCP packet.
func headerLen(hatype uint16, frame []byte) int {
	if hatype != unix.ARPHRD_ETHER && hatype != unix.ARPHRD_LOOPBACK {
		return 0
	}
	n := etherLen
	for n+4 <= len(frame) {
		switch binary.BigEndian.Uint16(frame[n-2:]) {
		case unix.ETH_P_8021Q, unix.ETH_P_8021AD:
			n += 4
			continue
		}
		break
	}
	return n
}

// recvfrom takes one packet off the socket's queue, cut off at len(buf). It does
// not tell Go's scheduler: the call never waits.
func recvfrom(fd int, buf []byte, from *unix.RawSockaddrLinklayer) ([]byte, unix.Errno) {
	size := uint32(unix.SizeofSockaddrLinklayer)
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)),
			unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(from)), uintptr(unsafe.Pointer(&size)))
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return nil, errno
		}
		return buf[:n], 0
	}
}
