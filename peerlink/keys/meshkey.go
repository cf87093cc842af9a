package keys

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"golang.org/x/crypto/argon2"
)

// MeshKey is the secret that all nodes of one mesh share. It is never used as it
// is: every use takes its own key from [MeshKey.Derive]. Printing a MeshKey in
// any way shows nothing of it. The zero MeshKey is not valid.
type MeshKey struct{ secret [32]byte }

// How a passphrase becomes a key: Argon2id, version 0x13 (RFC 9106). The salt is
// fixed, as all nodes must come to the same key without having talked; it only
// keeps tables made for other programs from being useful. 16 MiB fit beside the
// rest on a router with 64 MiB, and four passes make up for them.
const (
	argonSalt    = "lightweight-tunnel mesh key v1"
	argonPasses  = 4
	argonKiB     = 16 << 10
	argonThreads = 1
)

const (
	minPassphrase = 8    // characters
	maxKeyText    = 4096 // bytes
	remedy        = "`lightweight-tunnel genkey` makes a good one"
)

// ParseMeshKey reads a mesh key as a user gives it, white space around it
// ignored. Base64 of exactly 32 bytes (either alphabet, padded or not) is used as
// it is; anything else is a passphrase of at least 8 characters and goes through
// Argon2id, which takes a second on a small machine and 16 MiB for that long.
func ParseMeshKey(text string) (MeshKey, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return MeshKey{}, errors.New("the mesh key is empty: " + remedy)
	case len(text) > maxKeyText:
		return MeshKey{}, fmt.Errorf("the mesh key has %d bytes, at most %d are allowed: %s", len(text), maxKeyText, remedy)
	}
	if secret, ok := decodeKey(text); ok {
		return MeshKey{secret: secret}, nil
	}
	if n := len([]rune(text)); n < minPassphrase {
		return MeshKey{}, fmt.Errorf("the mesh key has %d characters, a passphrase needs at least %d: %s", n, minPassphrase, remedy)
	}
	secret := argon2.IDKey([]byte(text), []byte(argonSalt), argonPasses, argonKiB, argonThreads, 32)
	// Without this the heap keeps the pages for minutes, which is a third of
	// what a small node may use.
	debug.FreeOSMemory()
	return MeshKey{secret: [32]byte(secret)}, nil
}

func decodeKey(text string) (secret [32]byte, ok bool) {
	bare := strings.TrimRight(text, "=")
	if len(bare) != base64.RawStdEncoding.EncodedLen(len(secret)) || len(text)-len(bare) > 1 {
		return secret, false
	}
	for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		// Strict, because a last character with stray bits is a typing error
		// that must not silently become a key of its own.
		if b, err := alphabet.Strict().DecodeString(bare); err == nil && len(b) == len(secret) {
			return [32]byte(b), true
		}
	}
	return secret, false
}

// Links is the label of what the datagrams of links are sealed with.
const Links = "links"

// Derive returns the key for one use, told apart from all others by its label:
// HKDF-SHA256 (RFC 5869) without salt and with the label as info.
func (k MeshKey) Derive(label string) [32]byte {
	out, err := hkdf.Key(sha256.New, k.secret[:], nil, "lightweight-tunnel "+label, 32)
	if err != nil {
		panic(err) // only for lengths above 255 hashes
	}
	return [32]byte(out)
}

// String keeps the secret out of logs and error texts.
func (MeshKey) String() string { return "(mesh key)" }

// Format keeps the secret out of every verb of fmt.
func (k MeshKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }
