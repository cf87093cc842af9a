package keys

import (
	"crypto/sha512"
	"errors"
	"fmt"

	"filippo.io/edwards25519"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// Static returns the X25519 key pair that this node shows in handshakes: the
// private scalar of its Ed25519 key (RFC 8032, 5.1.5) and the same public point
// in Montgomery form (RFC 7748, 4.1).
func (id Identity) Static() (private, public [32]byte) {
	h := sha512.Sum512(id.key.Seed())
	private = [32]byte(h[:32])
	private[0] &= 248
	private[31] &= 127
	private[31] |= 64
	public, err := StaticOf(id.id)
	if err != nil {
		panic(err) // a public key that we computed ourselves is a good point
	}
	return private, public
}

// StaticOf returns the X25519 public key of the node named id. It fails for
// names that are no key at all, for a second spelling of a key, and for the few
// points of small order, with which anybody could agree keys.
func StaticOf(id message.NodeID) ([32]byte, error) {
	p, err := new(edwards25519.Point).SetBytes(id[:])
	if err != nil {
		return [32]byte{}, fmt.Errorf("node id %s is not a public key: %w", id.Brief(), err)
	}
	if [32]byte(p.Bytes()) != id {
		return [32]byte{}, fmt.Errorf("node id %s is not the canonical form of its key", id.Brief())
	}
	if new(edwards25519.Point).MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return [32]byte{}, errors.New("node id " + id.Brief() + " is a key of small order")
	}
	return [32]byte(p.BytesMontgomery()), nil
}
