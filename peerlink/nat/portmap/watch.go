package portmap

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/openbmx/lightweight-tunnel/peerlink/nat/portmap/pcp"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
	"golang.org/x/sys/unix"
)

// announcePort is where PCP and NAT-PMP servers announce a restart, in
// multicast to all hosts (RFC 6887, 14.1; RFC 6886, 3.2.1).
const announcePort = 5350

// Watch watches this host's routes and addresses, and listens to routers. That
// another program took the port of the announcements, or may not join, is no
// failure: a restart is then noticed at the next renewal.
func (s *system) Watch(ctx context.Context, heard func(event)) (wait func(), err error) {
	watcher, err := link.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch the default route: %w", err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		defer watcher.Close()
		err := watcher.Watch(ctx, nil, nil, func(c link.Change) {
			if c.Routes {
				heard(event{})
			}
		})
		if err != nil {
			s.cfg.Log.Warn("changes of the default route are noticed late", "reason", err)
		}
	})
	if err := listen(ctx, &all, heard); err != nil {
		s.cfg.Log.Debug("restarts of the router are noticed late", "reason", err)
	}
	return all.Wait, nil
}

// listen receives announcements until ctx ends.
func listen(ctx context.Context, all *sync.WaitGroup, heard func(event)) error {
	share := func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { // other programs of this host listen too
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		})
	}
	config := net.ListenConfig{Control: share}
	conn, err := config.ListenPacket(ctx, "udp4", fmt.Sprintf("224.0.0.1:%d", announcePort))
	if err != nil {
		return fmt.Errorf("listen to announcements of the router: %w", err)
	}
	udp := conn.(*net.UDPConn)
	all.Go(func() {
		defer udp.Close()
		defer context.AfterFunc(ctx, func() { _ = udp.SetReadDeadline(time.Unix(1, 0)) })()
		buf := make([]byte, 2048)
		for {
			n, from, err := udp.ReadFromUDPAddrPort(buf)
			if err != nil { // also when ctx has ended
				return
			}
			if announces(buf[:n]) {
				heard(event{from: from.Addr().Unmap()})
			}
		}
	})
	return nil
}

// announces says whether a datagram is what a server sends to all when it starts:
// the answer to an ANNOUNCE that nobody asked (PCP), or to the question for the
// external address (NAT-PMP, 12 bytes: version 0, opcode 128, result, epoch,
// address).
func announces(b []byte) bool {
	if len(b) == 12 && b[0] == 0 && b[1] == 128 {
		return true
	}
	r, err := pcp.ParseResponse(b)
	return err == nil && r.Opcode == pcp.OpAnnounce
}

var _ network = (*system)(nil)
