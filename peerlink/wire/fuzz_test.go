package wire

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

func FuzzParseFrames(f *testing.F) {
	var all []byte
	for _, frame := range someFrames {
		f.Add(frame.Append(nil))
		all = frame.Append(all)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		frames, err := ParseFrames(b)
		if err != nil {
			return
		}
		var again []byte
		for _, frame := range frames {
			again = frame.Append(again)
		}
		back, err := ParseFrames(again)
		if err != nil || len(back) != len(frames) {
			t.Fatalf("%v, %v", back, err)
		}
		for i := range frames {
			if !reflect.DeepEqual(back[i], frames[i]) {
				t.Fatalf("%+v became %+v", frames[i], back[i])
			}
		}
	})
}

func FuzzParseRefused(f *testing.F) {
	f.Add(Refused{Code: RefusedClock, Time: 5, Reason: "why"}.Body())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseRefused(b); err == nil && !bytes.Equal(r.Body(), b) {
			t.Fatalf("%x became %x", b, r.Body())
		}
	})
}

// FuzzDatagram feeds every parser of received datagrams.
func FuzzDatagram(f *testing.F) {
	k, m := testKeys()
	aead := NewAEAD([32]byte{1})
	outer := NewOuter(k.Outer, m)
	d := make([]byte, 20+Overhead)
	Seal(d, m, aead, Header{Kind: Data, Index: 1, Counter: 2}, make([]byte, 20))
	f.Add(bytes.Clone(d))
	relayed := append(make([]byte, RelayOverhead), d...)
	SealEnvelope(relayed, m, aead, Header{Kind: Relay, Index: 1, Counter: 3}, Envelope{Dst: message.ShortID{1}, Hops: 1})
	f.Add(relayed)
	f.Add(outer.Append(nil, Handshake{Kind: HandshakeInit, Sender: 1, Body: []byte("body")}, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := m.Unmask(b)
		if err != nil {
			return
		}
		_, _ = outer.Open(h, bytes.Clone(b))
		_, _, _ = OpenEnvelope(aead, h, bytes.Clone(b))
		_, _ = Open(nil, aead, h, b)
	})
}
