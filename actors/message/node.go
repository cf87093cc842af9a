// Package message holds what the actors of a node say to each other across the
// borders of their packages: the names of nodes, the signed advert that every
// node publishes of itself, and one sealed message type per receiving actor.
//
// Messages are values. What a message points to (slices, byte strings) belongs
// to the receiver once the message is offered; the sender keeps no reference.
package message

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"net/netip"
)

// NodeID is a node's Ed25519 public key. The X25519 key that the node shows in
// handshakes is the same point in Montgomery form (RFC 7748, 4.1), so that one
// key pair both signs and agrees keys.
type NodeID [ed25519.PublicKeySize]byte

// ShortID is the first bytes of a NodeID: what relays address nodes by.
type ShortID [8]byte

// Short returns the first bytes of id.
func (id NodeID) Short() ShortID { return ShortID(id[:8]) }

// IsZero says whether id names nobody.
func (id NodeID) IsZero() bool { return id == NodeID{} }

// String is the full name in lower-case hexadecimal digits.
func (id NodeID) String() string { return hex.EncodeToString(id[:]) }

// Brief is enough of the name for a log line.
func (id NodeID) Brief() string { return hex.EncodeToString(id[:5]) }

// MarshalText is the inverse of UnmarshalText.
func (id NodeID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what String printed.
func (id *NodeID) UnmarshalText(text []byte) error {
	if len(text) != 2*len(id) {
		return fmt.Errorf("node id has %d characters, want %d hexadecimal digits", len(text), 2*len(id))
	}
	if _, err := hex.Decode(id[:], text); err != nil {
		return fmt.Errorf("node id: %w", err)
	}
	return nil
}

// Hello is what a node says of itself inside a handshake, proven by the Noise
// static key that the ID maps to.
type Hello struct {
	ID        NodeID         `cbor:"1,keyasint"`
	Name      string         `cbor:"2,keyasint"`
	Version   string         `cbor:"3,keyasint"`
	Addresses []netip.Prefix `cbor:"4,keyasint"` // overlay addresses with their prefix lengths
	Relay     bool           `cbor:"5,keyasint"` // forwards for others
	Started   int64          `cbor:"6,keyasint"` // Unix milliseconds at which this run of the node began
}
