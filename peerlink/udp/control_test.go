package udp

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// received writes control messages as the kernel does for a received datagram.
func received(local netip.Addr, ifindex, segment int) []byte {
	var c controls
	o := outgoing{source: local, ifindex: ifindex}
	n := o.put(&c, local.Is6())
	b := c.bytes()
	if local.Is4() {
		four := local.As4()
		copy(b[unix.CmsgLen(8):], four[:]) // the header's destination
	}
	if segment != 0 {
		data := putCmsg(b, &n, unix.SOL_UDP, unix.UDP_GRO, 4)
		binary.NativeEndian.PutUint32(data, uint32(segment))
	}
	return b[:n]
}

func TestControlMessagesAreReadAsTheyWereWritten(t *testing.T) {
	for _, want := range []ancillary{
		{a4, true, 7, 1200}, {a6, true, 1 << 20, 65535}, {a4, true, 1, 0},
		{netip.MustParseAddr("ff02::1"), false, 3, 0},
	} {
		var got ancillary
		if b := received(want.local, want.ifindex, want.segment); !got.parse(b) || got != want {
			t.Errorf("%+v, not %+v", got, want)
		}
	}
	b := received(a4, 1, 0)
	b[unix.CmsgLen(8)] ^= 1 // sent to another address than it came to: a broadcast
	var got ancillary
	if !got.parse(b) || got.unicast {
		t.Errorf("%+v", got)
	}
}

func TestControlMessagesHaveTheKernelsLayout(t *testing.T) {
	if unix.SizeofCmsghdr != 16 || binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("bytes of a little-endian machine with words of 64 bits")
	}
	for _, c := range []struct {
		o    outgoing
		v6   bool
		want string
	}{
		{outgoing{a4, 3, 1200, 5}, false,
			"1c00000000000000 00000000 08000000 03000000 0a4d0001 00000000 00000000" +
				"1200000000000000 11000000 67000000 b004000000000000" +
				"1400000000000000 00000000 02000000 0500000000000000"},
		{outgoing{a6, 3, 1200, 5}, true,
			"2400000000000000 29000000 32000000 fd770000000000000000000000000001 03000000 00000000" +
				"1200000000000000 11000000 67000000 b004000000000000" +
				"1400000000000000 29000000 34000000 0500000000000000"},
		{outgoing{}, true, "2400000000000000 29000000 32000000" + strings.Repeat("00", 24)},
	} {
		var b controls
		n := c.o.put(&b, c.v6)
		if got, want := hex.EncodeToString(b.bytes()[:n]), strings.ReplaceAll(c.want, " ", ""); got != want {
			t.Errorf("%+v:\n%s, not\n%s", c.o, got, want)
		}
	}
}

func TestCutControlMessagesAreRefusedOrShort(t *testing.T) {
	for _, local := range []netip.Addr{a4, a6} {
		whole := received(local, 7, 1200)
		var full ancillary
		full.parse(whole)
		for n := range whole {
			var got ancillary
			ok := got.parse(whole[:n:n])
			if ok && got == full && n < len(whole)-cmsgAlign(4)+4 {
				t.Errorf("%v: all is told by %d of %d bytes", local, n, len(whole))
			}
		}
	}
}

func FuzzControlMessages(f *testing.F) {
	for _, local := range []netip.Addr{a4, a6} {
		f.Add(received(local, 7, 1200))
		f.Add(received(local, 7, 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var a ancillary
		if a.parse(b) && a.segment < 0 {
			t.Fatalf("%+v", a)
		}
	})
}

func TestWhatLooksLikeSTUN(t *testing.T) {
	request := []byte(stunMessage)
	with := func(change func(b []byte) []byte) []byte { return change([]byte(stunMessage)) }
	for name, c := range map[string]struct {
		b    []byte
		want bool
	}{
		"binding request":     {request, true},
		"success response":    {with(func(b []byte) []byte { b[0] = 1; return b }), true},
		"with an attribute":   {with(func(b []byte) []byte { b[3] = 8; return append(b, 0x80, 0x22, 0, 4, 'a', 'b', 'c', 'd') }), true},
		"too long":            {append([]byte(stunMessage), 0), false},
		"length without data": {with(func(b []byte) []byte { b[3] = 4; return b }), false},
		"odd length":          {with(func(b []byte) []byte { b[3] = 2; return append(b, 0, 0) }), false},
		"no cookie":           {with(func(b []byte) []byte { b[4] = 0; return b }), false},
		"first bit":           {with(func(b []byte) []byte { b[0] |= 0x80; return b }), false},
		"second bit":          {with(func(b []byte) []byte { b[0] |= 0x40; return b }), false},
		"nothing":             {nil, false},
	} {
		if got := LooksLikeSTUN(c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for n := range request {
		if LooksLikeSTUN(request[:n]) {
			t.Errorf("cut at %d", n)
		}
	}
}

func FuzzLooksLikeSTUN(f *testing.F) {
	f.Add([]byte(stunMessage))
	f.Fuzz(func(t *testing.T, b []byte) {
		if LooksLikeSTUN(b) && (len(b) < 20 || b[0] > 0x3f || len(b)%4 != 0) {
			t.Fatalf("%x", b)
		}
	})
}
