package aesgcm

import "math/bits"

// substitute applies AES's S-box to each byte of w: the inverse in GF(2^8), and
// an affine map (FIPS 197, 5.1.1). It runs when keys are made, in time that does
// not depend on them.
func substitute(w uint32) (out uint32) {
	for shift := 0; shift < 32; shift += 8 {
		b := inverse(uint8(w >> shift))
		b ^= bits.RotateLeft8(b, 1) ^ bits.RotateLeft8(b, 2) ^ bits.RotateLeft8(b, 3) ^ bits.RotateLeft8(b, 4) ^ 0x63
		out |= uint32(b) << shift
	}
	return out
}

// inverse is b^254, which is 1/b, and 0 of 0.
func inverse(b uint8) uint8 {
	square := multiply(b, b)
	result := square
	for range 6 {
		square = multiply(square, square)
		result = multiply(result, square)
	}
	return result
}

// multiply is the product in AES's field.
func multiply(a, b uint8) (product uint8) {
	for range 8 {
		product ^= a & -(b & 1)
		a = a<<1 ^ 0x1b&-(a>>7)
		b >>= 1
	}
	return product
}
