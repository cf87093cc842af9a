// Package wire is how datagrams between nodes look. Every datagram, whatever
// path it takes, is
//
//	| kind 1 | index 4 | counter 8 | ciphertext ... | tag 16 |
//	'------- header 13, masked ----'
//
// All integers are big endian. index is the receiver's name for the session.
// The AES-256-GCM nonce is kind, 0, 0, 0, counter, so that changing the kind
// breaks the tag. The header is hidden by XOR with AES-256(maskKey, sample),
// where the sample is the 16 bytes behind the header, as QUIC does (RFC 9001,
// 5.4): with fresh nonces every byte on the wire looks random to one without
// the mesh key.
//
// A datagram of a handshake or of STUN (see [Outer]) has the same shape; its index and
// counter are a random nonce. A relayed datagram carries a sealed envelope and
// behind it another datagram as it is:
//
//	| header 13 | sealed( dst 8 | src 8 | hops 1 ) | tag 16 | inner datagram |
package wire

import (
	"encoding/binary"
	"errors"
)

const (
	// HeaderLen is the length of the header of every datagram, in bytes.
	HeaderLen = 13
	// TagLen is the length of an AES-GCM tag, in bytes.
	TagLen = 16
	// NonceLen is the length of an AES-GCM nonce, in bytes.
	NonceLen = 12
	// Overhead is what a datagram adds to the packet in it, in bytes.
	Overhead = HeaderLen + TagLen
)

// Kind says what a datagram carries. Zero and what is not listed is junk.
type Kind uint8

// The kinds of datagram. 16 to 31 belong to the repair of loss, see package
// repair for what is in them.
const (
	Data              Kind = iota + 1 // an IP packet with good checksums
	DataPartial                       // an IP packet whose transport checksum field holds the pseudo-header sum only
	Control                           // control frames, see [ParseFrames]
	Relay                             // an envelope and another datagram
	HandshakeInit                     // first message of Noise XX
	HandshakeResponse                 // second
	HandshakeFinal                    // third
	Refusal                           // instead of HandshakeResponse
	STUN                              // a STUN message (RFC 8489), sealed as handshakes are
	kindEnd
)

// The kinds of datagram on a link that repairs loss.
const (
	Repairable Kind = iota + 16 // a shim and an IP packet
	Parity                      // what lost packets can be rebuilt from
	Report                      // what arrived and what is missing
	Beat                        // shows the end of a burst; names what will not be repeated
	repairEnd
)

// Valid says whether k is a kind that this version knows.
func (k Kind) Valid() bool { return k >= Data && k < kindEnd || k.IsRepair() }

// IsRepair says whether the datagram is one of those that repair loss.
func (k Kind) IsRepair() bool { return k >= Repairable && k < repairEnd }

// IsData says whether the datagram carries an IP packet.
func (k Kind) IsData() bool { return k == Data || k == DataPartial }

// IsHandshake says whether the datagram is sealed under the outer key, see [Outer].
func (k Kind) IsHandshake() bool { return k >= HandshakeInit && k <= STUN }

var kindNames = [...]string{
	Data: "data", DataPartial: "data-partial", Control: "control", Relay: "relay", HandshakeInit: "init",
	HandshakeResponse: "response", HandshakeFinal: "final", Refusal: "refusal", STUN: "stun",
	Repairable: "repairable", Parity: "parity", Report: "report", Beat: "beat",
}

func (k Kind) String() string {
	if k.Valid() {
		return kindNames[k]
	}
	return "junk"
}

// ErrShort is returned for a datagram that ends before its fixed parts do.
var ErrShort = errors.New("datagram is too short")

// Header is the part of a datagram in front of the ciphertext.
type Header struct {
	Kind    Kind
	Index   uint32 // the receiver's name for the session
	Counter uint64 // number of the datagram within the session and direction
}

// Put writes h, unmasked, into the first HeaderLen bytes of datagram.
func (h Header) Put(datagram []byte) {
	_ = datagram[HeaderLen-1]
	datagram[0] = byte(h.Kind)
	binary.BigEndian.PutUint32(datagram[1:], h.Index)
	binary.BigEndian.PutUint64(datagram[5:], h.Counter)
}

// ParseHeader reads the unmasked header of datagram.
func ParseHeader(datagram []byte) (Header, error) {
	if len(datagram) < Overhead {
		return Header{}, ErrShort
	}
	return Header{
		Kind:    Kind(datagram[0]),
		Index:   binary.BigEndian.Uint32(datagram[1:]),
		Counter: binary.BigEndian.Uint64(datagram[5:]),
	}, nil
}

// PutNonce writes the nonce that belongs to h into the first NonceLen bytes of b.
// Callers put it over the place of the header, which needs no memory of its own.
func (h Header) PutNonce(b []byte) {
	_ = b[NonceLen-1]
	b[0], b[1], b[2], b[3] = byte(h.Kind), 0, 0, 0
	binary.BigEndian.PutUint64(b[4:], h.Counter)
}
