package wire

import (
	"crypto/cipher"
	"errors"

	"github.com/openbmx/lightweight-tunnel/peerlink/aesgcm"
)

// ErrOpen is returned for a datagram whose tag does not fit: changed on the way,
// or sealed under another key.
var ErrOpen = errors.New("datagram does not authenticate")

// NewAEAD returns AES-256-GCM under key.
func NewAEAD(key [32]byte) cipher.AEAD {
	return aesgcm.New(key)
}

// Seal writes the datagram that carries plain, header masked, into dst, whose
// length must be len(plain)+Overhead. plain may not overlap dst. 0 allocations.
func Seal(dst []byte, m *Masker, aead cipher.AEAD, h Header, plain []byte) {
	_ = dst[len(plain)+Overhead-1]
	h.PutNonce(dst)
	aead.Seal(dst[HeaderLen:HeaderLen], dst[:NonceLen], plain, nil)
	h.Put(dst)
	m.Mask(dst)
}

// Open opens the ciphertext of an unmasked datagram with header h behind dst and
// returns the longer slice, as [cipher.AEAD.Open] does: dst[len(dst):] either
// overlaps the ciphertext exactly (datagram[HeaderLen:HeaderLen]) or not at all.
// The header in datagram is overwritten. On error the room behind dst is
// overwritten as well. 0 allocations if dst has the capacity.
func Open(dst []byte, aead cipher.AEAD, h Header, datagram []byte) ([]byte, error) {
	if len(datagram) < Overhead {
		return nil, ErrShort
	}
	h.PutNonce(datagram)
	plain, err := aead.Open(dst, datagram[:NonceLen], datagram[HeaderLen:], nil)
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}
