// Package aesgcm is AES-256-GCM for datagrams (NIST SP 800-38D, 12-byte nonces,
// 16-byte tags). On processors with the 512-bit AES instructions (VAES and
// VPCLMULQDQ under AVX-512: Ice Lake, Zen 4 and later) it takes about a third of
// the time of the standard library, whose loop handles one block at a time and
// what is left of a packet one by one; everywhere else it is the standard
// library. A key takes 2 KB there: it comes with a power of H for every block of
// a datagram.
package aesgcm

import (
	"crypto/aes"
	"crypto/cipher"
)

// New returns AES-256-GCM under key. Any goroutine may use it; it allocates
// nothing when the destination has room. As with [cipher.NewGCM], source and
// destination overlap exactly or not at all.
func New(key [32]byte) cipher.AEAD {
	if wide {
		return newWide(key)
	}
	return standard(key)
}

func standard(key [32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("aes-256: " + err.Error()) // only for a wrong key length
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("aes-256-gcm: " + err.Error()) // only for another block size
	}
	return aead
}
