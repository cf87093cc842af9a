//go:build !amd64

package aesgcm

import "crypto/cipher"

const wide = false

func newWide([32]byte) cipher.AEAD { panic("aesgcm: not on this processor") }
