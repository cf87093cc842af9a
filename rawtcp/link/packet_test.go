package link

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

func TestVnetHeaderBytes(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("golden bytes are of a little-endian host")
	}
	for want, c := range map[string][4]int{
		"0101420078052200" + "1000": {0, 20, 32, 1400},
		"0104560078053600" + "1000": {1, 40, 32, 1400},
		"0100420000002200" + "1000": {0, 20, 32, 0},
	} {
		b := make([]byte, vnetLen)
		putVnet(b, c[0] == 1, etherLen, c[1], c[2], c[3])
		if got := hex.EncodeToString(b); got != want {
			t.Errorf("%v: %s, want %s", c, got, want)
		}
		if segmentSize(b) != c[3] {
			t.Errorf("%v: segment size %d", c, segmentSize(b))
		}
	}
}

func TestChecksumAgreesWithTheTextbook(t *testing.T) {
	slow := func(b []byte) uint16 {
		var s uint32
		for i, v := range b {
			s += uint32(v) << (8 * (1 - i%2))
			s = s>>16 + s&0xffff
		}
		return uint16(s)
	}
	b := make([]byte, 1500)
	for i := range b {
		b[i] = byte(i*i + 3*i + 255)
	}
	for n := range b {
		if fast := fold(sum(b[:n], 0)); fast != slow(b[:n]) {
			t.Fatalf("%d bytes: %#x, want %#x", n, fast, slow(b[:n]))
		}
	}
	ones := bytes.Repeat([]byte{255}, 64)
	if fold(sum(ones, 1<<63)) != fold(sum(ones, 0)+1<<15) && fold(sum(ones, 0)) != 0xffff {
		t.Fatal("carries are lost")
	}
}

func TestPiecesOfASuperSegmentAreWhatTheKernelMakes(t *testing.T) {
	for _, dst := range []bool{false, true} {
		src, to := a4, b4
		if dst {
			src, to = a6, b6
		}
		super := make([]byte, 120)
		payload := 2500
		ipLen, tcpLen := headersFor(super, src, to, 0xffff, 0xfffffff0, 0x80|tcpPSH|0x10|tcpFIN, payload)
		super = super[:ipLen+tcpLen]
		for i, c := range []cut{{0, 0, 1000, false}, {1, 1000, 1000, false}, {2, 2000, 500, true}} {
			got := make([]byte, len(super))
			c.headers(got, super, ipLen, tcpLen+payload)
			flags := []byte{0x80 | 0x10, 0x10, 0x10 | tcpPSH | tcpFIN}[i]
			want := make([]byte, len(super))
			headersFor(want, src, to, 0xffff+uint16(i), 0xfffffff0+uint32(c.offset), flags, c.size)
			if !bytes.Equal(got, want) {
				t.Errorf("v6=%v piece %d:\n%x, want\n%x", dst, i, got, want)
			}
		}
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	for _, dst := range []bool{false, true} {
		b := segmentTo(b4, 9000, 0)[:60]
		if dst {
			b = segmentTo(b6, 9000, 0)[:80]
		}
		if p, ok := parse(append(append([]byte(nil), b...), 0, 0, 0), 0, Origin{IfIndex: 3}); !ok || len(p.IP) != len(b) || p.From.IfIndex != 3 {
			t.Fatalf("v6=%v: padding is not cut off: %v %d", dst, ok, len(p.IP))
		}
		for n := range b {
			if _, ok := parse(b[:n], 0, Origin{}); ok {
				t.Errorf("v6=%v: %d of %d bytes were taken", dst, n, len(b))
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(segmentTo(b4, 9000, 0))
	f.Add(segmentTo(b4, 9000, 24))
	f.Add(segmentTo(b6, 9000, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parse(b, 0, Origin{})
		if !ok {
			return
		}
		ipLen, tcpLen, ok := headerLengths(p.IP)
		if !ok || ipLen+tcpLen > len(p.IP) || len(p.IP) > len(b) {
			t.Fatalf("headers of %d and %d bytes in %d", ipLen, tcpLen, len(p.IP))
		}
	})
}

func FuzzNotifications(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 8, 0, 1, 0, 10, 77, 0, 2, 10, 0, 2, 0, 2, 0, 0, 0, 0, 119, 0, 0})
	f.Add([]byte{2, 32, 0, 0, 255, 2, 0, 2, 0, 0, 0, 0, 8, 0, 1, 0, 10, 77, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, ok := parseNeighbour(b); ok && !n.address.IsValid() {
			t.Fatal("a neighbour without address")
		}
		if p, ok := parseLocal(b); ok && !p.IsValid() {
			t.Fatal("an invalid prefix")
		}
		var c Change
		c.add(b)
	})
}

func TestNeighbourMessageBytes(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("golden bytes are of a little-endian host")
	}
	b, _ := hex.DecodeString("02000000" + "03000000" + "02000000" + "08000100" + "0a4d0002" + "0a000200" + "020000000077" + "0000")
	m, ok := parseNeighbour(b)
	if !ok || m.index != 3 || m.address != b4 || !m.valid() || m.mac != [6]byte{2, 0, 0, 0, 0, 0x77} {
		t.Fatalf("%+v %v", m, ok)
	}
	for n := range 20 {
		if _, ok := parseNeighbour(b[:n]); ok {
			t.Errorf("%d bytes were taken", n)
		}
	}
}

func TestSendAndReceiveAllocateNothing(t *testing.T) {
	a, b := nstest.Pair(t)
	for mode, so := range map[string]Options{ModeGSO: {}, ModePacket: {NoGSO: true}, ModeRawSocket: {NoPacketSocket: true}} {
		for _, noRing := range []bool{false, true} {
			s, far := newStation(t, a, so, TapOptions{}), newStation(t, b, Options{}, TapOptions{NoRing: noRing})
			hop := lookup(t, s, b4)
			until(t, hop, "mode "+mode, func() bool { return hop.Mode() == mode })
			s.stop() // only what is measured shall run
			far.stop()
			train := packet.NewTrain()
			single := make([]byte, 52)
			var failure error
			allocs := testing.AllocsPerRun(50, func() {
				ipLen, tcpLen := load(train, a4, b4, 10, 1400, 700)
				headersFor(single, a4, b4, 1, 1, 0x10, 0)
				failure = errors.Join(s.sender.Send(hop, train, ipLen, tcpLen), s.sender.SendPacket(hop, single))
				if failure != nil {
					return
				}
				for seen := false; !seen && failure == nil; { // the single packet comes last
					var batch []Packet
					batch, failure = far.tap.Recv()
					for _, p := range batch {
						seen = seen || len(p.IP) == 52
					}
				}
			})
			if failure != nil {
				t.Fatal(failure)
			}
			if allocs != 0 {
				t.Errorf("%s, ring %v: %v allocations", mode, !noRing, allocs)
			}
		}
	}
}

func TestBurstsBeyondTheInterfacesLimitAreSplit(t *testing.T) {
	a, b := nstest.Pair(t)
	a.Run("ip link set v0 gso_max_size 16000")
	for _, gro := range []string{"off", "on"} {
		b.Run("ethtool -K v0 gro " + gro)
		s, far := newStation(t, a, Options{}, TapOptions{}), newStation(t, b, Options{}, TapOptions{})
		hop := lookup(t, s, b4)
		until(t, hop, "mode", func() bool { return hop.Mode() == ModeGSO })
		if n := hop.cur.Load().dev.segments(false, 52, size); n < 10 || n > 11 {
			t.Fatalf("%d segments in 16000 bytes", n)
		}
		for _, v6 := range []bool{false, true} {
			src, dst := a4, b4
			if v6 {
				src, dst = a6, b6
			}
			hop := lookup(t, s, dst)
			until(t, hop, "mode", func() bool { return hop.Mode() == ModeGSO })
			train := packet.NewTrain()
			ipLen, tcpLen := load(train, src, dst, segments, size, tail)
			want := append([]byte(nil), train.Bytes()...)
			if err := s.sender.Send(hop, train, ipLen, tcpLen); err != nil {
				t.Fatal(err)
			}
			check(t, collect(t, far.tap, whole), want, 0xffffff00)
		}
	}
}

func TestCloseWakesRecvAndRefusesSends(t *testing.T) {
	a, _ := nstest.Pair(t)
	for _, to := range []TapOptions{{}, {NoRing: true}} {
		s := newStation(t, a, Options{}, to)
		got := make(chan error, 1)
		go func() { _, err := s.tap.Recv(); got <- err }()
		s.tap.Close()
		if err := <-got; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Recv: %v", err)
		}
		if _, err := s.tap.Recv(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Recv: %v", err)
		}
		if err := s.tap.SetFilter(nil, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetFilter: %v", err)
		}
		s.sender.Close()
		train := packet.NewTrain()
		ipLen, tcpLen := load(train, a4, b4, 2, 100, 100)
		if err := s.sender.Send(lookup(t, s, b4), train, ipLen, tcpLen); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Send: %v", err)
		}
	}
}

func TestFilterIsReplacedWithoutLoss(t *testing.T) {
	a, b := nstest.Pair(t)
	s, far := newStation(t, a, Options{}, TapOptions{}), newStation(t, b, Options{}, TapOptions{})
	hop := lookup(t, s, b4)
	until(t, hop, "mode", func() bool { return hop.Mode() == ModeGSO })
	train := packet.NewTrain()
	const bursts = 200
	for i := range bursts {
		ipLen, tcpLen := load(train, a4, b4, 1, 100, 100)
		if err := s.sender.Send(hop, train, ipLen, tcpLen); err != nil {
			t.Fatal(err)
		}
		if err := far.tap.SetFilter([]uint16{testPort, uint16(i)}, []int{1000 + i}); err != nil {
			t.Fatal(err)
		}
	}
	if got := collect(t, far.tap, bursts*100); len(got) != bursts || far.tap.Dropped() != 0 {
		t.Fatalf("%d packets, %d dropped", len(got), far.tap.Dropped())
	}
}

func TestARingOfAnySizeIsGoneAroundWithoutLoss(t *testing.T) {
	a, b := nstest.Pair(t)
	for _, size := range []int{1, 1<<20 + 64<<10} { // bytes; there are 512 frames at least
		s, far := newStation(t, a, Options{}, TapOptions{}), newStation(t, b, Options{}, TapOptions{Ring: size})
		frames := far.tap.ring.frames
		if want := max(size, 1<<20) / ringFrame; frames != want {
			t.Fatalf("%d frames for %d bytes, want %d", frames, size, want)
		}
		hop := lookup(t, s, b4)
		until(t, hop, "mode", func() bool { return hop.Mode() == ModeGSO })
		train := packet.NewTrain()
		for range 5 { // the last batch keeps its frames meanwhile
			for range frames / 2 {
				ipLen, tcpLen := load(train, a4, b4, 1, 100, 100)
				if err := s.sender.Send(hop, train, ipLen, tcpLen); err != nil {
					t.Fatal(err)
				}
			}
			if got := collect(t, far.tap, frames/2*100); len(got) != frames/2 || far.tap.Dropped() != 0 {
				t.Fatalf("%d of %d packets, %d dropped", len(got), frames/2, far.tap.Dropped())
			}
		}
	}
}

func TestAnswerGoesBackToTheNeighbourThatBroughtThePacket(t *testing.T) {
	a, b := nstest.Pair(t)
	openTUN(t, a, "tun9")
	a.Run("ip addr add 10.0.0.1/24 dev tun9", "ip route add default via 10.77.0.2",
		"ip route add 0.0.0.0/1 dev tun9", "ip route add 10.77.0.2/32 dev tun9", "ip -6 route add fd77::2/128 dev tun9")
	s, far := newStation(t, a, Options{}, TapOptions{}), newStation(t, b, Options{}, TapOptions{})
	stranger4, stranger6 := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8:77::7")
	for _, c := range [][2]netip.Addr{{a4, b4}, {a6, b6}, {a4, stranger4}, {a6, stranger6}} {
		own, other := c[0], c[1]
		question := make([]byte, 120)
		ipLen, tcpLen := headersFor(question, other, own, 7, 1, 0x02, 0)
		if err := far.sender.SendPacket(lookup(t, far, own), question[:ipLen+tcpLen]); err != nil {
			t.Fatal(err)
		}
		batch, err := s.tap.Recv()
		if err != nil || len(batch) != 1 {
			t.Fatalf("%d packets, %v", len(batch), err)
		}
		pkt := make([]byte, 120)
		ipLen, tcpLen = headersFor(pkt, own, other, 7, 1, 0x12, 8)
		pkt = pkt[:ipLen+tcpLen+8]
		finishTCP(pkt[ipLen:ipLen+tcpLen], pkt[ipLen+tcpLen:])
		if err := s.sender.Answer(batch[0].From, pkt); err != nil {
			t.Fatal(err)
		}
		if got := collect(t, far.tap, 8); !bytes.Equal(got[0].ip, pkt) {
			t.Fatalf("%x arrived of %x", got[0].ip, pkt)
		}
		if table := a.Run("ip neigh"); bytes.Contains([]byte(table), []byte(stranger4.String())) {
			t.Fatalf("the kernel looks for a stranger: %s", table)
		}
	}
	if err := s.sender.Answer(Origin{}, []byte{0x45}); err == nil {
		t.Error("junk was sent")
	}
}

func TestWakeMakesRecvReturnNothing(t *testing.T) {
	s := newStation(t, nstest.New(t), Options{}, TapOptions{})
	for range 3 {
		s.tap.Wake()
		if batch, err := s.tap.Recv(); len(batch) != 0 || err != nil {
			t.Fatalf("%v %v", batch, err)
		}
	}
	s.tap.Close()
	s.tap.Wake()
	if _, err := s.tap.Recv(); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
}
