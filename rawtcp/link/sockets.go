package link

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockets are the ways out. A descriptor of -1 is a way that does not exist here.
type sockets struct {
	ether int  // packet socket for links of which we write the header
	vnet  bool // it takes a vnet_hdr
	// bare is the packet socket for links without a header. Only a socket that
	// leaves the header to the kernel gets the offset of the network header right
	// on all of them (PPP reserves room for one); it takes no vnet_hdr.
	bare int
	raw4 int // raw sockets that take a whole IP packet
	raw6 int
}

func openSockets(opts Options) (s sockets, err error) {
	s = sockets{ether: -1, bare: -1, raw4: -1, raw6: -1}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.raw4, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
		return s, fmt.Errorf("open raw socket: %w (root or CAP_NET_RAW is needed)", err)
	}
	// IPPROTO_RAW implies that we bring the IP header. A kernel without IPv6 has no such socket.
	if s.raw6, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
		s.raw6, err = -1, nil
	}
	if !opts.NoPacketSocket {
		s.openPacket(opts)
	}
	for _, fd := range s.all() {
		if fd < 0 {
			continue
		}
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, opts.SendBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, opts.SendBuffer)
		}
		if fd == s.raw4 || fd == s.raw6 {
			// They would queue a copy of every packet of that protocol.
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0)
		}
	}
	return s, nil
}

// openPacket opens the packet sockets. Protocol 0: they receive nothing.
func (s *sockets) openPacket(opts Options) {
	var err error
	if s.ether, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		opts.Log.Info("no packet socket, using raw sockets", "reason", err)
		s.ether = -1
		return
	}
	if s.bare, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		unix.Close(s.ether)
		s.ether, s.bare = -1, -1
		return
	}
	if err := unix.SetsockoptInt(s.ether, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		opts.Log.Info("packet sockets take no offload header, sending single packets", "reason", err)
		return
	}
	s.vnet = true
}

func (s *sockets) all() [4]int { return [4]int{s.ether, s.bare, s.raw4, s.raw6} }

// of is the packet socket for the kind of link that the hop is on.
func (s *sockets) of(h *hop) int {
	if h.dev.kind == linkEther {
		return s.ether
	}
	return s.bare
}

// disarm ends the sockets but keeps their numbers taken, so that a send that is
// under way cannot hit a descriptor that means something else by now.
func (s *sockets) disarm() {
	inert, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	for _, fd := range s.all() {
		if fd >= 0 {
			_ = unix.Dup3(inert, fd, unix.O_CLOEXEC)
		}
	}
	unix.Close(inert)
}

// release closes the descriptors.
func (s sockets) release() {
	for _, fd := range s.all() {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// sendto sends one frame. It does not tell Go's scheduler: the call never waits.
func sendto(fd int, frame []byte, to *unix.RawSockaddrLinklayer) unix.Errno {
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&frame[0])), uintptr(len(frame)),
			unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(to)), unix.SizeofSockaddrLinklayer)
		if errno != unix.EINTR {
			return errno
		}
	}
}

// Sizes of the control messages that name an interface: struct in_pktinfo is 12
// bytes, struct in6_pktinfo 20.
var (
	cmsgSpace4 = unix.CmsgSpace(12)
	cmsgSpace6 = unix.CmsgSpace(20)
)

// cmsgSpace holds the larger of the two on every platform.
const cmsgSpace = 40

func putPktinfo4(c *[cmsgSpace / 8]uint64, index int) {
	data := putCmsg(c, unix.IPPROTO_IP, unix.IP_PKTINFO, 12)
	binary.NativeEndian.PutUint32(data, uint32(index))
}

func putPktinfo6(c *[cmsgSpace / 8]uint64, index int) {
	data := putCmsg(c, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, 20)
	binary.NativeEndian.PutUint32(data[16:], uint32(index))
}

// putCmsg writes the header of a control message and returns its data, zeroed.
func putCmsg(c *[cmsgSpace / 8]uint64, level, kind int32, size int) []byte {
	clear(c[:])
	h := (*unix.Cmsghdr)(unsafe.Pointer(c))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(size))
	return unsafe.Slice((*byte)(unsafe.Pointer(c)), cmsgSpace)[unix.CmsgLen(0):][:size]
}
