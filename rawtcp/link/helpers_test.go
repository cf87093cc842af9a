package link

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

var (
	a4, b4 = netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2")
	a6, b6 = netip.MustParseAddr("fd77::1"), netip.MustParseAddr("fd77::2")
)

const testPort = 9000

// patience bounds what should happen at once, on a busy machine too.
const patience = 30 * time.Second

// station is a host with all parts of the package.
type station struct {
	*nstest.NS
	resolver *Resolver
	sender   *Sender
	tap      *Tap
	stop     func() // ends the resolver's Run
}

func newStation(t testing.TB, ns *nstest.NS, so Options, to TapOptions) *station {
	t.Helper()
	s := &station{NS: ns}
	var err error
	ns.Do(func() {
		if s.resolver, err = NewResolver(nil); err != nil {
			return
		}
		if s.sender, err = NewSender(s.resolver, so); err != nil {
			return
		}
		s.tap, err = NewTap(to)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.tap.SetFilter([]uint16{testPort}, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.resolver.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("resolver: %v", err)
		}
	})
	t.Cleanup(func() {
		s.stop()
		s.tap.Close()
		s.sender.Close()
		s.resolver.Close()
	})
	return s
}

func newResolver(t testing.TB, ns *nstest.NS, log hclog.Logger) (r *Resolver) {
	t.Helper()
	var err error
	ns.Do(func() { r, err = NewResolver(log) })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// until waits for the hop to satisfy ok, looking whenever it changes.
func until(t testing.TB, n *NextHop, what string, ok func() bool) {
	t.Helper()
	changed := make(chan struct{}, 1)
	defer n.OnChange(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-changed:
		case <-deadline:
			i, name := n.Interface()
			t.Fatalf("%s: not within %v; hop is %s over %d %s", what, patience, n.Mode(), i, name)
		}
	}
}

// eventually waits for something that no hop tells of.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-look.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func lookup(t testing.TB, s *station, dst netip.Addr) *NextHop {
	t.Helper()
	n, err := s.resolver.Lookup(dst)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// headersFor writes IP and TCP headers for a payload, as Send wants them.
func headersFor(b []byte, src, dst netip.Addr, id uint16, seq uint32, flags byte, payload int) (ipLen, tcpLen int) {
	ipLen, tcpLen = 20, 32
	if dst.Is6() {
		ipLen = 40
	}
	clear(b[:ipLen+tcpLen])
	ip, tcp := b[:ipLen], b[ipLen:ipLen+tcpLen]
	length := tcpLen + payload
	var pseudo uint64
	if dst.Is4() {
		ip[0], ip[8], ip[9] = 0x45, 64, 6
		binary.BigEndian.PutUint16(ip[2:], uint16(ipLen+length))
		binary.BigEndian.PutUint16(ip[4:], id)
		ip[6] = 0x40
		s, d := src.As4(), dst.As4()
		copy(ip[12:], s[:])
		copy(ip[16:], d[:])
		headerChecksum(ip)
		pseudo = sum(ip[12:20], 0)
	} else {
		ip[0], ip[6], ip[7] = 0x60, 6, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(length))
		s, d := src.As16(), dst.As16()
		copy(ip[8:], s[:])
		copy(ip[24:], d[:])
		pseudo = sum(ip[8:40], 0)
	}
	binary.BigEndian.PutUint16(tcp[0:], 40000)
	binary.BigEndian.PutUint16(tcp[2:], testPort)
	binary.BigEndian.PutUint32(tcp[4:], seq)
	binary.BigEndian.PutUint32(tcp[8:], 0x01020304)
	tcp[12], tcp[13] = byte(tcpLen/4)<<4, flags
	binary.BigEndian.PutUint16(tcp[14:], 502)
	copy(tcp[20:], []byte{1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8})
	pseudo += 6 + uint64(length)
	binary.BigEndian.PutUint16(tcp[16:], fold(pseudo))
	return ipLen, tcpLen
}

// load fills a train with n segments of size bytes (the last of tail bytes) and
// writes the headers.
func load(t *packet.Train, src, dst netip.Addr, n, size, tail int) (ipLen, tcpLen int) {
	t.Reset(0)
	for i := range n {
		length := size
		if i == n-1 {
			length = tail
		}
		b := t.Next(length)
		for j := range b {
			b[j] = byte(i*7 + j)
		}
	}
	ipLen, tcpLen = 20, 32
	if dst.Is6() {
		ipLen = 40
	}
	headersFor(t.Frame(ipLen+tcpLen), src, dst, 0xfff0, 0xffffff00, 0x18, len(t.Bytes()))
	return ipLen, tcpLen
}

// arrival is a received packet, copied.
type arrival struct {
	ip      []byte
	segment int
	ifindex int
}

// collect receives until payload bytes have come.
func collect(t testing.TB, tap *Tap, payload int) []arrival {
	t.Helper()
	done := make(chan []arrival, 1)
	failed := make(chan error, 1)
	go func() {
		var all []arrival
		for got := 0; got < payload; {
			batch, err := tap.Recv()
			if err != nil {
				failed <- err
				return
			}
			for _, p := range batch {
				ipLen, tcpLen, _ := headerLengths(p.IP)
				got += len(p.IP) - ipLen - tcpLen
				all = append(all, arrival{append([]byte(nil), p.IP...), p.SegmentSize, p.From.IfIndex})
			}
		}
		done <- all
	}()
	select {
	case all := <-done:
		return all
	case err := <-failed:
		t.Fatal(err)
	case <-time.After(patience):
		tap.Close()
		<-failed
		t.Fatalf("%d bytes of payload did not arrive", payload)
	}
	return nil
}
