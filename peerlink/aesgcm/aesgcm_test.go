package aesgcm

import (
	"bytes"
	"crypto/cipher"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

// both are the ways of this processor, by name.
func both(key [32]byte) map[string]cipher.AEAD {
	all := map[string]cipher.AEAD{"standard library": standard(key)}
	if wide {
		all["512-bit instructions"] = newWide(key)
	}
	return all
}

func needWide(t testing.TB) {
	if !wide {
		t.Skip("this processor has no 512-bit AES instructions")
	}
}

// The values of test case 16 of McGrew and Viega, "The Galois/Counter Mode of
// Operation", appendix B.
func TestSealMatchesThePublishedVector(t *testing.T) {
	parse := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key := [32]byte(parse("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"))
	plain := parse("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39")
	additional := parse("feedfacedeadbeeffeedfacedeadbeefabaddad2")
	want := parse("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662" +
		"76fc6ece0f4e1768cddf8853bb2d551b")
	for name, g := range both(key) {
		if got := g.Seal(nil, parse("cafebabefacedbaddecaf888"), plain, additional); !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", name, got, want)
		}
	}
}

func TestWideInstructionsGiveWhatTheStandardLibraryGives(t *testing.T) {
	needWide(t)
	random := rand.NewChaCha8([32]byte{1})
	for n := range 1600 {
		compare(t, bytesFrom(random, 32), bytesFrom(random, 12), bytesFrom(random, n), bytesFrom(random, n%37))
	}
	compare(t, bytesFrom(random, 32), bytesFrom(random, 12), bytesFrom(random, 65535), nil)
}

func FuzzWideInstructionsGiveWhatTheStandardLibraryGives(f *testing.F) {
	needWide(f)
	random := rand.NewChaCha8([32]byte{2})
	for _, n := range []int{0, 1, 16, 255, 256, 257, 1400} {
		f.Add(bytesFrom(random, 32), bytesFrom(random, 12), bytesFrom(random, n), bytesFrom(random, n%20))
	}
	f.Fuzz(func(t *testing.T, key, nonce, plain, additional []byte) {
		if len(key) == 32 && len(nonce) == 12 {
			compare(t, key, nonce, plain, additional)
		}
	})
}

func compare(t *testing.T, key, nonce, plain, additional []byte) {
	t.Helper()
	mine, want := newWide([32]byte(key)), standard([32]byte(key)).Seal(nil, nonce, plain, additional)
	if got := mine.Seal([]byte{7}, nonce, plain, additional); got[0] != 7 || !bytes.Equal(got[1:], want) {
		t.Fatalf("%d bytes: sealed %x, want %x", len(plain), got[1:], want)
	}
	if got, err := mine.Open([]byte{7}, nonce, want, additional); err != nil || got[0] != 7 || !bytes.Equal(got[1:], plain) {
		t.Fatalf("%d bytes: opened %x, %v, want %x", len(plain), got, err, plain)
	}
	inPlace := append(bytes.Clone(plain), make([]byte, tagRoom)...)
	if got := mine.Seal(inPlace[:0], nonce, inPlace[:len(plain)], additional); !bytes.Equal(got, want) {
		t.Fatalf("%d bytes: sealed in place %x, want %x", len(plain), got, want)
	}
	if got, err := mine.Open(inPlace[:0], nonce, inPlace, additional); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%d bytes: opened in place %x, %v, want %x", len(plain), got, err, plain)
	}
}

const tagRoom = 16

func bytesFrom(random *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	random.Read(b)
	return b
}

func TestEveryChangedBitIsNoticedAndNothingIsGivenOut(t *testing.T) {
	for name, g := range both([32]byte{3}) {
		nonce, additional := make([]byte, 12), []byte{1, 2}
		plain := bytes.Repeat([]byte("text"), 10)
		sealed := g.Seal(nil, nonce, plain, additional)
		for i := range len(sealed) * 8 {
			changed := bytes.Clone(sealed)
			changed[i/8] ^= 1 << (i % 8)
			room := make([]byte, 0, len(plain))
			if _, err := g.Open(room, nonce, changed, additional); err == nil {
				t.Fatalf("%s: bit %d was changed and it opens", name, i)
			}
			if !bytes.Equal(room[:len(plain)], make([]byte, len(plain))) {
				t.Fatalf("%s: bit %d was changed and %q is given out", name, i, room[:len(plain)])
			}
		}
		for n := range len(sealed) {
			if _, err := g.Open(nil, nonce, sealed[:n], additional); err == nil {
				t.Errorf("%s: %d of %d bytes open", name, n, len(sealed))
			}
		}
		if _, err := g.Open(nil, nonce, sealed, nil); err == nil {
			t.Errorf("%s: other additional data, and it opens", name)
		}
	}
}

func TestBytesAroundTheTextAreNotTouched(t *testing.T) {
	for name, g := range both([32]byte{4}) {
		for n := range 300 {
			room := bytes.Repeat([]byte{0xee}, n+tagRoom+128)
			sealed := g.Seal(room[64:64], make([]byte, 12), make([]byte, n), nil)
			if &sealed[0] != &room[64] {
				t.Fatalf("%s: a buffer with room was not used", name)
			}
			for i, b := range room {
				if outside := i < 64 || i >= 64+n+tagRoom; outside && b != 0xee {
					t.Fatalf("%s: %d bytes: the byte at %d was changed", name, n, i-64)
				}
			}
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	for name, g := range both([32]byte{5}) {
		nonce, text := make([]byte, 12), make([]byte, 1400, 1500)
		if n := testing.AllocsPerRun(100, func() {
			sealed := g.Seal(text[:0], nonce, text, nil)
			if _, err := g.Open(sealed[:0], nonce, sealed, nil); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkSeal1400(b *testing.B) {
	for name, g := range both([32]byte{6}) {
		b.Run(name, func(b *testing.B) {
			nonce, text := make([]byte, 12), make([]byte, 1400, 1500)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				g.Seal(text[:0], nonce, text, nil)
			}
		})
	}
}

func BenchmarkOpen1400(b *testing.B) {
	for name, g := range both([32]byte{6}) {
		b.Run(name, func(b *testing.B) {
			nonce, room := make([]byte, 12), make([]byte, 0, 1500)
			sealed := g.Seal(nil, nonce, make([]byte, 1400), nil)
			b.SetBytes(1400)
			for b.Loop() {
				if _, err := g.Open(room, nonce, sealed, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
