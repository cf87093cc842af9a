package wire

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
)

// Outer seals and opens the datagrams of handshakes and of STUN, so that without the mesh
// key nothing of them can be read, parsed or answered:
//
//	| kind 1 | nonce 12 | sealed( sender 4 | receiver 4 | length 2 | body | padding ) | tag 16 |
//
// The kind is authenticated as additional data. The padding is random in length,
// so that the size does not tell a handshake. Outer is immutable; any goroutine
// may use it.
type Outer struct {
	aead   cipher.AEAD
	masker *Masker
}

const (
	handshakeFields = 4 + 4 + 2

	// HandshakeOverhead is what Outer adds to a body at least, in bytes.
	HandshakeOverhead = Overhead + handshakeFields
	// MaxHandshakeBody is the longest body that is opened, in bytes.
	MaxHandshakeBody = 2048
	// maxPadding is the most that is added at random, in bytes.
	maxPadding = 255
)

// ErrMalformed is returned for a datagram that authenticates but makes no sense:
// its sender speaks another version.
var ErrMalformed = errors.New("handshake is malformed")

// Handshake is what a datagram of a handshake carries, or one of STUN: that has a
// Body alone.
type Handshake struct {
	Kind     Kind
	Sender   uint32 // the sender's name for the session to be
	Receiver uint32 // the receiver's name; 0 in HandshakeInit
	Body     []byte // a Noise message; in a Refusal see [ParseRefused]
}

// NewOuter returns an Outer for one mesh.
func NewOuter(key [32]byte, masker *Masker) Outer {
	return Outer{aead: NewAEAD(key), masker: masker}
}

// Append seals h behind dst as one masked datagram of at most limit bytes, or of
// its least length if that is more.
func (o Outer) Append(dst []byte, h Handshake, limit int) []byte {
	var random [1]byte
	rand.Read(random[:]) // never fails
	least := HandshakeOverhead + len(h.Body)
	return o.AppendSized(dst, h, least+min(int(random[0]), maxPadding, max(limit-least, 0)))
}

// AppendSized is Append for a datagram of exactly size bytes, or of its least
// length if that is more: for finding out what sizes a path takes.
func (o Outer) AppendSized(dst []byte, h Handshake, size int) []byte {
	var nonce [NonceLen]byte
	rand.Read(nonce[:]) // never fails
	padding := max(size-HandshakeOverhead-len(h.Body), 0)

	start := len(dst)
	dst = append(dst, byte(h.Kind))
	dst = append(dst, nonce[:]...)
	dst = binary.BigEndian.AppendUint32(dst, h.Sender)
	dst = binary.BigEndian.AppendUint32(dst, h.Receiver)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(h.Body)))
	dst = append(dst, h.Body...)
	dst = append(dst, make([]byte, padding)...)
	plain := dst[start+HeaderLen:]
	sealed := o.aead.Seal(plain[:0:0], nonce[:], plain, []byte{byte(h.Kind)})
	dst = append(dst[:start+HeaderLen], sealed...)
	o.masker.Mask(dst[start:])
	return dst
}

// Open opens an unmasked datagram with header h in place. The body is a view
// into it. Errors are ErrShort, ErrOpen and ErrMalformed.
func (o Outer) Open(h Header, datagram []byte) (Handshake, error) {
	if len(datagram) < HandshakeOverhead {
		return Handshake{}, ErrShort
	}
	if !h.Kind.IsHandshake() {
		return Handshake{}, ErrMalformed
	}
	box := datagram[HeaderLen:]
	plain, err := o.aead.Open(box[:0], datagram[1:HeaderLen], box, datagram[:1])
	if err != nil {
		return Handshake{}, ErrOpen
	}
	n := int(binary.BigEndian.Uint16(plain[8:]))
	if n > len(plain)-handshakeFields || n > MaxHandshakeBody {
		return Handshake{}, ErrMalformed
	}
	return Handshake{
		Kind:     h.Kind,
		Sender:   binary.BigEndian.Uint32(plain),
		Receiver: binary.BigEndian.Uint32(plain[4:]),
		Body:     plain[handshakeFields : handshakeFields+n : handshakeFields+n],
	}, nil
}
