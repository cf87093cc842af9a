package aesgcm

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"math/bits"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// wide says whether this processor has what the assembly uses. The package that
// knows also asks whether the operating system saves the registers.
var wide = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512DQ &&
	cpu.X86.HasAVX512VAES && cpu.X86.HasAVX512VPCLMULQDQ && cpu.X86.HasBMI2

const (
	nonceSize = 12
	tagSize   = 16
	rounds    = 14
	longest   = 96 // blocks whose products are added before they are reduced
	overread  = 6  // blocks that are read behind the powers at the most
)

// block is 16 bytes as they are on the wire.
type block [16]byte

// wideGCM is immutable. The assembly knows where its fields are.
type wideGCM struct {
	keys [rounds + 1]block
	// powers are H^97 down to H^1, one for each block of a piece of text and one for
	// the lengths, each multiplied by x and with its bytes in reverse, as the
	// carry-less multiplication of bit-reflected numbers wants them (Gueron and
	// Kounavis, "Intel Carry-Less Multiplication Instruction and its Usage for
	// Computing the GCM Mode"). What stands behind them is multiplied by zeros.
	powers [longest + 1 + overread]block
}

// seal encrypts n bytes of src into dst and writes the tag behind them. sum is
// the hash of the additional bytes.
//
//go:noescape
func seal(gcm *wideGCM, dst, src *byte, n int, nonce *byte, sum *block, additional int)

// open is the way back; same says whether the tag behind src's n bytes is right.
//
//go:noescape
func open(gcm *wideGCM, dst, src *byte, n int, nonce *byte, sum *block, additional int) (same bool)

// hash takes n bytes, filled up with zeros to a whole block, into sum.
//
//go:noescape
func hash(gcm *wideGCM, sum *block, data *byte, n int)

func newWide(key [32]byte) cipher.AEAD {
	g := &wideGCM{keys: expand(key)}
	var zero, h block
	encrypt, err := aes.NewCipher(key[:])
	if err != nil {
		panic("aes-256: " + err.Error()) // only for a wrong key length
	}
	encrypt.Encrypt(h[:], zero[:])
	g.powers[longest] = timesX(h)
	power := h
	for i := longest - 1; i >= 0; i-- {
		next := zero
		hash(g, &next, &power[0], len(power)) // power times h
		g.powers[i] = timesX(next)
		power = next
	}
	return g
}

// timesX multiplies by x modulo GCM's polynomial and reverses the bytes.
func timesX(h block) (reversed block) {
	high, low := binary.BigEndian.Uint64(h[:]), binary.BigEndian.Uint64(h[8:])
	carry := high >> 63
	high, low = high<<1|low>>63, low<<1
	high ^= carry * 0xc200000000000000
	low ^= carry
	binary.LittleEndian.PutUint64(reversed[:], low)
	binary.LittleEndian.PutUint64(reversed[8:], high)
	return reversed
}

// expand is the key schedule of AES-256 (FIPS 197, 5.2).
func expand(key [32]byte) (keys [rounds + 1]block) {
	var w [4 * (rounds + 1)]uint32
	for i := range 8 {
		w[i] = binary.BigEndian.Uint32(key[4*i:])
	}
	constant := uint32(1)
	for i := 8; i < len(w); i++ {
		t := w[i-1]
		switch i % 8 {
		case 0:
			t = substitute(bits.RotateLeft32(t, 8)) ^ constant<<24
			constant <<= 1
		case 4:
			t = substitute(t)
		}
		w[i] = w[i-8] ^ t
	}
	for i, word := range w {
		binary.BigEndian.PutUint32(keys[i/4][4*(i%4):], word)
	}
	return keys
}

// NonceSize implements [cipher.AEAD].
func (g *wideGCM) NonceSize() int { return nonceSize }

// Overhead implements [cipher.AEAD].
func (g *wideGCM) Overhead() int { return tagSize }

// Seal implements [cipher.AEAD].
func (g *wideGCM) Seal(dst, nonce, plaintext, additional []byte) []byte {
	sum := g.begin(nonce, additional)
	whole, out := grow(dst, len(plaintext)+tagSize)
	seal(g, unsafe.SliceData(out), unsafe.SliceData(plaintext), len(plaintext), unsafe.SliceData(nonce), &sum, len(additional))
	return whole
}

var errOpen = errors.New("aesgcm: message authentication failed")

// Open implements [cipher.AEAD]. What it decrypted is cleared if the tag is wrong.
func (g *wideGCM) Open(dst, nonce, ciphertext, additional []byte) ([]byte, error) {
	n := len(ciphertext) - tagSize
	if n < 0 {
		return nil, errOpen
	}
	sum := g.begin(nonce, additional)
	whole, out := grow(dst, n)
	if !open(g, unsafe.SliceData(out), unsafe.SliceData(ciphertext), n, unsafe.SliceData(nonce), &sum, len(additional)) {
		clear(out)
		return nil, errOpen
	}
	return whole, nil
}

// begin checks the nonce and returns the hash of the additional bytes.
func (g *wideGCM) begin(nonce, additional []byte) (sum block) {
	if len(nonce) != nonceSize {
		panic("aesgcm: a nonce has 12 bytes")
	}
	if len(additional) > 0 {
		hash(g, &sum, unsafe.SliceData(additional), len(additional))
	}
	return sum
}

// grow appends n bytes to dst and returns the longer slice and its new part.
func grow(dst []byte, n int) (whole, added []byte) {
	if total := len(dst) + n; cap(dst) >= total {
		whole = dst[:total]
	} else {
		whole = make([]byte, total)
		copy(whole, dst)
	}
	return whole, whole[len(dst):]
}
