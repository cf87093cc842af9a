// Package noise runs the handshake of two nodes: Noise_XXpsk0_25519_AESGCM_SHA256,
// with the mesh key mixed in before the first message, and each side's Hello
// proven by its static key. It is pure: no clock, no socket, no goroutine.
package noise

import (
	"crypto/ed25519"
	"crypto/sha512"
	"errors"
	"fmt"

	"filippo.io/edwards25519"
	"golang.org/x/crypto/curve25519"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// ErrIdentity is returned when a node says an ID that it did not prove.
var ErrIdentity = errors.New("the node's id is not that of the key it proved")

// StaticKey is the X25519 private key that belongs to an Ed25519 key: the same
// scalar (RFC 8032, 5.1.5, steps 1 to 3; RFC 7748, 5).
func StaticKey(key ed25519.PrivateKey) [32]byte {
	h := sha512.Sum512(key.Seed())
	h[0] &= 248
	h[31] &= 127
	h[31] |= 64
	return [32]byte(h[:32])
}

// StaticPublic is the X25519 public key that belongs to a node's ID: the same
// point in Montgomery form (RFC 7748, 4.1).
func StaticPublic(id message.NodeID) ([32]byte, error) {
	p, err := new(edwards25519.Point).SetBytes(id[:])
	if err != nil {
		return [32]byte{}, fmt.Errorf("node id %s is not a point of the curve: %w", id.Brief(), err)
	}
	return [32]byte(p.BytesMontgomery()), nil
}

// CheckStatic says whether the private key belongs to id.
func CheckStatic(id message.NodeID, private [32]byte) error {
	want, err := StaticPublic(id)
	if err != nil {
		return err
	}
	got, err := curve25519.X25519(private[:], curve25519.Basepoint)
	if err != nil {
		return fmt.Errorf("static key: %w", err)
	}
	if [32]byte(got) != want {
		return fmt.Errorf("static key is not that of node %s", id.Brief())
	}
	return nil
}
