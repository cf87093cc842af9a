package tun

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// wire carries every packet of one device to another as it is.
type wire struct {
	supers, partial, largest atomic.Int64
	kinds                    [256]atomic.Int64
}

func (w *wire) carry(from, to *Queue) {
	buf := make([]byte, MaxRead)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		h, _ := ParseHeader(buf[:n])
		w.kinds[h.GSOType].Add(1)
		if h.GSOType != GSONone {
			w.supers.Add(1)
			w.largest.Store(max(w.largest.Load(), int64(n)))
		}
		if h.Flags&NeedsChecksum != 0 {
			w.partial.Add(1)
		}
		if to.Write(buf[:n]) != nil {
			return
		}
	}
}

// join opens a device in each of two namespaces and a wire between them.
func join(t *testing.T, queues int) (a, b *space, ab *wire) {
	a, b = newSpace(t), newSpace(t)
	left := a.open(t, Config{Queues: queues, Addresses: prefixes("10.77.0.1/24", "fd77::1/64")})
	right := b.open(t, Config{Queues: queues, Addresses: prefixes("10.77.0.2/24", "fd77::2/64")})
	ab = &wire{}
	var all sync.WaitGroup
	for i := range queues {
		l, r := left.Queues()[i], right.Queues()[i]
		all.Go(func() { ab.carry(l, r) })
		all.Go(func() { new(wire).carry(r, l) })
	}
	t.Cleanup(func() { left.Close(); right.Close(); all.Wait() })
	return a, b, ab
}

func TestTCPSuperPacketsTravelWholeWithPartialChecksums(t *testing.T) {
	for _, c := range []struct {
		to     string
		kind   uint8
		queues int
	}{{"10.77.0.2", GSOTCPv4, 1}, {"fd77::2", GSOTCPv6, 1}, {"10.77.0.2", GSOTCPv4, 2}} {
		a, b, ab := join(t, c.queues)
		to := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.to), 7000))
		var listener *net.TCPListener
		var out *net.TCPConn
		var err error
		b.do(func() { listener, err = net.ListenTCP("tcp", to) })
		if err != nil {
			t.Fatal(err)
		}
		a.do(func() { out, err = net.DialTCP("tcp", nil, to) })
		if err != nil {
			t.Fatal(err)
		}
		in, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		sent := make([]byte, 4<<20)
		_, _ = rand.Read(sent)
		go func() {
			_, _ = out.Write(sent)
			out.Close()
		}()
		got, err := io.ReadAll(in)
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%s: %d of %d bytes arrived intact, %v", c.to, len(got), len(sent), err)
		}
		if ab.kinds[c.kind].Load() == 0 || ab.largest.Load() < 20000 || ab.partial.Load() < ab.supers.Load() {
			t.Fatalf("%s: %d supers, largest %d, %d with partial checksum", c.to, ab.supers.Load(), ab.largest.Load(), ab.partial.Load())
		}
		in.Close()
		listener.Close()
	}
}

func TestUDPSuperPacketsTravelWhole(t *testing.T) {
	for _, to := range []string{"10.77.0.2", "fd77::2"} {
		a, b, ab := join(t, 1)
		addr := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(to), 7000))
		var in, out *net.UDPConn
		var err error
		b.do(func() { in, err = net.ListenUDP("udp", addr) })
		if err != nil {
			t.Fatal(err)
		}
		a.do(func() { out, err = net.DialUDP("udp", nil, addr) })
		if err != nil {
			t.Fatal(err)
		}
		_ = in.SetReadDeadline(time.Now().Add(10 * time.Second)) // to fail instead of hanging
		raw, _ := out.SyscallConn()
		var refused error
		_ = raw.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1000) })
		if refused != nil {
			t.Skipf("UDP_SEGMENT: %v", refused)
		}
		sent := make([]byte, 20_500)
		_, _ = rand.Read(sent)
		if _, err := out.Write(sent); err != nil {
			t.Fatal(err)
		}
		var got []byte
		buf := make([]byte, 65536)
		for len(got) < len(sent) {
			n, err := in.Read(buf)
			if err != nil || n > 1000 {
				t.Fatalf("datagram of %d bytes, %v", n, err)
			}
			got = append(got, buf[:n]...)
		}
		if !bytes.Equal(got, sent) {
			t.Fatal("the datagrams are not what was sent")
		}
		if left := a.link("tun0"); left != nil && ab.kinds[GSOUDP].Load() == 0 {
			if kernelHasUSO(a, t) {
				t.Fatal("the burst was cut before it reached the reader")
			}
		}
		in.Close()
		out.Close()
	}
}

// kernelHasUSO says whether this kernel leaves UDP bursts whole.
func kernelHasUSO(s *space, t *testing.T) bool { return s.open(t, Config{}).Offloads().USO }
