package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

// A STUN datagram with a fixed nonce and no padding; sealed a second time with
// Python's cryptography.
const goldenSTUN = "f50b91a2516c26b5c76aa52600c46c304f2588cbd9110967720e89f232b4f9434b13890a6b8cc7599b29b043c03db784774a6bf55a"

func TestASTUNDatagramIsGolden(t *testing.T) {
	k, m := testKeys()
	outer := NewOuter(k.Outer, m)
	d, err := hex.DecodeString(goldenSTUN)
	if err != nil {
		t.Fatal(err)
	}
	for n := range d {
		if h, err := m.Unmask(bytes.Clone(d[:n])); err == nil {
			if _, err := outer.Open(h, bytes.Clone(d[:n])); err == nil {
				t.Errorf("%d of %d bytes were opened", n, len(d))
			}
		}
	}
	h, err := m.Unmask(d)
	if err != nil || h.Kind != STUN {
		t.Fatalf("%+v, %v", h, err)
	}
	got, err := outer.Open(h, d)
	if err != nil || got.Kind != STUN || string(got.Body) != "a STUN message" {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestSTUNIsSealedLikeAHandshake(t *testing.T) {
	k, m := testKeys()
	outer := NewOuter(k.Outer, m)
	stranger := NewOuter([32]byte{1}, m)
	d := outer.Append(nil, Handshake{Kind: STUN, Body: []byte("question")}, 1200)
	h, err := m.Unmask(d)
	if err != nil || !h.Kind.IsHandshake() || h.Kind.IsData() || h.Kind.String() != "stun" {
		t.Fatalf("%+v, %v", h, err)
	}
	if _, err := stranger.Open(h, bytes.Clone(d)); !errors.Is(err, ErrOpen) {
		t.Errorf("without the mesh key: %v", err)
	}
	other := bytes.Clone(d)
	other[0] = byte(Refusal)
	h.Kind = Refusal
	if _, err := outer.Open(h, other); !errors.Is(err, ErrOpen) {
		t.Errorf("as another kind: %v", err)
	}
}

func TestADatagramIsAsLongAsIsAskedFor(t *testing.T) {
	k := DeriveKeys([32]byte{7})
	m := NewMasker(k.Mask)
	outer := NewOuter(k.Outer, m)
	body := []byte("question")
	least := HandshakeOverhead + len(body)
	for size, want := range map[int]int{0: least, least: least, least + 1: least + 1, 1472: 1472, 8972: 8972} {
		d := outer.AppendSized([]byte("before"), Handshake{Kind: STUN, Body: body}, size)[len("before"):]
		if len(d) != want {
			t.Errorf("asked for %d bytes: %d, want %d", size, len(d), want)
		}
		h, err := m.Unmask(d)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := outer.Open(h, d); err != nil || !bytes.Equal(got.Body, body) {
			t.Errorf("of %d bytes: %q, %v", size, got.Body, err)
		}
	}
}
