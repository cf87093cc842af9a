package tun

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
)

// echo is an ICMP echo request behind its Header, from a neighbour to the
// device's own address; the kernel answers it.
func echo(from, to string) []byte {
	p := make([]byte, 28+32)
	p[0], p[8], p[9] = 0x45, 64, 1
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], netip.MustParseAddr(from).AsSlice())
	copy(p[16:], netip.MustParseAddr(to).AsSlice())
	binary.BigEndian.PutUint16(p[10:], checksum(p[:20]))
	p[20], p[24], p[27] = 8, 7, 1 // type, identifier, sequence
	binary.BigEndian.PutUint16(p[22:], checksum(p[20:]))
	return append(Header{}.Append(nil), p...)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func TestQueueMovesPacketsBothWaysWithoutAllocating(t *testing.T) {
	d := newSpace(t).open(t, Config{Addresses: prefixes("10.77.0.1/24")})
	q, buf, request := d.Queues()[0], make([]byte, MaxRead), echo("10.77.0.2", "10.77.0.1")
	var n int
	allocs := testing.AllocsPerRun(200, func() {
		if err := q.Write(request); err != nil {
			t.Fatal(err)
		}
		var err error
		if n, err = q.Read(buf); err != nil {
			t.Fatal(err)
		}
	})
	if n != len(request) || buf[HeaderLen+20] != 0 || checksum(buf[HeaderLen+20:n]) != 0 {
		t.Fatalf("not an echo reply: %x", buf[:n])
	}
	if allocs != 0 {
		t.Fatalf("%v allocations for one packet each way", allocs)
	}
	w := q.NewWriter()
	if allocs := testing.AllocsPerRun(200, func() {
		_ = w.Write(request)
		if n, ok, err := q.Poll(buf); !ok || err != nil || n != len(request) {
			t.Fatalf("poll: %d, %v, %v", n, ok, err)
		}
		if _, ok, err := q.Poll(buf); ok || err != nil {
			t.Fatalf("poll of an empty queue: %v, %v", ok, err)
		}
	}); allocs != 0 {
		t.Fatalf("%v allocations for a poll", allocs)
	}
	if q.Drops() != (Drops{}) {
		t.Fatalf("drops %+v", q.Drops())
	}
}

func TestQueueReadsPartialChecksums(t *testing.T) {
	s := newSpace(t)
	d := s.open(t, Config{Addresses: prefixes("10.77.0.1/24")})
	s.do(func() {
		c, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(10, 77, 0, 2), Port: 9})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = c.Write([]byte("hello"))
	})
	buf := make([]byte, MaxRead)
	n, err := d.Queues()[0].Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	h, err := ParseHeader(buf[:n])
	want := Header{Flags: NeedsChecksum, HdrLen: h.HdrLen, CsumStart: 20, CsumOffset: 6}
	if err != nil || h != want || string(buf[n-5:n]) != "hello" {
		t.Fatalf("header %+v, packet %x, %v", h, buf[HeaderLen:n], err)
	}
}

func TestQueueCountsWhatTheKernelRefuses(t *testing.T) {
	s := newSpace(t)
	d := s.open(t, Config{Addresses: prefixes("10.77.0.1/24")})
	q, good := d.Queues()[0], echo("10.77.0.2", "10.77.0.1")
	bad := [][]byte{
		nil, {1}, good[:HeaderLen], // no packet at all
		append(Header{}.Append(nil), 0xff, 0xff, 0xff),                                  // neither IPv4 nor IPv6
		append(Header{Flags: NeedsChecksum, CsumStart: 4000}.Append(nil), good[10:]...), // checksum outside
		append(Header{GSOType: 0x77, GSOSize: 100}.Append(nil), good[10:]...),           // unknown kind of super-packet
	}
	for _, b := range bad {
		if err := q.Write(b); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
	}
	if got := q.Drops(); got != (Drops{Bad: uint64(len(bad))}) {
		t.Fatalf("after %d bad packets: %+v", len(bad), got)
	}
	s.do(func() {
		if err := netlink.LinkSetDown(d.link); err != nil {
			t.Error(err)
		}
	})
	if err := q.Write(good); err != nil || q.Drops().Down != 1 {
		t.Fatalf("interface down: %v, %+v", err, q.Drops())
	}
}

func TestQueueSaysWhenTheInterfaceWasRemoved(t *testing.T) {
	s := newSpace(t)
	d := s.open(t, Config{Queues: 2})
	parked := make(chan error)
	for _, q := range d.Queues() {
		go func() {
			_, err := q.Read(make([]byte, MaxRead))
			parked <- err
		}()
	}
	s.do(func() {
		if err := netlink.LinkDel(d.link); err != nil {
			t.Error(err)
		}
	})
	for range d.Queues() {
		if err := <-parked; !errors.Is(err, ErrGone) {
			t.Fatalf("parked read: %v", err)
		}
	}
	q, buf := d.Queues()[0], make([]byte, MaxRead)
	if _, err := q.Read(buf); !errors.Is(err, ErrGone) {
		t.Fatalf("read: %v", err)
	}
	if _, _, err := q.Poll(buf); !errors.Is(err, ErrGone) {
		t.Fatalf("poll: %v", err)
	}
	if err := q.Write(echo("10.77.0.2", "10.77.0.1")); !errors.Is(err, ErrGone) {
		t.Fatalf("write: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if again := s.open(t, Config{}); again.Name() != "tun0" {
		t.Fatalf("opened %s afterwards", again.Name())
	}
}

func TestQueueSaysWhenTheDeviceWasClosed(t *testing.T) {
	d := newSpace(t).open(t, Config{})
	q, buf, parked := d.Queues()[0], make([]byte, MaxRead), make(chan error)
	go func() {
		_, err := q.Read(make([]byte, MaxRead))
		parked <- err
	}()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-parked; !errors.Is(err, ErrClosed) {
		t.Fatalf("parked read: %v", err)
	}
	if _, _, err := q.Poll(buf); !errors.Is(err, ErrClosed) {
		t.Fatalf("poll: %v", err)
	}
	if err := q.Write(buf); !errors.Is(err, ErrClosed) {
		t.Fatalf("write: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatalf("second close: %v", err)
	}
}

func TestWakeEndsAWaitingReadAndTheNextOneWaitsAgain(t *testing.T) {
	d := newSpace(t).open(t, Config{Addresses: prefixes("10.77.0.1/24")})
	q, buf := d.Queues()[0], make([]byte, MaxRead)
	for range 3 {
		q.Wake()
		if n, err := q.Read(buf); n != 0 || err != nil {
			t.Fatalf("woken read returned %d bytes, %v", n, err)
		}
	}
	request := echo("10.77.0.2", "10.77.0.1")
	if err := q.Write(request); err != nil {
		t.Fatal(err)
	}
	if n, err := q.Read(buf); n != len(request) || err != nil {
		t.Fatalf("read after a wake returned %d bytes, %v", n, err)
	}
}
