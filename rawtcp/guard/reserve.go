package guard

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Reservation holds a TCP port of this host, so that no other program gets it
// and the host's own tools show it as taken.
type Reservation struct {
	addr netip.AddrPort
	fd   int
}

// backlog is what the kernel's own listeners have by default; nothing ever
// arrives in it, since the guard drops what comes.
const backlog = 128

// Reserve binds addr in the network namespace of the calling thread. With
// listen the port shows up as listening; connections are never accepted. Port 0
// takes any free port. An unspecified IPv6 address takes the port for IPv4 too.
// The error says unix.EADDRINUSE if somebody else has the port.
func Reserve(addr netip.AddrPort, listen bool) (*Reservation, error) {
	a := addr.Addr().Unmap()
	if !a.IsValid() {
		return nil, fmt.Errorf("reserve port %d: no address", addr.Port())
	}
	family := unix.AF_INET
	if a.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil, fmt.Errorf("reserve %v: %w", addr, err)
	}
	r := &Reservation{fd: fd}
	if err := r.bind(a, addr.Port(), listen); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("reserve %v: %w", addr, err)
	}
	return r, nil
}

func (r *Reservation) bind(a netip.Addr, port uint16, listen bool) error {
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(port), Addr: addr4(a)}
	if a.Is6() {
		only := 1
		if a.IsUnspecified() {
			only = 0
		}
		if err := unix.SetsockoptInt(r.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return err
		}
		zone, err := zoneIndex(a.Zone())
		if err != nil {
			return err
		}
		sa = &unix.SockaddrInet6{Port: int(port), Addr: a.As16(), ZoneId: zone}
	}
	if listen {
		// A former process's connections in TIME_WAIT must not be in the way. A
		// port that is only bound stays exclusive without this.
		if err := unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
	}
	if err := unix.Bind(r.fd, sa); err != nil {
		return err
	}
	if listen {
		if err := unix.Listen(r.fd, backlog); err != nil {
			return err
		}
	}
	bound, err := unix.Getsockname(r.fd)
	if err != nil {
		return err
	}
	switch b := bound.(type) {
	case *unix.SockaddrInet4:
		r.addr = netip.AddrPortFrom(a, uint16(b.Port))
	case *unix.SockaddrInet6:
		r.addr = netip.AddrPortFrom(a, uint16(b.Port))
	}
	return nil
}

func addr4(a netip.Addr) (b [4]byte) {
	if a.Is4() {
		b = a.As4()
	}
	return b
}

func zoneIndex(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(zone)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, fmt.Errorf("interface %s: %w", zone, err)
	}
	return req.Uint32(), nil
}

// Addr is what was bound, with the actual port.
func (r *Reservation) Addr() netip.AddrPort { return r.addr }

// Port is the port held.
func (r *Reservation) Port() uint16 { return r.addr.Port() }

// Close gives the port back.
func (r *Reservation) Close() error { return unix.Close(r.fd) }
