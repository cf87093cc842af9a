package wire

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/punch"
)

func testKeys() (Keys, *Masker) {
	var mesh [32]byte
	for i := range mesh {
		mesh[i] = byte(i)
	}
	k := DeriveKeys(mesh)
	return k, NewMasker(k.Mask)
}

func TestKeysOfAMeshAreGolden(t *testing.T) {
	k, _ := testKeys()
	for name, c := range map[string]struct {
		got  [32]byte
		want string
	}{
		"mask": {k.Mask, goldenMask}, "outer": {k.Outer, goldenOuter}, "psk": {k.PSK, goldenPSK},
	} {
		if got := hex.EncodeToString(c.got[:]); got != c.want {
			t.Errorf("%s key is %s, want %s", name, got, c.want)
		}
	}
}

func TestADatagramIsGolden(t *testing.T) {
	_, m := testKeys()
	aead := NewAEAD([32]byte{1})
	plain := []byte("an IP packet")
	dst := make([]byte, len(plain)+Overhead)
	Seal(dst, m, aead, Header{Kind: Data, Index: 0x01020304, Counter: 5}, plain)
	if got := hex.EncodeToString(dst); got != goldenDatagram {
		t.Errorf("datagram is %s, want %s", got, goldenDatagram)
	}
}

func TestSealedDatagramsOpenAndTellTheirHeader(t *testing.T) {
	_, m := testKeys()
	aead := NewAEAD([32]byte{1})
	for _, n := range []int{0, 1, 15, 16, 17, 1371} {
		for _, h := range []Header{{Data, 1, 0}, {DataPartial, math.MaxUint32, math.MaxUint64}, {Control, 7, 1 << 40}} {
			plain := make([]byte, n)
			rand.Read(plain)
			d := make([]byte, n+Overhead)
			Seal(d, m, aead, h, plain)
			got, err := m.Unmask(d)
			if err != nil || got != h {
				t.Fatalf("%d bytes: header %+v, %v, want %+v", n, got, err, h)
			}
			opened, err := Open(d[HeaderLen:HeaderLen], aead, got, d)
			if err != nil || !bytes.Equal(opened, plain) {
				t.Fatalf("%d bytes: %v", n, err)
			}
		}
	}
}

func TestEveryChangedOrMissingByteIsNoticed(t *testing.T) {
	_, m := testKeys()
	aead := NewAEAD([32]byte{1})
	want := Header{Kind: Data, Index: 9, Counter: 77}
	d := make([]byte, 40+Overhead)
	Seal(d, m, aead, want, make([]byte, 40))
	for i := range d {
		c := bytes.Clone(d)
		c[i] ^= 0x80
		h, err := m.Unmask(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(nil, aead, h, c); err == nil && h == want {
			t.Errorf("byte %d may be changed", i)
		}
	}
	for n := range d {
		c := bytes.Clone(d[:n])
		h, err := m.Unmask(c)
		if n < Overhead {
			if !errors.Is(err, ErrShort) {
				t.Errorf("%d bytes: %v", n, err)
			}
			continue
		}
		if _, err := Open(nil, aead, h, c); !errors.Is(err, ErrOpen) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestTheKindIsAuthenticated(t *testing.T) {
	_, m := testKeys()
	aead := NewAEAD([32]byte{1})
	d := make([]byte, 10+Overhead)
	Seal(d, m, aead, Header{Kind: Data, Index: 9, Counter: 7}, make([]byte, 10))
	h, _ := m.Unmask(d)
	h.Kind = Control
	if _, err := Open(nil, aead, h, d); !errors.Is(err, ErrOpen) {
		t.Errorf("got %v", err)
	}
}

func TestDatagramsLookRandom(t *testing.T) {
	k, m := testKeys()
	aead := NewAEAD([32]byte{1})
	outer := NewOuter(k.Outer, m)
	const n = 4000
	var ones [Overhead]int
	sizes := map[int]bool{}
	for i := range n {
		d := make([]byte, 64+Overhead)
		Seal(d, m, aead, Header{Kind: Data, Index: 9, Counter: uint64(i)}, make([]byte, 64))
		if i%4 == 3 {
			d = outer.Append(nil, Handshake{Kind: HandshakeInit, Body: make([]byte, 56)}, 1400)
			sizes[len(d)] = true
		}
		for j := range ones {
			ones[j] += int(d[j] >> 7)
		}
	}
	for j, c := range ones {
		if c < n*45/100 || c > n*55/100 {
			t.Errorf("the first bit of byte %d is set in %d of %d datagrams", j, c, n)
		}
	}
	if len(sizes) < 200 {
		t.Errorf("handshakes have %d sizes", len(sizes))
	}
}

func TestEnvelopesOpenAndLeaveTheInnerDatagramAsItIs(t *testing.T) {
	_, m := testKeys()
	aead := NewAEAD([32]byte{1})
	inner := make([]byte, 100)
	rand.Read(inner)
	e := Envelope{Dst: message.ShortID{1, 2}, Src: message.ShortID{3}, Hops: 3}
	d := append(make([]byte, RelayOverhead), inner...)
	SealEnvelope(d, m, aead, Header{Kind: Relay, Index: 4, Counter: 9}, e)
	for n := range len(d) {
		c := bytes.Clone(d[:n])
		if h, err := m.Unmask(c); err == nil {
			if _, _, err := OpenEnvelope(aead, h, c); err == nil && n < RelayOverhead+Overhead {
				t.Errorf("%d bytes are taken", n)
			}
		}
	}
	h, err := m.Unmask(d)
	if err != nil || h.Kind != Relay {
		t.Fatalf("%+v, %v", h, err)
	}
	got, rest, err := OpenEnvelope(aead, h, d)
	if err != nil || got != e || !bytes.Equal(rest, inner) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestHandshakesOpenOnlyWithTheKeyAndWhole(t *testing.T) {
	k, m := testKeys()
	outer := NewOuter(k.Outer, m)
	want := Handshake{Kind: HandshakeResponse, Sender: 7, Receiver: 8, Body: []byte("noise")}
	d := outer.Append([]byte("before"), want, 1400)
	if string(d[:6]) != "before" {
		t.Fatal("what stood in dst is gone")
	}
	d = d[6:]
	for n := range d {
		c := bytes.Clone(d[:n])
		if h, err := m.Unmask(c); err == nil {
			if _, err := outer.Open(h, c); err == nil {
				t.Errorf("%d of %d bytes are taken", n, len(d))
			}
		}
	}
	other := NewOuter([32]byte{9}, m)
	c := bytes.Clone(d)
	h, _ := m.Unmask(c)
	if _, err := other.Open(h, c); !errors.Is(err, ErrOpen) {
		t.Errorf("another key: %v", err)
	}
	h, _ = m.Unmask(d)
	got, err := outer.Open(h, d)
	if err != nil || got.Kind != want.Kind || got.Sender != 7 || got.Receiver != 8 || string(got.Body) != "noise" {
		t.Fatalf("%+v, %v", got, err)
	}
	if n := len(outer.Append(nil, want, 0)); n != HandshakeOverhead+5 {
		t.Errorf("without room for padding it has %d bytes", n)
	}
}

var someFrames = []Frame{
	Ping{ID: 1, Time: -2, Received: 3, Highest: 4}, Pong{ID: 5, Time: 6, Received: 7, Highest: 8},
	Close{Reason: "bye"}, Refused{Code: RefusedByRoster, Time: 99, Reason: "address taken"},
	Call{Try: 1, Delay: 40 * time.Millisecond, Offer: someOffer},
	CallAnswer{Code: CallNotNow, Call: Call{Try: 2, Offer: punch.Offer{NAT: message.NAT{Mapping: message.EndpointIndependent, Preserves: true}}}},
	Probe{Try: 3, Seq: 4},
	Probed{Probe: Probe{Try: 5, Seq: 6}, Seen: netip.MustParseAddrPort("192.0.2.7:258")},
	Probed{Probe: Probe{Try: 5, Seq: 7}, Seen: netip.MustParseAddrPort("[2001:db8::1]:65535")}, Probed{Probe: Probe{Try: 8, Seq: 9}},
}

var someOffer = punch.Offer{
	NAT: message.NAT{Mapping: message.AddressAndPortDependent, Filtering: message.AddressDependent, Step: -2},
	Candidates: []punch.Candidate{
		{Kind: message.Host, Transport: packet.UDP, Addr: netip.MustParseAddrPort("10.0.0.1:4660")},
		{Kind: punch.Held, Transport: packet.RawTCP, Addr: netip.MustParseAddrPort("[fd00::1]:1")},
	},
}

func TestFramesAreGoldenAndComeBack(t *testing.T) {
	var b []byte
	ends := map[int]bool{0: true}
	for _, f := range someFrames {
		b = f.Append(b)
		ends[len(b)] = true
	}
	if got := hex.EncodeToString(b); got != goldenFrames {
		t.Errorf("frames are %s, want %s", got, goldenFrames)
	}
	got, err := ParseFrames(b)
	if err != nil || len(got) != len(someFrames) {
		t.Fatalf("%v, %v", got, err)
	}
	for i, f := range someFrames {
		if !reflect.DeepEqual(got[i], f) {
			t.Errorf("frame %d is %+v, want %+v", i, got[i], f)
		}
	}
	for n := range b {
		if _, err := ParseFrames(b[:n]); (err == nil) != ends[n] {
			t.Errorf("%d of %d bytes: %v", n, len(b), err)
		}
	}
}

func TestUnknownFramesAreSkippedAndTextIsHarmless(t *testing.T) {
	b := append([]byte{200, 0, 2, 1, 1}, Close{Reason: "x"}.Append(nil)...)
	if got, err := ParseFrames(b); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"\x1b[2J", "a\nb", "\xff", "\u0085"} {
		if _, err := ParseFrames(Close{Reason: bad}.Append(nil)); err == nil {
			t.Errorf("reason %q is taken", bad)
		}
	}
	long := strings.Repeat("ä", MaxReason)
	got, err := ParseFrames(Close{Reason: long}.Append(nil))
	if err != nil || len(got[0].(Close).Reason) != MaxReason {
		t.Errorf("a long reason: %v", err)
	}
	if _, err := ParseFrames(Close{Reason: "x" + long}.Append(nil)); err != nil {
		t.Errorf("a reason cut between bytes of a character: %v", err)
	}
}

func TestTheHotPathAllocatesNothing(t *testing.T) {
	_, m := testKeys()
	aead := NewAEAD([32]byte{1})
	plain, d := make([]byte, 1300), make([]byte, 1300+Overhead)
	out := make([]byte, 0, 1300)
	n := testing.AllocsPerRun(200, func() {
		Seal(d, m, aead, Header{Kind: Data, Index: 9, Counter: 3}, plain)
		h, err := m.Unmask(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(out, aead, h, d); err != nil {
			t.Fatal(err)
		}
		SealEnvelope(d, m, aead, Header{Kind: Relay, Index: 4}, Envelope{})
		h, _ = m.Unmask(d)
		if _, _, err := OpenEnvelope(aead, h, d); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSeal1350(b *testing.B) {
	_, m := testKeys()
	aead := NewAEAD([32]byte{1})
	plain, d := make([]byte, 1350), make([]byte, 1350+Overhead)
	b.SetBytes(1350)
	for i := range b.N {
		Seal(d, m, aead, Header{Kind: Data, Index: 9, Counter: uint64(i)}, plain)
	}
}
