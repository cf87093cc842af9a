package link

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// queue takes packets from a packet socket one system call each, which costs
// little for super-segments. The socket is of the kind that leaves the link
// layer out, so nothing has to be known about links.
type queue struct {
	vnet  bool
	arena []byte // packets one behind the other
	from  unix.RawSockaddrLinklayer
}

// arenaLen holds a few super-segments, or a hundred packets and one.
const arenaLen = 5 * maxPacket

func openQueue(vnet bool) (int, *queue, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, nil, err
	}
	vnet = vnet && unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1) == nil
	return fd, &queue{vnet: vnet, arena: make([]byte, arenaLen)}, nil
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
			segment, b = segmentSize(b), b[vnetLen:]
		}
		if p, ok := parse(b, segment, int(q.from.Ifindex)); ok {
			batch = append(batch, p)
			used += (vnetLen + len(b) + 63) &^ 63
		}
	}
	return batch
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
