package wire

import (
	"crypto/cipher"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

const (
	// EnvelopeLen is the length of an envelope in the clear, in bytes.
	EnvelopeLen = 8 + 8 + 1
	// RelayOverhead is what relaying adds to a datagram, in bytes.
	RelayOverhead = HeaderLen + EnvelopeLen + TagLen
)

// Envelope addresses a relayed datagram.
type Envelope struct {
	Dst, Src message.ShortID
	Hops     uint8 // how many more relays may forward it
}

// SealEnvelope writes header and sealed envelope, masked, into the first
// RelayOverhead bytes of dst; the inner datagram stands behind them. The bytes
// of dst are used as scratch. 0 allocations.
func SealEnvelope(dst []byte, m *Masker, aead cipher.AEAD, h Header, e Envelope) {
	_ = dst[RelayOverhead-1]
	plain := dst[HeaderLen : HeaderLen+EnvelopeLen]
	copy(plain, e.Dst[:])
	copy(plain[8:], e.Src[:])
	plain[16] = e.Hops
	h.PutNonce(dst)
	aead.Seal(plain[:0], dst[:NonceLen], plain, nil)
	h.Put(dst)
	m.Mask(dst[:RelayOverhead])
}

// OpenEnvelope opens the envelope of an unmasked relayed datagram in place and
// returns it and the inner datagram, a view into datagram. The RelayOverhead
// bytes in front of it are overwritten. 0 allocations.
func OpenEnvelope(aead cipher.AEAD, h Header, datagram []byte) (Envelope, []byte, error) {
	if len(datagram) < RelayOverhead+Overhead {
		return Envelope{}, nil, ErrShort
	}
	plain, err := Open(datagram[HeaderLen:HeaderLen], aead, h, datagram[:RelayOverhead:RelayOverhead])
	if err != nil {
		return Envelope{}, nil, err
	}
	return Envelope{
		Dst: message.ShortID(plain[:8]), Src: message.ShortID(plain[8:16]), Hops: plain[16],
	}, datagram[RelayOverhead:], nil
}
