package simnet

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

// Messages and streams that wait for memberlist; what comes besides is lost.
const (
	gossipPackets = 1024
	gossipStreams = 128
)

// GossipTransport is a memberlist.Transport on an [Overlay]. Sending never
// waits, also not for a node that is gone: as with UDP the packet is lost.
// Dialing one takes as long as its timeout allows.
//
// At the end of a bubble let some virtual time pass after memberlist's Shutdown:
// its probes end only with their deadlines, and a bubble whose main goroutine
// has returned stands still.
type GossipTransport struct {
	overlay *Overlay
	addr    netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{} // closed when the transport ends
	once    sync.Once

	mu    sync.Mutex
	ended bool
	conns map[*gossipConn]struct{}
}

var _ memberlist.Transport = (*GossipTransport)(nil)

func newGossipTransport(o *Overlay, addr netip.AddrPort) *GossipTransport {
	return &GossipTransport{
		overlay: o, addr: addr, done: make(chan struct{}), conns: map[*gossipConn]struct{}{},
		packets: make(chan *memberlist.Packet, gossipPackets), streams: make(chan net.Conn, gossipStreams),
	}
}

// FinalAdvertiseAddr says where the node is; what memberlist was configured with
// does not matter.
func (t *GossipTransport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.addr.Addr().AsSlice(), int(t.addr.Port()), nil
}

// WriteTo sends b to "ADDR:PORT" and does not wait. A destination that does not
// parse is an error, one that is not there is none.
func (t *GossipTransport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("gossip to %q: %w", addr, err)
	}
	t.overlay.carry(t, to.Addr().Unmap(), b)
	return time.Now(), nil
}

// deliver is called with the overlay locked.
func (t *GossipTransport) deliver(b []byte, from *GossipTransport) {
	p := &memberlist.Packet{Buf: b, From: net.UDPAddrFromAddrPort(from.addr), Timestamp: time.Now()}
	select {
	case t.packets <- p:
	default:
	}
}

// PacketCh is where packets arrive.
func (t *GossipTransport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh is where streams arrive.
func (t *GossipTransport) StreamCh() <-chan net.Conn { return t.streams }

// DialTimeout opens a stream. To a node that is not there, or not reachable, it
// fails after timeout (os.ErrDeadlineExceeded); it fails with net.ErrClosed when
// the transport ends.
func (t *GossipTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dial %q: %w", addr, err)
	}
	there := to.Addr().Unmap()
	wait, reachable := 2*t.overlay.delay(), t.overlay.connected(t.addr.Addr(), there)
	if !reachable || wait > timeout {
		wait = timeout
	}
	select {
	case <-time.After(wait):
	case <-t.done:
		return nil, fmt.Errorf("dial %s: %w", addr, net.ErrClosed)
	}
	t.overlay.mu.Lock()
	remote := t.overlay.nodes[there]
	t.overlay.mu.Unlock()
	if !reachable || remote == nil || wait == timeout {
		return nil, fmt.Errorf("dial %s: %w", addr, os.ErrDeadlineExceeded)
	}
	near, far := connect(t, remote)
	select {
	case remote.streams <- far:
		return near, nil
	default:
		near.Close()
		far.Close()
		return nil, fmt.Errorf("dial %s: %w", addr, syscall.ECONNREFUSED)
	}
}

// Shutdown takes the node off the overlay. It can be called again.
func (t *GossipTransport) Shutdown() error {
	t.overlay.mu.Lock()
	if t.overlay.nodes[t.addr.Addr()] == t {
		t.overlay.nodes[t.addr.Addr()] = nil
	}
	t.overlay.mu.Unlock()
	t.stop()
	return nil
}

// stop ends all that could wait in this transport.
func (t *GossipTransport) stop() {
	t.once.Do(func() { close(t.done) })
	t.mu.Lock()
	t.ended = true
	conns := t.conns
	t.conns = nil
	t.mu.Unlock()
	for c := range conns {
		c.Conn.Close()
	}
}
