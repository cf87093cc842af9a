package tun

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"testing"
)

var superHeader = Header{Flags: NeedsChecksum, GSOType: GSOTCPv4, HdrLen: 0x0034, GSOSize: 0x0554, CsumStart: 0x0014, CsumOffset: 0x0010}

func TestHeaderHasTheBytesOfVirtioInHostOrder(t *testing.T) {
	want := "01013400540514001000"
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		want = "01010034055400140010"
	}
	if got := hex.EncodeToString(superHeader.Append(nil)); got != want {
		t.Fatalf("encoded %s, want %s", got, want)
	}
	put := make([]byte, HeaderLen)
	superHeader.Put(put)
	if got := hex.EncodeToString(put); got != want {
		t.Fatalf("put %s, want %s", got, want)
	}
	raw, _ := hex.DecodeString(want)
	got, err := ParseHeader(append(raw, 0x45))
	if err != nil || got != superHeader {
		t.Fatalf("parsed %+v, %v", got, err)
	}
}

func TestHeaderCutShortIsRefused(t *testing.T) {
	full := superHeader.Append(nil)
	for n := range full {
		if _, err := ParseHeader(full[:n]); err == nil {
			t.Fatalf("%d bytes were accepted", n)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(superHeader.Append(nil))
	f.Add(Header{}.Append(nil))
	f.Add(Header{GSOType: GSOUDP, GSOSize: 1200, HdrLen: 28}.Append([]byte{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			if len(b) >= HeaderLen {
				t.Fatalf("%x: %v", b, err)
			}
			return
		}
		if !bytes.Equal(h.Append(nil), b[:HeaderLen]) {
			t.Fatalf("%x became %x", b[:HeaderLen], h.Append(nil))
		}
	})
}
