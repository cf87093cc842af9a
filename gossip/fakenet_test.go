package gossip

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// fakeNet carries memberlist's packets and streams between nodes of one bubble.
// Unlike memberlist's own mock it never blocks toward a node that is gone.
type fakeNet struct {
	mu    sync.Mutex
	hosts map[netip.AddrPort]*fakeTransport
	delay time.Duration
	rng   *rand.Rand
	loss  float64                    // of packets
	cut   func(a, b netip.Addr) bool // nothing passes between them
	dials int                        // streams asked for
}

func newFakeNet() *fakeNet {
	return &fakeNet{hosts: make(map[netip.AddrPort]*fakeTransport), delay: 20 * time.Millisecond, rng: rand.New(rand.NewPCG(3, 4))}
}

// set changes the net while it runs.
func (n *fakeNet) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

// route is the host at to, if something from there arrives.
func (n *fakeNet) route(from, to netip.AddrPort) *fakeTransport {
	if n.cut != nil && n.cut(from.Addr(), to.Addr()) {
		return nil
	}
	return n.hosts[to]
}

type fakeTransport struct {
	net     *fakeNet
	place   netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
	ctx     context.Context
	cancel  context.CancelFunc
}

func (n *fakeNet) transport(place netip.AddrPort) (memberlist.Transport, error) {
	t := &fakeTransport{net: n, place: place, packets: make(chan *memberlist.Packet, 1024), streams: make(chan net.Conn, 64)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[place] != nil {
		return nil, fmt.Errorf("listen %s: address already in use", place)
	}
	n.hosts[place] = t
	return t, nil
}

func (t *fakeTransport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.place.Addr().AsSlice(), int(t.place.Port()), nil
}

func (t *fakeTransport) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	to := netip.MustParseAddrPort(addr)
	p := &memberlist.Packet{Buf: append([]byte(nil), b...), From: net.UDPAddrFromAddrPort(t.place), Timestamp: now.Add(t.net.delay)}
	time.AfterFunc(t.net.delay, func() {
		t.net.mu.Lock()
		defer t.net.mu.Unlock()
		if h := t.net.route(t.place, to); h != nil && t.net.rng.Float64() >= t.net.loss {
			select {
			case h.packets <- p:
			default:
			}
		}
	})
	return now, nil
}

func (t *fakeTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	to := netip.MustParseAddrPort(addr)
	t.net.mu.Lock()
	t.net.dials++
	h := t.net.route(t.place, to)
	t.net.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("%s does not answer", to)}
	if h == nil {
		select { // as a packet filter that drops
		case <-time.After(timeout):
		case <-t.ctx.Done():
		}
		return nil, refused
	}
	near, far := net.Pipe()
	select {
	case h.streams <- h.tie(far):
		return t.tie(near), nil
	default:
		return nil, refused
	}
}

func (t *fakeTransport) tie(c net.Conn) net.Conn {
	return &tiedConn{Conn: c, untie: context.AfterFunc(t.ctx, func() { c.Close() })}
}

func (t *fakeTransport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *fakeTransport) StreamCh() <-chan net.Conn           { return t.streams }

func (t *fakeTransport) Shutdown() error {
	t.cancel()
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	if t.net.hosts[t.place] == t {
		delete(t.net.hosts, t.place)
	}
	return nil
}
