package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

const (
	segments = 40
	size     = 1400
	tail     = 300
	whole    = (segments-1)*size + tail
)

// offloads are the ways in which a link may treat super-segments.
var offloads = []struct {
	name     string
	commands []string // on both ends
	super    bool     // arrives whole
}{
	{"offloads on", nil, true},
	{"TSO off", []string{"ethtool -K v0 tso off gso off gro on"}, false},
	{"all off", []string{"ethtool -K v0 tso off gso off gro off tx off rx off"}, false},
}

func TestBurstsArriveIntactInEveryMode(t *testing.T) {
	senders := map[string]Options{
		ModeGSO: {}, ModePacket: {NoGSO: true}, ModeRawSocket: {NoPacketSocket: true},
	}
	taps := map[string]TapOptions{
		"ring": {}, "queue": {NoRing: true}, "queue without vnet_hdr": {NoVnetHdr: true},
	}
	for _, off := range offloads {
		a, b := nstest.Pair(t)
		a.Run(off.commands...)
		b.Run(off.commands...)
		for mode, so := range senders {
			for tapName, to := range taps {
				t.Run(fmt.Sprintf("%s/%s/%s", off.name, mode, tapName), func(t *testing.T) {
					from, to := newStation(t, a, so, TapOptions{}), newStation(t, b, Options{}, to)
					burst(t, from, to, a4, b4, off.super, mode)
					burst(t, from, to, a6, b6, off.super, mode)
				})
			}
		}
	}
}

// burst sends one and looks closely at what arrives.
func burst(t *testing.T, from, to *station, src, dst netip.Addr, super bool, mode string) {
	t.Helper()
	hop := lookup(t, from, dst)
	until(t, hop, "mode "+mode, func() bool { return hop.Mode() == mode })
	if hop.Source() != src {
		t.Fatalf("source %v, want %v", hop.Source(), src)
	}
	train := packet.NewTrain()
	ipLen, tcpLen := load(train, src, dst, segments, size, tail)
	want := append([]byte(nil), train.Bytes()...)
	if err := from.sender.Send(hop, train, ipLen, tcpLen); err != nil {
		t.Fatal(err)
	}
	got := collect(t, to.tap, whole)
	check(t, got, want, 0xffffff00)
	if super && mode == ModeGSO {
		if len(got) != 1 {
			t.Fatalf("super-segment arrived as %d packets", len(got))
		}
		if q, ok := to.tap.source.(*queue); (!ok || q.vnet) && got[0].segment != size {
			t.Fatalf("segment size %d, want %d", got[0].segment, size)
		}
	}
	if super && mode == ModePacket && len(got) != segments {
		t.Fatalf("%d packets, want %d", len(got), segments)
	}
	if hop.Mode() != mode {
		t.Fatalf("mode became %s", hop.Mode())
	}
}

// check puts the stream together by sequence numbers and compares it. Packets
// whose checksum is complete must have a right one.
func check(t *testing.T, got []arrival, want []byte, seq uint32) {
	t.Helper()
	stream := make([]byte, len(want))
	for i, p := range got {
		ipLen, tcpLen, _ := headerLengths(p.ip)
		tcp := p.ip[ipLen:]
		payload := tcp[tcpLen:]
		offset := int(binary.BigEndian.Uint32(tcp[4:]) - seq)
		if offset < 0 || offset+len(payload) > len(stream) {
			t.Fatalf("packet %d at offset %d with %d bytes", i, offset, len(payload))
		}
		copy(stream[offset:], payload)
		last := offset+len(payload) == len(want)
		if psh := tcp[13]&tcpPSH != 0; psh != last {
			t.Errorf("packet %d at %d: PSH %v", i, offset, psh)
		}
		if p.ip[0]>>4 == 4 {
			if id := binary.BigEndian.Uint16(p.ip[4:]); id != uint16(0xfff0+offset/size) {
				t.Errorf("packet %d at %d: id %#x", i, offset, id)
			}
			if fold(sum(p.ip[:ipLen], 0)) != 0xffff {
				t.Errorf("packet %d: bad IPv4 header checksum", i)
			}
		}
	}
	if !bytes.Equal(stream, want) {
		t.Fatal("the stream is not what was sent")
	}
}
