package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sys/unix"
)

// netTransport is memberlist's transport over the kernel's UDP and TCP, bound to
// one address and to the tunnel's device: gossip can neither leave through
// another interface nor be reached through one. It differs from memberlist's own
// by that, by reading into one buffer instead of 64 KiB for each packet, and by
// closing its connections when it is shut down.
type netTransport struct {
	place   netip.AddrPort
	udp     *net.UDPConn
	tcp     net.Listener
	dialer  net.Dialer
	packets chan *memberlist.Packet
	streams chan net.Conn
	ctx     context.Context // ends with Shutdown
	cancel  context.CancelFunc
	loops   sync.WaitGroup
}

// newNetTransport binds place on device (empty: any device). The address need
// not be on the host yet, as the device may still be coming up.
func newNetTransport(place netip.AddrPort, device string) (*netTransport, error) {
	t := &netTransport{place: place, packets: make(chan *memberlist.Packet), streams: make(chan net.Conn)}
	control := func(network, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = prepareSocket(int(fd), network, device) }); e != nil {
			return e
		}
		return err
	}
	listen := net.ListenConfig{Control: control}
	family := "4"
	if place.Addr().Is6() {
		family = "6"
	}
	tcp, err := listen.Listen(context.Background(), "tcp"+family, place.String())
	if err != nil {
		return nil, fmt.Errorf("gossip listens on %s (device %q): %w", place, device, err)
	}
	t.place = tcp.Addr().(*net.TCPAddr).AddrPort() // with port 0: the one that was chosen
	udp, err := listen.ListenPacket(context.Background(), "udp"+family, t.place.String())
	if err != nil {
		tcp.Close()
		return nil, fmt.Errorf("gossip listens on %s (device %q): %w", t.place, device, err)
	}
	t.tcp, t.udp = tcp, udp.(*net.UDPConn)
	t.dialer = net.Dialer{Control: control, LocalAddr: &net.TCPAddr{IP: place.Addr().AsSlice()}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.loops.Go(t.receive)
	t.loops.Go(t.accept)
	return t, nil
}

func prepareSocket(fd int, network, device string) error {
	if device != "" {
		if err := unix.BindToDevice(fd, device); err != nil {
			return fmt.Errorf("bind to device %s: %w", device, err)
		}
	}
	// Allows binding while IPv6 still probes the address for duplicates. A
	// kernel without it will say so by bind itself.
	if network == "tcp6" || network == "udp6" {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
	} else {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
	}
	return nil
}

func (t *netTransport) receive() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := t.udp.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil || n == 0:
			// ICMP errors of datagrams sent before: memberlist's probes find
			// out by themselves.
			if t.ctx.Err() != nil {
				return
			}
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: net.UDPAddrFromAddrPort(from), Timestamp: time.Now()}
		select {
		case t.packets <- p:
		case <-t.ctx.Done():
			return
		}
	}
}

func (t *netTransport) accept() {
	const pause = 100 * time.Millisecond // out of file descriptors: do not spin
	for {
		conn, err := t.tcp.Accept()
		if err != nil {
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(pause):
				continue
			}
		}
		select {
		case t.streams <- t.tie(conn):
		case <-t.ctx.Done():
			conn.Close()
			return
		}
	}
}

// tie makes conn end with the transport.
func (t *netTransport) tie(conn net.Conn) net.Conn {
	return &tiedConn{Conn: conn, untie: context.AfterFunc(t.ctx, func() { conn.Close() })}
}

type tiedConn struct {
	net.Conn
	untie func() bool
}

func (c *tiedConn) Close() error {
	c.untie()
	return c.Conn.Close()
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (t *netTransport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IP(t.place.Addr().AsSlice()), int(t.place.Port()), nil
}

// WriteTo implements memberlist.Transport.
func (t *netTransport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("gossip sends to %q: %w", addr, err)
	}
	_, err = t.udp.WriteToUDPAddrPort(b, to)
	return time.Now(), err
}

// PacketCh implements memberlist.Transport.
func (t *netTransport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// DialTimeout implements memberlist.Transport.
func (t *netTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	conn, err := t.dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return t.tie(conn), nil
}

// StreamCh implements memberlist.Transport.
func (t *netTransport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown implements memberlist.Transport: nothing is left open behind it.
func (t *netTransport) Shutdown() error {
	t.cancel()
	t.tcp.Close()
	t.udp.Close()
	t.loops.Wait()
	return nil
}
