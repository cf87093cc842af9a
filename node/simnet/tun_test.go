package simnet

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/tun"
)

var (
	v4a = netip.MustParseAddrPort("10.0.0.1:1000")
	v4b = netip.MustParseAddrPort("10.0.0.2:2000")
	v6a = netip.MustParseAddrPort("[fd00::1]:1000")
	v6b = netip.MustParseAddrPort("[fd00::2]:2000")
)

func TestBuiltPacketsAreRightAndEveryFlippedBitIsSeen(t *testing.T) {
	for name, p := range map[string][]byte{
		"udp4":   UDP(v4a, v4b, []byte("payload")),
		"udp6":   UDP(v6a, v6b, []byte("payload!")),
		"tcp4":   TCP(v4a, v4b, 1, 2, ACK|PSH, []byte("odd")),
		"tcp6":   TCP(v6a, v6b, 1, 2, SYN, nil),
		"echo4":  Echo(v4a.Addr(), v4b.Addr(), 7, 1, []byte("ping")),
		"echo6":  Echo(v6a.Addr(), v6b.Addr(), 7, 1, []byte("ping")),
		"reply4": EchoReply(v4b.Addr(), v4a.Addr(), 7, 1, []byte("ping")),
		"reply6": EchoReply(v6b.Addr(), v6a.Addr(), 7, 1, []byte("ping")),
	} {
		if err := Check(p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		start, _, _ := transportOf(p)
		for i := start; i < len(p); i++ {
			p[i] ^= 1
			if Check(p) == nil {
				t.Errorf("%s: byte %d flipped and not seen", name, i)
			}
			p[i] ^= 1
		}
		for i := range p {
			if Check(p[:i]) == nil {
				t.Errorf("%s: cut to %d bytes and not seen", name, i)
			}
		}
	}
}

func TestAnEchoHasTheBytesOfAHandMadeOne(t *testing.T) {
	got := hex.EncodeToString(Echo(v4a.Addr(), v4b.Addr(), 0x1234, 1, []byte("abcd")))
	// IPv4: 4500 + 0020 + 4000 + 4001 + 0a00 + 0001 + 0a00 + 0002 = d924; complement 26db.
	// ICMP: 0800 + 1234 + 0001 + 6162 + 6364 = de fb; complement 2104.
	want := "450000200000400040" + "01" + "26db" + "0a000001" + "0a000002" + "08002104" + "12340001" + "61626364"
	if got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestASuperPacketIsCutIntoThePacketsThatItStandsFor(t *testing.T) {
	payload := make([]byte, 30_011)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	for name, p := range map[string][]byte{
		"tcp4": TCP(v4a, v4b, 0xfffff000, 9, ACK|PSH|FIN, payload),
		"tcp6": TCP(v6a, v6b, 0xfffff000, 9, ACK|PSH|FIN, payload),
		"udp4": UDP(v4a, v4b, payload),
		"udp6": UDP(v6a, v6b, payload),
	} {
		h, super := Super(p, 1400)
		pieces, err := Segment(h, super)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(pieces) != 22 {
			t.Fatalf("%s: %d pieces", name, len(pieces))
		}
		var joined []byte
		start, proto, _ := transportOf(p)
		for i, piece := range pieces {
			joined = append(joined, piece[h.HdrLen:]...)
			if proto != protoTCP {
				continue
			}
			if seq := binary.BigEndian.Uint32(piece[start+4:]); seq != 0xfffff000+uint32(i)*1400 {
				t.Fatalf("%s: piece %d has seq %#x", name, i, seq)
			}
			if ended, last := piece[start+13]&(FIN|PSH) != 0, i == len(pieces)-1; ended != last {
				t.Fatalf("%s: piece %d has flags %#x", name, i, piece[start+13])
			}
		}
		if !bytes.Equal(joined, payload) {
			t.Fatalf("%s: the payload is not what it was", name)
		}
		h, open := Super(p, 65000)
		if pieces, err = Segment(h, open); err != nil || len(pieces) != 1 || !bytes.Equal(pieces[0], p) {
			t.Fatalf("%s: completing the checksum alone: %v", name, err)
		}
	}
}

func TestSegmentRefusesWhatAKernelWould(t *testing.T) {
	h, super := Super(TCP(v4a, v4b, 1, 2, ACK, make([]byte, 5000)), 1000)
	for name, change := range map[string]func(*tun.Header, []byte){
		"no size":           func(h *tun.Header, _ []byte) { h.GSOSize = 0 },
		"wrong family":      func(h *tun.Header, _ []byte) { h.GSOType = tun.GSOTCPv6 },
		"wrong protocol":    func(h *tun.Header, _ []byte) { h.GSOType = tun.GSOUDP },
		"unknown type":      func(h *tun.Header, _ []byte) { h.GSOType = 77 },
		"checksum closed":   func(h *tun.Header, _ []byte) { h.Flags = 0 },
		"checksum far away": func(h *tun.Header, _ []byte) { h.CsumStart = 60000 },
		"no pseudo-header":  func(_ *tun.Header, p []byte) { p[20+16] ^= 1 },
		"wrong length":      func(_ *tun.Header, p []byte) { p[3]++ },
	} {
		h, p := h, append([]byte(nil), super...)
		change(&h, p)
		if _, err := Segment(h, p); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzSegmentNeverPanics(f *testing.F) {
	for _, p := range [][]byte{
		TCP(v4a, v4b, 1, 2, ACK, make([]byte, 3000)), TCP(v6a, v6b, 1, 2, ACK, make([]byte, 3000)),
		UDP(v4a, v4b, make([]byte, 3000)),
	} {
		h, super := Super(p, 1000)
		f.Add(append(h.Append(nil), super...))
	}
	f.Add(append(tun.Header{}.Append(nil), Echo(v4a.Addr(), v4b.Addr(), 1, 1, nil)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := tun.ParseHeader(b)
		if err != nil {
			return
		}
		pieces, err := Segment(h, b[tun.HeaderLen:])
		if err != nil {
			return
		}
		for _, p := range pieces {
			if err := Check(p); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestTheDeviceCarriesPacketsBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := NewTun()
		buf := make([]byte, tun.MaxRead)
		type result struct {
			n   int
			err error
		}
		results := make(chan result)
		read := func() { n, err := dev.Read(buf); results <- result{n, err} }

		go read()
		synctest.Wait()
		ping := Echo(v4a.Addr(), v4b.Addr(), 1, 1, []byte("x"))
		if !dev.Inject(ping) {
			t.Fatal("not taken")
		}
		if r := <-results; r.err != nil || !bytes.Equal(buf[tun.HeaderLen:r.n], ping) {
			t.Fatalf("%+v", r)
		}
		if _, ok, err := dev.Poll(buf); ok || err != nil {
			t.Fatal("a packet out of nothing", err)
		}
		go read()
		synctest.Wait()
		dev.Wake()
		if r := <-results; r != (result{}) {
			t.Fatalf("%+v", r)
		}

		h, super := Super(UDP(v4a, v4b, make([]byte, 2500)), 1000)
		if err := dev.Write(append(h.Append(nil), super...)); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := dev.Take(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := dev.Take(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if dev.Write([]byte("too short")) != nil || len(dev.Bad()) != 1 {
			t.Fatal("a bad packet is counted, not an error")
		}
		dev.Write(append(tun.Header{}.Append(nil), ping...))
		if dev.Got(super) || !dev.Got(ping) || dev.Got(ping) || len(dev.TakeAll()) != 0 {
			t.Fatal("Got takes what was delivered, once")
		}

		go read()
		synctest.Wait()
		dev.Close()
		if r := <-results; r.err != tun.ErrClosed {
			t.Fatalf("%+v", r)
		}
		if err := dev.Write(ping); err != tun.ErrClosed {
			t.Fatal(err)
		}
	})
}
