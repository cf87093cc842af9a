package portmap

import (
	"context"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// system is the network of this host. Its sockets belong to the network
// namespace of the thread that calls its methods.
type system struct {
	cfg    *Config
	nonces nonces
}

// Gateway returns the next hop of the default route.
func (s *system) Gateway() (Gateway, error) { return defaultGateway(s.cfg.ExcludeInterfaces) }

// Speakers asks for one protocol after the other. Only the search for UPnP
// devices, to which they may take a second to answer, is begun at once.
func (s *system) Speakers(ctx context.Context, gw Gateway) iter.Seq2[speaker, error] {
	return func(yield func(speaker, error) bool) {
		search := &search{gw: gw}
		defer search.close()
		for _, p := range s.cfg.Protocols {
			if p == UPnP {
				search.begin(ctx)
			}
		}
		for _, p := range s.cfg.Protocols {
			var found speaker
			var err error
			switch p {
			case PCP:
				found, err = findPCP(ctx, gw, s.cfg, s.nonces)
			case NATPMP:
				found, err = findNATPMP(ctx, gw, s.cfg)
			case UPnP:
				found, err = findUPnP(ctx, search, s.cfg)
			}
			if err != nil {
				found, err = nil, fmt.Errorf("%s: %w", p, err)
			}
			if !yield(found, err) || ctx.Err() != nil {
				return
			}
		}
	}
}

// dial opens a socket to a port of the router, from the address and through the
// interface of the default route.
func (g Gateway) dial(ctx context.Context, network string, port uint16) (net.Conn, error) {
	d := net.Dialer{Control: g.bind}
	if network == "udp4" {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(g.Source, 0))
	} else {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(g.Source, 0))
	}
	return d.DialContext(ctx, network, netip.AddrPortFrom(g.Address, port).String())
}

// bind holds a socket to the interface, also when the routes say otherwise. A
// kernel or a user that may not bind (before Linux 5.7 it took a privilege) goes
// by the routes.
func (g Gateway) bind(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = unix.BindToDevice(int(fd), g.Interface)
		// Multicast leaves by this interface even if the binding was refused.
		_ = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(g.Index)})
	})
}
