package rawtcp

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What Linux 6.18 sent between two namespaces (tcpdump; checksums are the
// partial ones that offload leaves in the field).
const (
	linuxSYN4    = "4500003c9db14000400619 07c0000201 c0000202 d2cc2328 0e6d92dd 00000000 a002faf0 84320000 020405b4 0402080a 18bfe521 00000000 0103030a"
	linuxSYNACK4 = "4500003c00004000 4006b6b8 c0000202 c0000201 2328d2cc b0965470 0e6d92de a012fe88 84320000 020405b4 0402080a a19b14f9 18bfe521 0103030a"
	linuxACK4    = "450000349db24000 4006190e c0000201 c0000202 d2cc2328 0e6d92de b0965471 8010003f 842a0000 0101080a 18bfe521 a19b14f9"
	linuxData4   = "450000399db34000 40061908 c0000201 c0000202 d2cc2328 0e6d92de b0965471 8018003f 842f0000 0101080a 18bfe521 a19b14f9 68656c6c6f"
	linuxSYN6    = "6002a21900280640 20010db8000000000000000000000001 20010db8000000000000000000000002 e3da2328 cf89ed3f 00000000 a002fd20 5ba30000 020405a0 0402080a 804c8923 00000000 0103030a"
	linuxSYNACK6 = "600fdd0400280640 20010db8000000000000000000000002 20010db8000000000000000000000001 2328e3da 1ef66a3a cf89ed40 a012fb04 5ba30000 020405a0 0402080a 55ea1c32 804c8923 0103030a"
	linuxFIN6    = "600fdd0400200640 20010db8000000000000000000000002 20010db8000000000000000000000001 2328e3da 1ef66a3b cf89ed45 8011003f 5b9b0000 0101080a 55ea1c32 804c8923"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var goldens = map[string]string{
	"syn4": linuxSYN4, "synack4": linuxSYNACK4, "ack4": linuxACK4, "data4": linuxData4,
	"syn6": linuxSYN6, "synack6": linuxSYNACK6, "fin6": linuxFIN6,
}

// echo writes the headers of the segment that g was parsed from.
func echo(g *segment, ttl uint8, id uint16, label uint32) []byte {
	tu := tuple{local: g.tuple.remote, remote: g.tuple.local, localPort: g.tuple.remotePort, remotePort: g.tuple.localPort}
	h := header{tuple: &tu, pseudo: tu.pseudoSum(), ttl: ttl, id: id, label: label, flags: g.flags, window: g.window, seq: g.seq, ack: g.ack, opts: g.opts}
	ip, tcp := h.size()
	b := make([]byte, ip+tcp, ip+tcp+len(g.payload))
	h.put(b, len(g.payload))
	return append(b, g.payload...)
}

func TestSegmentsOfLinuxAreReadAndWrittenByteForByte(t *testing.T) {
	for name, text := range goldens {
		t.Run(name, func(t *testing.T) {
			pkt := unhex(t, text)
			var g segment
			if !g.parse(pkt) {
				t.Fatal("not understood")
			}
			id, label := uint16(0), uint32(0)
			if g.v6 {
				label = uint32(pkt[1]&15)<<16 | uint32(pkt[2])<<8 | uint32(pkt[3])
			} else {
				id = uint16(pkt[4])<<8 | uint16(pkt[5])
			}
			if diff := cmp.Diff(pkt, echo(&g, 64, id, label)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSYNOfLinuxSaysWhatTcpdumpSaw(t *testing.T) {
	var g segment
	g.parse(unhex(t, linuxSYN4))
	want := segment{
		tuple: newTuple(netip.MustParseAddrPort("192.0.2.2:9000"), netip.MustParseAddrPort("192.0.2.1:53964")),
		flags: flagSYN, window: 64240, seq: 242062045,
		opts:    options{mss: 1460, wscale: 10, sack: true, stamps: true, val: 415229217},
		payload: []byte{},
	}
	if diff := cmp.Diff(want, g, cmp.AllowUnexported(segment{}, tuple{}, options{})); diff != "" {
		t.Error(diff)
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	for name, text := range goldens {
		pkt := unhex(t, text)
		for n := range pkt {
			var g segment
			if g.parse(pkt[:n:n]) {
				t.Errorf("%s cut to %d bytes was accepted", name, n)
			}
		}
	}
}

func TestFragmentsAndOtherProtocolsAreRefused(t *testing.T) {
	for name, change := range map[string]func([]byte){
		"fragment":       func(b []byte) { b[6] = 0x20 },
		"offset":         func(b []byte) { b[7] = 1 },
		"udp":            func(b []byte) { b[9] = 17 },
		"short header":   func(b []byte) { b[0] = 0x44 },
		"tcp offset 4":   func(b []byte) { b[32] = 0x40 },
		"tcp offset 15":  func(b []byte) { b[32] = 0xf0 },
		"version":        func(b []byte) { b[0] = 0x55 },
		"option length":  func(b []byte) { b[41] = 0 },
		"option overrun": func(b []byte) { b[41] = 200 },
	} {
		pkt := unhex(t, linuxSYN4)
		change(pkt)
		var g segment
		if g.parse(pkt) {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestOptionsAreLaidOutAsLinuxDoes(t *testing.T) {
	for _, c := range []struct {
		o    options
		want string
	}{
		{options{mss: 1460, sack: true, stamps: true, val: 1, wscale: 7}, "020405b4 0402080a 00000001 00000000 01030307"},
		{options{mss: 1460, stamps: true, val: 1, wscale: -1}, "020405b4 0101080a 00000001 00000000"},
		{options{mss: 1460, sack: true, wscale: 7}, "020405b4 01010402 01030307"},
		{options{mss: 1460, wscale: -1}, "020405b4"},
		{options{wscale: -1}, ""},
	} {
		got := c.o.append(nil)
		if !bytes.Equal(got, unhex(t, c.want)) {
			t.Errorf("%+v: %x, want %s", c.o, got, c.want)
		}
		var back options
		if !parseOptions(got, &back) || back != c.o {
			t.Errorf("%+v came back as %+v", c.o, back)
		}
		h := header{tuple: &tuple{local: netip.MustParseAddr("192.0.2.1").As16()}, opts: c.o}
		if _, tcp := h.size(); tcp != tcpLen+len(got) {
			t.Errorf("%+v: size says %d", c.o, tcp)
		}
	}
}

func TestFinishedChecksumIsTheOneOnTheWire(t *testing.T) {
	for text, want := range map[string]uint16{linuxSYN4: 0x33e8, linuxSYNACK4: 0x74a3, linuxData4: 0x5ddd, linuxSYN6: 0x223f, linuxFIN6: 0x5278} {
		pkt := unhex(t, text)
		finishChecksum(pkt)
		at := 20 + 16
		if pkt[0]>>4 == 6 {
			at += 20
		}
		if got := uint16(pkt[at])<<8 | uint16(pkt[at+1]); got != want {
			t.Errorf("%.20s...: checksum %#x, tcpdump says %#x", text, got, want)
		}
	}
}

func FuzzSegment(f *testing.F) {
	for _, text := range goldens {
		f.Add(unhex(f, text))
	}
	f.Fuzz(func(t *testing.T, pkt []byte) {
		var g, back segment
		if !g.parse(pkt) || len(pkt) > 60000 {
			return
		}
		again := echo(&g, 64, 0, 0)
		if !back.parse(again) {
			t.Fatalf("what we write is not understood: %x", again)
		}
		if back.seq != g.seq || back.opts != g.opts || back.tuple != g.tuple || !bytes.Equal(back.payload, g.payload) {
			t.Fatalf("%+v came back as %+v", g, back)
		}
	})
}

func TestSipHashVectors(t *testing.T) {
	k := hashKey{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	in := make([]byte, 15)
	for i := range in {
		in[i] = byte(i)
	}
	if got := k.sum(in); got != 0xa129ca6149be45e5 { // the paper's appendix A
		t.Errorf("15 bytes: %#x", got)
	}
	if got := k.sum(nil); got != 0x726fdb47dd0e0e31 {
		t.Errorf("nothing: %#x", got)
	}
}
