package pump

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/openbmx/lightweight-tunnel/node/tun"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// super builds what a kernel hands over with IFF_VNET_HDR: one header, a large
// payload, the checksum field holding the pseudo-header sum.
func super(v6 bool, proto uint8, tcpOptions, payload, gso int, flags byte) (tun.Header, []byte) {
	head := 20
	if v6 {
		head = 40
	}
	l4 := head
	if proto == protoTCP {
		head += 20 + tcpOptions
	} else {
		head += 8
	}
	p := make([]byte, head+payload)
	r := rand.New(rand.NewPCG(uint64(payload), uint64(head)))
	for i := head; i < len(p); i++ {
		p[i] = byte(r.Uint32())
	}
	in := inner{v6: v6, proto: proto, l4: l4}
	if v6 {
		p[0] = 0x60
		p[6], p[7] = proto, 64
		copy(p[8:], netip.MustParseAddr("fd00::1").AsSlice())
		copy(p[24:], netip.MustParseAddr("fd00::2").AsSlice())
	} else {
		p[0], p[6], p[8], p[9] = 0x45, 0x40, 64, proto
		binary.BigEndian.PutUint16(p[4:], 0xfffe)
		copy(p[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	}
	in.setLength(p)
	binary.BigEndian.PutUint16(p[l4:], 4000)
	binary.BigEndian.PutUint16(p[l4+2:], 5000)
	h := tun.Header{Flags: tun.NeedsChecksum, CsumStart: uint16(l4), CsumOffset: uint16(in.checksumOffset())}
	if proto == protoTCP {
		binary.BigEndian.PutUint32(p[l4+4:], 0xfffffc00) // wraps within the packet
		binary.BigEndian.PutUint32(p[l4+8:], 77)
		p[l4+12] = byte((20 + tcpOptions) / 4 << 4)
		p[l4+13] = flags
		for i := range tcpOptions {
			p[l4+20+i] = 1
		}
		h.GSOType = tun.GSOTCPv4
		if v6 {
			h.GSOType = tun.GSOTCPv6
		}
	} else {
		binary.BigEndian.PutUint16(p[l4+4:], uint16(len(p)-l4))
		h.GSOType = tun.GSOUDP
	}
	binary.BigEndian.PutUint16(p[l4+in.checksumOffset():], fold(in.pseudoSum(p)))
	h.HdrLen, h.GSOSize = uint16(head), uint16(gso)
	if gso == 0 {
		h.GSOType, h.HdrLen = tun.GSONone, 0
	}
	return h, p
}

// tunnel runs packets through splitter and coalescer as two pumps would and
// returns what the far device is given.
func tunnel(t *testing.T, limit int, check func(piece []byte), supers ...func() (tun.Header, []byte)) [][]byte {
	t.Helper()
	var out [][]byte
	c := newCoalescer(true, func(b []byte) { out = append(out, bytes.Clone(b)) })
	for _, make := range supers {
		h, p := make()
		in, ok := parseInner(p)
		if !ok {
			t.Fatal("test packet does not parse")
		}
		var s splitter
		if v := s.load(h, p, in, limit); v != pass {
			t.Fatalf("verdict %d", v)
		}
		want := s.count()
		got := 0
		for piece := s.next(); piece != nil; piece = s.next() {
			got++
			if len(piece) > limit {
				t.Fatalf("piece of %d bytes is over the limit of %d", len(piece), limit)
			}
			if check != nil {
				check(piece)
			}
			dst := append(c.place(len(piece)), piece...)
			pin, ok := parseInner(dst)
			if !ok {
				t.Fatal("a piece does not parse")
			}
			c.keep(s.kind, dst, pin)
		}
		if got != want {
			t.Fatalf("%d pieces, count said %d", got, want)
		}
	}
	c.flush()
	return out
}

func TestASuperPacketArrivesAsItWasSent(t *testing.T) {
	for _, c := range []struct {
		name    string
		v6      bool
		proto   uint8
		options int
		payload int
		gso     int
		flags   byte
	}{
		{"TCP over IPv4", false, protoTCP, 12, 60000, 1348, tcpACK},
		{"TCP over IPv4 with push and a short tail", false, protoTCP, 12, 20001, 1348, tcpACK | tcpPSH},
		{"TCP over IPv6", true, protoTCP, 12, 50000, 1328, tcpACK},
		{"TCP over IPv6, exact multiple", true, protoTCP, 0, 13280, 1328, tcpACK | tcpPSH},
		{"UDP over IPv4", false, protoUDP, 0, 30 * 1200, 1200, 0},
		{"UDP over IPv6 with a short tail", true, protoUDP, 0, 30*1200 + 7, 1200, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			make := func() (tun.Header, []byte) { return super(c.v6, c.proto, c.options, c.payload, c.gso, c.flags) }
			out := tunnel(t, 1400, nil, make)
			h, p := make()
			if len(out) != 1 {
				t.Fatalf("%d writes, want 1", len(out))
			}
			got, err := tun.ParseHeader(out[0])
			if err != nil || got != h {
				t.Fatalf("offload header %+v, want %+v (%v)", got, h, err)
			}
			if !bytes.Equal(out[0][tun.HeaderLen:], p) {
				t.Fatal("the packet is not what was sent")
			}
		})
	}
}

func TestPiecesCarryRightLengthsSequenceNumbersAndFlags(t *testing.T) {
	n, off := 0, uint32(0)
	tunnel(t, 1000, func(piece []byte) {
		if got := binary.BigEndian.Uint16(piece[2:]); int(got) != len(piece) {
			t.Fatalf("piece %d: length %d, want %d", n, got, len(piece))
		}
		if got := binary.BigEndian.Uint16(piece[4:]); got != 0xfffe+uint16(n) {
			t.Fatalf("piece %d: id %#x", n, got)
		}
		if got := binary.BigEndian.Uint32(piece[24:]); got != 0xfffffc00+off {
			t.Fatalf("piece %d: seq %#x", n, got)
		}
		last := off+uint32(len(piece)-52) == 10000
		wantFlags := byte(tcpACK)
		if last {
			wantFlags |= tcpPSH | tcpFIN
		}
		if n == 0 {
			wantFlags |= tcpCWR
		}
		if piece[33] != wantFlags {
			t.Fatalf("piece %d: flags %#x, want %#x", n, piece[33], wantFlags)
		}
		off += uint32(len(piece) - 52)
		n++
	}, func() (tun.Header, []byte) {
		return super(false, protoTCP, 12, 10000, 1348, tcpACK|tcpPSH|tcpFIN|tcpCWR)
	})
	if off != 10000 {
		t.Fatalf("%d bytes of payload, want 10000", off)
	}
}

func TestPacketsOfAnotherFlowOrOutOfOrderAreNotJoined(t *testing.T) {
	build := func(mutate func(p []byte)) func() (tun.Header, []byte) {
		return func() (tun.Header, []byte) {
			h, p := super(false, protoTCP, 12, 1348, 0, tcpACK)
			mutate(p)
			return h, p
		}
	}
	seq := func(p []byte, n uint32) { binary.BigEndian.PutUint32(p[24:], n) }
	for name, second := range map[string]func(p []byte){
		"a gap":          func(p []byte) { seq(p, 325) },
		"another port":   func(p []byte) { seq(p, 324); p[20]++ },
		"another ack":    func(p []byte) { seq(p, 324); p[31]++ },
		"another window": func(p []byte) { seq(p, 324); p[35]++ },
		"other options":  func(p []byte) { seq(p, 324); p[45]++ },
		"another TTL":    func(p []byte) { seq(p, 324); p[8]-- },
		"a reset":        func(p []byte) { seq(p, 324); p[33] |= tcpRST },
	} {
		out := tunnel(t, 1400, nil, build(func([]byte) {}), build(second))
		if len(out) != 2 {
			t.Errorf("%s: %d writes, want 2", name, len(out))
			continue
		}
		_, want := build(second)()
		got := out[1][tun.HeaderLen:]
		if !bytes.Equal(got[12:36], want[12:36]) || !bytes.Equal(got[52:], want[52:]) {
			t.Errorf("%s: the second packet was spoilt", name)
		}
	}
	out := tunnel(t, 1400, nil, build(func([]byte) {}), build(func(p []byte) { seq(p, 324) }))
	if len(out) != 1 {
		t.Fatalf("two packets in order: %d writes, want 1", len(out))
	}
}

func TestADiscardedPacketLeavesNoTrace(t *testing.T) {
	var out [][]byte
	c := newCoalescer(true, func(b []byte) { out = append(out, bytes.Clone(b)) })
	_, p := super(false, protoTCP, 12, 1348, 0, tcpACK)
	in, _ := parseInner(p)
	c.keep(wire.DataPartial, append(c.place(len(p)), p...), in)
	junk := append(c.place(len(p)), bytes.Repeat([]byte{0xee}, len(p))...)
	_ = junk
	c.discard()
	c.flush()
	if len(out) != 1 || !bytes.Equal(out[0][tun.HeaderLen:], p) {
		t.Fatal("a packet that failed to open spoilt the one before")
	}
}

// splitAndCoalesce returns what takes a super-packet of 45 pieces apart and puts it
// together again, and its bytes.
func splitAndCoalesce() (all func(), size int) {
	h, p := super(false, protoTCP, 12, 60000, 1348, tcpACK)
	work := bytes.Clone(p)
	c := newCoalescer(true, func([]byte) {})
	var s splitter
	return func() {
		copy(work, p)
		in, _ := parseInner(work)
		s.load(h, work, in, 1400)
		for piece := s.next(); piece != nil; piece = s.next() {
			dst := append(c.place(len(piece)), piece...)
			pin, _ := parseInner(dst)
			c.keep(s.kind, dst, pin)
		}
		c.flush()
	}, len(p)
}

func TestSplitAndCoalesceAllocateNothing(t *testing.T) {
	all, _ := splitAndCoalesce()
	if n := testing.AllocsPerRun(50, all); n != 0 {
		t.Fatalf("%v allocations per super-packet", n)
	}
}

// BenchmarkSplitAndCoalesce is what a super-packet costs both pumps besides the seal
// and system calls.
func BenchmarkSplitAndCoalesce(b *testing.B) {
	all, size := splitAndCoalesce()
	b.SetBytes(int64(size))
	for b.Loop() {
		all()
	}
}

func TestMSSIsClampedToThePathAndTheChecksumStaysRight(t *testing.T) {
	_, p := super(false, protoTCP, 4, 0, 0, tcpSYN)
	copy(p[40:], []byte{2, 4, 0x05, 0xb4}) // 1460
	in, _ := parseInner(p)
	binary.BigEndian.PutUint16(p[36:], fold(in.pseudoSum(p)))
	finishChecksum(p, 36, 20)
	if !clampMSS(p, &in, 1300, false) {
		t.Fatal("not clamped")
	}
	if got := binary.BigEndian.Uint16(p[42:]); got != 1260 {
		t.Fatalf("MSS %d, want 1260", got)
	}
	if fold(sum(p[20:], in.pseudoSum(p))) != 0xffff {
		t.Fatal("checksum is wrong after clamping")
	}
	if clampMSS(p, &in, 1300, false) {
		t.Fatal("an MSS that fits was changed")
	}
}

func TestAPacketThatFitsNoPathIsAnsweredOrCut(t *testing.T) {
	_, p := super(false, protoUDP, 0, 1372, 0, 0)
	in, _ := parseInner(p)
	var s splitter
	h := tun.Header{Flags: tun.NeedsChecksum, CsumStart: 20, CsumOffset: 6}
	if v := s.load(h, p, in, 1300); v != tooBig {
		t.Fatalf("verdict %d, want tooBig", v)
	}
	msg := appendICMPError(nil, refuseTooBig, 1300, p, &in, netip.MustParseAddr("10.0.0.9"))
	if msg[20] != 3 || msg[21] != 4 || binary.BigEndian.Uint16(msg[26:]) != 1300 {
		t.Fatalf("not a fragmentation-needed message: % x", msg[20:28])
	}
	if fold(sum(msg[:20], 0)) != 0xffff || fold(sum(msg[20:], 0)) != 0xffff {
		t.Fatal("checksums of the ICMP error are wrong")
	}
	p[6] = 0 // without DF
	f, ok := newFragmenter(p, 1300)
	if !ok {
		t.Fatal("no room for fragments")
	}
	var whole []byte
	for piece := f.next(nil); piece != nil; piece = f.next(nil) {
		if len(piece) > 1300 || fold(sum(piece[:20], 0)) != 0xffff {
			t.Fatal("bad fragment")
		}
		if got := int(binary.BigEndian.Uint16(piece[6:])&0x1fff) * 8; got != len(whole) {
			t.Fatalf("fragment at offset %d, want %d", got, len(whole))
		}
		whole = append(whole, piece[20:]...)
	}
	if !bytes.Equal(whole, p[20:]) {
		t.Fatal("fragments do not make the packet")
	}
}

func FuzzSplitAndCoalesceStandAnyPacket(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		h, p := super(v6, protoTCP, 12, 3000, 1348, tcpACK)
		hdr := make([]byte, tun.HeaderLen)
		h.Put(hdr)
		f.Add(append(hdr, p...), 1400)
	}
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		if len(b) < tun.HeaderLen || len(b) > 65535 || limit < 576 || limit > 9000 {
			return
		}
		h, err := tun.ParseHeader(b)
		if err != nil {
			return
		}
		in, ok := parseInner(b[tun.HeaderLen:])
		if !ok {
			return
		}
		var s splitter
		if s.load(h, b[tun.HeaderLen:], in, limit) != pass {
			return
		}
		c := newCoalescer(true, func([]byte) {})
		for piece := s.next(); piece != nil; piece = s.next() {
			if len(piece) > limit {
				t.Fatalf("piece of %d bytes, limit %d", len(piece), limit)
			}
			dst := append(c.place(len(piece)), piece...)
			if pin, ok := parseInner(dst); ok {
				c.keep(s.kind, dst, pin)
			} else {
				c.discard()
			}
		}
		c.flush()
	})
}
