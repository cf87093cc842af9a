package wire

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
)

// Keys are the three keys that everybody in a mesh derives from its mesh key.
type Keys struct {
	Mask  [32]byte // hides headers
	Outer [32]byte // seals handshake datagrams
	PSK   [32]byte // mixed into the Noise handshake
}

// DeriveKeys derives the keys of a mesh (HKDF-SHA256, RFC 5869; one info per key).
func DeriveKeys(meshKey [32]byte) Keys {
	var k Keys
	for _, d := range []struct {
		info string
		dst  *[32]byte
	}{
		{"lightweight-tunnel v1 header mask", &k.Mask},
		{"lightweight-tunnel v1 outer", &k.Outer},
		{"lightweight-tunnel v1 psk", &k.PSK},
	} {
		b, err := hkdf.Key(sha256.New, meshKey[:], nil, d.info, len(d.dst))
		if err != nil {
			panic("derive mesh keys: " + err.Error()) // only for lengths above 8160 bytes
		}
		copy(d.dst[:], b)
	}
	return k
}

// Masker hides and shows headers. It is immutable; any goroutine may use it.
// Its zero value is not usable: see [NewMasker].
type Masker struct{ block cipher.Block }

// NewMasker returns a masker for one mesh.
func NewMasker(key [32]byte) *Masker {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("header mask: " + err.Error()) // only for a wrong key length
	}
	return &Masker{block: block}
}

// Mask hides the header of a datagram of at least Overhead bytes, in place.
// Mask is its own inverse; see also [Masker.Unmask].
func (m *Masker) Mask(datagram []byte) {
	// The mask is computed in the place of the sample, which is put back at
	// once: a buffer on the stack would be moved to the heap by the interface.
	sample := datagram[HeaderLen:Overhead:Overhead]
	s0, s1 := binary.NativeEndian.Uint64(sample), binary.NativeEndian.Uint64(sample[8:])
	m.block.Encrypt(sample, sample)
	m0, m1 := binary.NativeEndian.Uint64(sample), binary.NativeEndian.Uint64(sample[5:])
	binary.NativeEndian.PutUint64(sample, s0)
	binary.NativeEndian.PutUint64(sample[8:], s1)

	// 13 bytes as two words that overlap in bytes 5 to 7: both are read before
	// either is written, so the overlap is masked once.
	head := datagram[:HeaderLen]
	h0, h1 := binary.NativeEndian.Uint64(head), binary.NativeEndian.Uint64(head[5:])
	binary.NativeEndian.PutUint64(head, h0^m0)
	binary.NativeEndian.PutUint64(head[5:], h1^m1)
}

// Unmask shows the header of a received datagram, in place, and reads it.
// ErrShort leaves the datagram as it was.
func (m *Masker) Unmask(datagram []byte) (Header, error) {
	if len(datagram) < Overhead {
		return Header{}, ErrShort
	}
	m.Mask(datagram)
	return ParseHeader(datagram)
}
