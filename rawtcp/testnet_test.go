package rawtcp

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

// testNet joins hosts in memory, in virtual time. It watches every connection
// like a stateful middlebox and fails the test when one side sends beyond the
// other's window or acknowledges what was never sent.
type testNet struct {
	t     *testing.T
	delay time.Duration
	split bool // super-segments arrive as single segments

	mu    sync.Mutex
	hosts map[netip.Addr]*testWire
	drop  func(g *segment) bool
	hops  uint8                     // to live of the packet that drop is asked about
	alias map[netip.Addr]netip.Addr // other names of hosts, see carry
	nat   func(pkt []byte) bool     // rewrites packets, says whether they pass
	seen  []segment                 // everything sent, payload cut to its length only
	sides map[tuple]*testSide
}

// testSide is what a middlebox knows of one direction of a connection.
type testSide struct {
	scale uint8
	end   uint32 // highest sequence number sent
	edge  uint32 // highest that the other side allowed
	known bool
}

func newTestNet(t *testing.T) *testNet {
	return &testNet{t: t, delay: time.Millisecond, hosts: map[netip.Addr]*testWire{}, sides: map[tuple]*testSide{}}
}

func (n *testNet) host(addrs ...string) *testWire {
	w := &testWire{net: n, in: make(chan link.Packet, 4096), done: make(chan struct{}), woken: make(chan struct{}, 1), mtu: 1500, next: 40000, ports: map[uint16]bool{}}
	for _, a := range addrs {
		w.addrs = append(w.addrs, netip.MustParseAddr(a))
		n.hosts[netip.MustParseAddr(a)] = w
	}
	return w
}

// transport starts a Transport on w, with its actor and its pump, and ends all
// of it with the test.
func (n *testNet) transport(w *testWire, cfg Config) (*Transport, chan packet.Arrivals) {
	tr, err := newTransport(cfg, w, testProfile())
	if err != nil {
		n.t.Fatal(err)
	}
	arrived := make(chan packet.Arrivals, 4096)
	ended := make(chan struct{}, 2)
	go func() {
		defer func() { ended <- struct{}{} }()
		if err := tr.Run(context.Background()); err != nil {
			n.t.Error(err)
		}
	}()
	go func() {
		defer func() { ended <- struct{}{} }()
		for {
			got, err := tr.Receive()
			if err != nil {
				return
			}
			own := make(packet.Arrivals, len(got))
			for i, a := range got {
				own[i] = packet.Arrival{Data: append([]byte(nil), a.Data...), Path: a.Path}
			}
			arrived <- own
		}
	}()
	n.t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			n.t.Error(err)
		}
		<-ended
		<-ended
	})
	return tr, arrived
}

func testProfile() *profile {
	return &profile{ttl: 64, hopLimit: 64, stamps: true, stampOffset: true, sack: true, wscale: 10,
		space: 65536, ceiling: 32 << 20, flowLabels: true, synRetries: 6, synLinear: 4, ackRetries: 5}
}

func (n *testNet) carry(pkt []byte, size int) {
	var g segment
	if !g.parse(pkt) {
		n.t.Errorf("sent what cannot be read: %x", pkt)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if real, ok := n.alias[g.tuple.localAddr()]; ok { // as a router does for those inside who use its outer address
		pkt = n.translate(pkt, &g, real)
	} else {
		n.watch(&g)
	}
	n.seen = append(n.seen, g)
	if n.nat != nil && (!n.nat(pkt) || !g.parse(pkt)) {
		return
	}
	n.hops = pkt[8]
	if g.v6 {
		n.hops = pkt[7]
	}
	if n.drop != nil && n.drop(&g) {
		return
	}
	to := n.hosts[g.tuple.localAddr()]
	if to == nil {
		return
	}
	pieces := [][]byte{pkt}
	if n.split && size > 0 {
		pieces = splitSegments(pkt, len(pkt)-len(g.payload), size)
		size = 0
	}
	time.AfterFunc(n.delay, func() {
		for _, p := range pieces {
			to.arrive(p, size)
		}
	})
}

// translate gives an IPv4 packet to another name of real the sender's other name.
func (n *testNet) translate(pkt []byte, g *segment, real netip.Addr) []byte {
	for other, host := range n.alias {
		if host == g.tuple.remoteAddr() {
			copy(pkt[12:16], other.AsSlice())
		}
	}
	copy(pkt[16:20], real.AsSlice())
	g.parse(pkt)
	return pkt
}

// watch judges a segment as it is sent.
func (n *testNet) watch(g *segment) {
	back := tuple{local: g.tuple.remote, remote: g.tuple.local, localPort: g.tuple.remotePort, remotePort: g.tuple.localPort}
	if g.has(flagRST) {
		return
	}
	if n.sides[g.tuple] == nil {
		n.sides[g.tuple], n.sides[back] = &testSide{}, &testSide{}
	}
	from, to := n.sides[back], n.sides[g.tuple] // keyed by their own local end
	end := g.seq + uint32(len(g.payload))
	if g.has(flagSYN) {
		end++
		from.end, from.scale, from.known = end, uint8(max(g.opts.wscale, 0)), true
		if g.has(flagACK) && g.opts.wscale < 0 {
			to.scale = 0
		}
	}
	if g.has(flagFIN) {
		end++
	}
	if !g.has(flagACK) || !to.known {
		return
	}
	scale := from.scale
	if g.has(flagSYN) {
		scale = 0
	}
	if to.edge == 0 || before(to.edge, g.ack+uint32(g.window)<<scale) {
		to.edge = g.ack + uint32(g.window)<<scale
	}
	if before(to.end, g.ack) {
		n.t.Errorf("%v acknowledges %d, %d bytes more than was sent", g.tuple.remoteAddrPort(), g.ack, g.ack-to.end)
	}
	if from.edge != 0 && before(from.edge, end) && !g.has(flagFIN) {
		n.t.Errorf("%v sends %d bytes beyond the window", g.tuple.remoteAddrPort(), end-from.edge)
	}
	raise32(&from.end, end)
}

func raise32(v *uint32, n uint32) {
	if before(*v, n) {
		*v = n
	}
}

func splitSegments(pkt []byte, head, size int) (out [][]byte) {
	ip := ip4Len
	if pkt[0]>>4 == 6 {
		ip = ip6Len
	}
	for off := head; off < len(pkt); off += size {
		end := min(off+size, len(pkt))
		p := append(append([]byte(nil), pkt[:head]...), pkt[off:end]...)
		if ip == ip4Len {
			binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		} else {
			binary.BigEndian.PutUint16(p[4:], uint16(len(p)-ip6Len))
		}
		seq := binary.BigEndian.Uint32(p[ip+4:]) + uint32(off-head)
		binary.BigEndian.PutUint32(p[ip+4:], seq)
		out = append(out, p)
	}
	return out
}

// sent returns the segments sent so far that have exactly these flags.
func (n *testNet) sent(flags uint8) (out []segment) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, g := range n.seen {
		if g.flags == flags {
			out = append(out, g)
		}
	}
	return out
}

func (n *testNet) dropping(f func(g *segment) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop = f
}

// testWire is one host of a testNet.
type testWire struct {
	net   *testNet
	addrs []netip.Addr
	mtu   int
	in    chan link.Packet
	done  chan struct{}
	woken chan struct{}
	next  uint16

	mu       sync.Mutex
	ports    map[uint16]bool
	answered int
	lookups  int
	changed  []func()
}

func (w *testWire) arrive(p []byte, size int) {
	w.mu.Lock()
	port := binary.BigEndian.Uint16(p[map[byte]int{4: ip4Len, 6: ip6Len}[p[0]>>4]+2:])
	wanted := w.ports[port]
	w.mu.Unlock()
	if !wanted {
		return
	}
	select {
	case w.in <- link.Packet{IP: p, SegmentSize: size}:
	case <-w.done:
	default:
	}
}

type testHop struct {
	w  *testWire
	v6 bool
}

func (h testHop) Source() netip.Addr {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	for _, a := range h.w.addrs {
		if a.Is6() == h.v6 {
			return a
		}
	}
	return netip.Addr{}
}
func (h testHop) MTU() int                      { return h.w.mtu }
func (h testHop) Ready() bool                   { return true }
func (h testHop) Mode() string                  { return "memory" }
func (h testHop) OnChange(f func()) func()      { h.w.changed = append(h.w.changed, f); return func() {} }
func (w *testWire) run(c context.Context) error { <-c.Done(); return nil }

func (w *testWire) lookup(_, dst netip.Addr) (hop, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookups++
	return testHop{w, dst.Is6()}, nil
}

func (w *testWire) send(_ hop, t *packet.Train, ip, tcp int) error {
	size := 0
	if t.Len() > 1 {
		size = t.SlotSize()
	}
	w.net.carry(append([]byte(nil), t.Frame(ip+tcp)...), size)
	return nil
}

func (w *testWire) sendPacket(_ hop, pkt []byte) error {
	w.net.carry(append([]byte(nil), pkt...), 0)
	return nil
}

func (w *testWire) answer(_ link.Origin, pkt []byte) error {
	w.mu.Lock()
	w.answered++
	w.mu.Unlock()
	return w.sendPacket(nil, pkt)
}

func (w *testWire) receive() ([]link.Packet, error) {
	select {
	case p := <-w.in:
		out := []link.Packet{p}
		for len(out) < 64 {
			select {
			case p := <-w.in:
				out = append(out, p)
				continue
			default:
			}
			break
		}
		return out, nil
	case <-w.woken:
		return nil, nil
	case <-w.done:
		return nil, net.ErrClosed
	}
}

func (w *testWire) wake() { w.woken <- struct{}{} }

func (w *testWire) setPorts(ports []uint16) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ports = map[uint16]bool{}
	for _, p := range ports {
		w.ports[p] = true
	}
	return nil
}

// held is the number of ports that are received here.
func (w *testWire) held() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.ports)
}

type testPort uint16

func (p testPort) Port() uint16 { return uint16(p) }
func (p testPort) Close() error { return nil }

func (w *testWire) reserve(addr netip.AddrPort, _ bool) (reservation, error) {
	if addr.Port() == 1 {
		return nil, fmt.Errorf("bind: %w", syscall.EADDRINUSE)
	}
	if addr.Port() != 0 {
		return testPort(addr.Port()), nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	return testPort(w.next), nil
}

func (w *testWire) isLocal(addr netip.Addr) bool {
	for _, a := range w.addrs {
		if a == addr {
			return true
		}
	}
	return false
}

func (w *testWire) refresh()                             {}
func (w *testWire) describe() (string, string, []string) { return "none", "memory", nil }
func (w *testWire) close() error                         { close(w.done); return nil }
