package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

// socket is one UDP socket of one family. Its descriptor is used only between
// enter and leave, and closed by the last to leave: a number that means
// something else by now is never written to.
type socket struct {
	socketID
	fd    int
	port  uint16
	bound netip.Addr // invalid: any of the host's addresses

	users    atomic.Int32 // one for being open, and one for each system call under way
	shut     atomic.Bool
	adopted  atomic.Int32 // paths; may be one too high for a moment
	released atomic.Bool  // to be closed with the last adopted path

	sent    atomic.Uint64   // bytes, see link.SendQueue
	refused atomic.Uint64   // bursts for which there was no room
	queue   *link.SendQueue // of the governor
}

// socketID is a [packet.Socket] in one of the families that it serves.
type socketID struct {
	number packet.Socket
	v6     bool
}

// enter says whether the descriptor may be used, until leave.
func (s *socket) enter() bool {
	for !s.shut.Load() {
		n := s.users.Load()
		if n == 0 {
			break
		}
		if s.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

func (s *socket) leave() {
	if s.users.Add(-1) == 0 {
		unix.Close(s.fd)
	}
}

// close ends the socket; the first call does.
func (s *socket) close() {
	if !s.shut.Swap(true) {
		s.leave()
	}
}

// openSocket opens a socket bound to addr. It is in no epoll set yet.
func openSocket(id socketID, addr netip.AddrPort, cfg *Config) (*socket, error) {
	family := unix.AF_INET
	if id.v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open UDP socket: %w", err)
	}
	s := &socket{socketID: id, fd: fd, queue: link.NewSendQueue(cfg.SendBuffer)}
	s.users.Store(1)
	if err := s.configure(cfg); err != nil {
		s.close()
		return nil, err
	}
	if err := unix.Bind(fd, sockaddr(addr)); err != nil {
		s.close()
		return nil, fmt.Errorf("bind UDP socket to %v: %w", addr, err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		s.close()
		return nil, fmt.Errorf("UDP socket %v: %w", addr, err)
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		s.port = uint16(name.Port)
	case *unix.SockaddrInet6:
		s.port = uint16(name.Port)
	}
	if !addr.Addr().IsUnspecified() {
		s.bound = addr.Addr()
	}
	return s, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	b := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		if n, err := strconv.Atoi(zone); err == nil {
			b.ZoneId = uint32(n)
		} else if i, err := net.InterfaceByName(zone); err == nil {
			b.ZoneId = uint32(i.Index)
		}
	}
	return b
}

type option struct{ level, name, value int }

func (s *socket) configure(cfg *Config) error {
	must := []option{
		// DF on every packet, and no size but the interface's: others search the path MTU.
		{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
		{unix.IPPROTO_IP, unix.IP_PKTINFO, 1},
	}
	if s.v6 {
		must = []option{
			{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
			{unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1},
		}
	}
	for _, o := range must {
		if err := unix.SetsockoptInt(s.fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("UDP socket: option %d of level %d: %w", o.name, o.level, err)
		}
	}
	for _, b := range []struct{ force, polite, size int }{
		{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, cfg.ReceiveBuffer},
		{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, cfg.SendBuffer},
	} {
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, b.force, b.size) != nil {
			_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, b.polite, b.size) // the default must do
		}
	}
	if !cfg.NoGRO {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_GRO, 1) // else the kernel cuts them
	}
	return nil
}

// merges says whether merged datagrams are received whole.
func (s *socket) merges() bool {
	v, err := unix.GetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_GRO)
	return err == nil && v != 0
}

// segments says whether the kernel knows UDP_SEGMENT.
func (s *socket) segments() bool {
	_, err := unix.GetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	return err == nil
}

// overruns counts the datagrams that the kernel threw away because nobody
// received them in time. Kernels that do not tell count zero.
func (s *socket) overruns() uint64 {
	const drops = 8 // index of SK_MEMINFO_DROPS
	if !s.enter() {
		return 0
	}
	defer s.leave()
	var info [16]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || size < 4*(drops+1) {
		return 0
	}
	return uint64(info[drops])
}

// missingFamily says whether an error means that the host lacks a family.
func missingFamily(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EPROTONOSUPPORT)
}
