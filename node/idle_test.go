package node

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/openbmx/lightweight-tunnel/node/simnet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// gossipPort is where gossip listens inside the tunnel.
const gossipPort = 7946

// tunnelledGossip carries memberlist's packets through the node itself, as on a
// machine, so that gossip makes links and pays for them. Its streams go beside,
// but for each of their segments, and each acknowledgement, a packet of that size
// goes through the node.
type tunnelledGossip struct {
	*simnet.GossipTransport
	kernel  *kernel
	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	end     func()
	sent    gossipSent
}

// gossipSent counts what memberlist made its node put on the wire.
type gossipSent struct{ packets, bytes atomic.Int64 }

// Sizes of TCP inside the tunnel: payload of a full segment, and headers.
const (
	innerSegment = 1200
	innerHeaders = 20 + 32 - 28 // beyond those of the UDP packet that stands for it
)

func newTunnelledGossip(t *simnet.GossipTransport, k *kernel) *tunnelledGossip {
	g := &tunnelledGossip{
		GossipTransport: t, kernel: k, packets: make(chan *memberlist.Packet, 1024),
		streams: make(chan net.Conn, 128), done: make(chan struct{}),
	}
	g.end = sync.OnceFunc(func() { close(g.done) })
	k.mu.Lock()
	k.gossip = g.take
	k.gossipSent = func() [2]int64 { return [2]int64{g.sent.packets.Load(), g.sent.bytes.Load()} }
	k.mu.Unlock()
	go func() {
		for {
			select {
			case c := <-t.StreamCh():
				g.streams <- g.stream(c)
			case <-g.done:
				return
			}
		}
	}()
	return g
}

// take is called with the kernel locked.
func (g *tunnelledGossip) take(p ipPacket) {
	body := p.body[8:]
	if len(body) == 0 || body[0] == standIn {
		return
	}
	select {
	case g.packets <- &memberlist.Packet{
		Buf: append([]byte(nil), body[1:]...), Timestamp: time.Now(),
		From: net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.src, gossipPort)),
	}:
	default:
	}
}

const (
	standIn = iota
	real
)

func (g *tunnelledGossip) send(to netip.AddrPort, kind byte, b []byte) {
	from := netip.AddrPortFrom(g.kernel.own[0], gossipPort)
	g.sent.packets.Add(1)
	g.sent.bytes.Add(int64(28 + 1 + len(b) + wire.Overhead + wire.RelayOverhead + outerHeaders))
	g.kernel.tun.Inject(simnet.UDP(from, to, append([]byte{kind}, b...)))
}

func (g *tunnelledGossip) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("gossip to %q: %w", addr, err)
	}
	g.send(to, real, b)
	return time.Now(), nil
}

func (g *tunnelledGossip) PacketCh() <-chan *memberlist.Packet { return g.packets }
func (g *tunnelledGossip) StreamCh() <-chan net.Conn           { return g.streams }

func (g *tunnelledGossip) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	c, err := g.GossipTransport.DialTimeout(addr, timeout)
	if err != nil {
		return nil, err
	}
	s := g.stream(c)
	s.segments(innerHeaders, innerHeaders) // SYN, ACK; the other side's SYN-ACK
	return s, nil
}

func (g *tunnelledGossip) Shutdown() error {
	g.end()
	return g.GossipTransport.Shutdown()
}

func (g *tunnelledGossip) stream(c net.Conn) *tunnelledStream {
	to, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	s := &tunnelledStream{Conn: c, gossip: g, to: netip.AddrPortFrom(to.Addr().Unmap(), gossipPort)}
	s.segments(innerHeaders)
	return s
}

// tunnelledStream is one end of a stream.
type tunnelledStream struct {
	net.Conn
	gossip *tunnelledGossip
	to     netip.AddrPort
}

func (s *tunnelledStream) segments(sizes ...int) {
	for _, n := range sizes {
		s.gossip.send(s.to, standIn, make([]byte, n-1))
	}
}

func (s *tunnelledStream) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	for left := n; left > 0; left -= innerSegment {
		s.segments(innerHeaders + min(left, innerSegment))
	}
	return n, err
}

func (s *tunnelledStream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	for left := n; left > 0; left -= 2 * innerSegment {
		s.segments(innerHeaders) // an ACK
	}
	return n, err
}

func (s *tunnelledStream) Close() error {
	s.segments(innerHeaders) // FIN
	return s.Conn.Close()
}

// outerHeaders is what stands in a packet of the fake TCP beside the datagram:
// IPv4, TCP with timestamps, and the head of the record.
const outerHeaders = 20 + 32 + 5

// sentBy counts what hosts put on the wire.
type sentBy struct {
	mu      sync.Mutex
	packets map[netip.Addr]int
	bytes   map[netip.Addr]int
}

func countSent(n *simnet.Net) *sentBy {
	c := &sentBy{packets: map[netip.Addr]int{}, bytes: map[netip.Addr]int{}}
	n.Tap(func(src, _ netip.AddrPort, b []byte) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.packets[src.Addr()]++
		c.bytes[src.Addr()] += outerHeaders + len(b)
	})
	return c
}

func (c *sentBy) rate(of netip.Addr, over time.Duration) rate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return rateOf(int64(c.packets[of]), int64(c.bytes[of]), over)
}

func TestAMeshOfFiftyNodesIsQuietWhenIdle(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("a long time in a large mesh: make test runs it without the race detector")
	}
	inMesh(t, func(t *testing.T, m *mesh) {
		inside := func(s *station) {
			s.tunnelled = true
			throughNATs(s)
		}
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24", inside)
		sites := m.sites(49, inside)
		m.pass(2 * time.Minute)
		gossipBefore := make([][2]int64, len(sites))
		for i, s := range sites {
			gossipBefore[i] = s.gossipSent()
		}
		counted := countSent(m.net)
		const idle = 10 * time.Minute // in which all keys end, and are made again where gossip wants it
		m.pass(idle)
		m.net.Tap(nil)
		var all, links rate
		var most rate
		for i, s := range sites {
			total := counted.rate(netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", i+2)), idle)
			now := s.gossipSent()
			gossip := rateOf(now[0]-gossipBefore[i][0], now[1]-gossipBefore[i][1], idle)
			all, links = all.plus(total, len(sites)), links.plus(total.less(gossip), len(sites))
			most.packets, most.kbits = max(most.packets, total.packets-gossip.packets), max(most.kbits, total.kbits-gossip.kbits)
		}
		t.Logf("a site sends %v, of which its links say %v (at most %v), the rest is gossip; the seed, which relays all of it, %v",
			all, links, most, counted.rate(seed.host.Addr(), idle))
		if links.packets > 1.5 || links.kbits > 1.5 || most.packets > 3 || most.kbits > 4 {
			t.Error("idle links say more than 1.5 packets/s or 1.5 kbit/s on average, or more than 3 and 4 somewhere")
		}
		if all.packets > 3 || all.kbits > 2 {
			t.Errorf("with gossip that is %v, more than 3 packets/s or 2 kbit/s", all)
		}
	})
}

// gossipSent is what memberlist made the node send, packets and bytes.
func (s *station) gossipSent() [2]int64 {
	s.kernel.mu.Lock()
	defer s.kernel.mu.Unlock()
	return s.kernel.gossipSent()
}

// rate is what a node sends.
type rate struct{ packets, kbits float64 }

func rateOf(packets, bytes int64, over time.Duration) rate {
	return rate{float64(packets) / over.Seconds(), float64(bytes) * 8 / 1000 / over.Seconds()}
}

func (r rate) String() string {
	return fmt.Sprintf("%.2f packets/s and %.2f kbit/s", r.packets, r.kbits)
}

func (r rate) less(o rate) rate { return rate{r.packets - o.packets, r.kbits - o.kbits} }

// plus adds one n-th of o.
func (r rate) plus(o rate, n int) rate {
	return rate{r.packets + o.packets/float64(n), r.kbits + o.kbits/float64(n)}
}
