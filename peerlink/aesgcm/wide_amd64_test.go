package aesgcm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
)

// Up to 1600 bytes are compared elsewhere; these are all lengths around the ends
// of the pieces that longer messages are done in.
func TestMessagesOfSeveralPiecesAreWhatTheStandardLibraryGives(t *testing.T) {
	needWide(t)
	random := rand.NewChaCha8([32]byte{7})
	for _, middle := range []int{2 * 1536, 3 * 1536, 8192, 9000} {
		for n := middle - 300; n <= middle+300; n++ {
			compare(t, bytesFrom(random, 32), bytesFrom(random, 12), bytesFrom(random, n), bytesFrom(random, n%150))
		}
	}
}

func TestNeitherAddressNorAdditionalBytesOfATextMatter(t *testing.T) {
	needWide(t)
	random := rand.NewChaCha8([32]byte{8})
	key, room, sealed := [32]byte(bytesFrom(random, 32)), make([]byte, 2048), make([]byte, 2048)
	wideOne, usual := newWide(key), standard(key)
	for from := range 65 {
		for _, n := range []int{0, 1, 15, 16, 63, 128, 129, 255, 256, 257, 384, 385, 512, 1280, 1400, 1535, 1536, 1537} {
			nonce, plain, additional := bytesFrom(random, 12), bytesFrom(random, n), bytesFrom(random, from*5)
			want := usual.Seal(nil, nonce, plain, additional)
			text := room[from : from+copy(room[from:], plain)]
			to := 64 - from
			if got := wideOne.Seal(sealed[to:to], nonce, text, additional); !bytes.Equal(got, want) {
				t.Fatalf("%d bytes at %d: sealed %x, want %x", n, from, got, want)
			}
			got, err := wideOne.Open(room[from:from], nonce, sealed[to:to+len(want)], additional)
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%d bytes at %d: opened %x, %v, want %x", n, from, got, err, plain)
			}
		}
	}
}

// fenced returns size bytes between two pages that cannot be touched: a read or
// write outside of them ends the process. size is a multiple of the page size.
func fenced(t *testing.T, size int) []byte {
	t.Helper()
	page := syscall.Getpagesize()
	all, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(all); err != nil {
			t.Error(err)
		}
	})
	for _, fence := range [][]byte{all[:page], all[page+size:]} {
		if err := syscall.Mprotect(fence, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return all[page : page+size]
}

func TestNothingOutsideOfTheBuffersIsReadOrWritten(t *testing.T) {
	needWide(t)
	const size = 1 << 16 // a multiple of every page size
	key := [32]byte{9}
	g, usual := newWide(key), standard(key)
	texts, sealed, small := fenced(t, size), fenced(t, size), fenced(t, size)
	random := rand.NewChaCha8([32]byte{10})
	for n := range 1700 {
		plain := bytesFrom(random, n)
		for _, atEnd := range []bool{false, true} {
			text, box, nonce, additional := texts[:n:n], sealed[:n+tagSize:n+tagSize], small[:12], small[12:12+n%80]
			if atEnd {
				text, box = texts[size-n:], sealed[size-n-tagSize:]
				nonce, additional = small[size-12:], small[size-12-n%80:size-12]
				if n%2 == 0 {
					nonce, additional = small[:12], small[size-n%80:]
				}
			}
			copy(text, plain)
			g.Seal(box[:0], nonce, text, additional)
			if want := usual.Seal(nil, nonce, plain, additional); !bytes.Equal(box, want) {
				t.Fatalf("%d bytes: sealed %x, want %x", n, box, want)
			}
			clear(text)
			if _, err := g.Open(text[:0], nonce, box, additional); err != nil || !bytes.Equal(text, plain) {
				t.Fatalf("%d bytes: opened %x, %v, want %x", n, text, err, plain)
			}
			if _, err := g.Open(box[:0], nonce, box, additional); err != nil || !bytes.Equal(box[:n], plain) {
				t.Fatalf("%d bytes: opened in place %x, %v, want %x", n, box[:n], err, plain)
			}
			clear(box)
		}
	}
}

func TestTheTagOfALongMessageIsCheckedWhole(t *testing.T) {
	needWide(t)
	g, nonce := newWide([32]byte{11}), make([]byte, 12)
	for _, n := range []int{0, 1, 256, 1400, 1536, 1537, 5000} {
		sealed := g.Seal(nil, nonce, make([]byte, n), nil)
		for bit := range tagSize * 8 {
			sealed[n+bit/8] ^= 1 << (bit % 8)
			if _, err := g.Open(nil, nonce, sealed, nil); err == nil {
				t.Fatalf("%d bytes: bit %d of the tag was changed and it opens", n, bit)
			}
			sealed[n+bit/8] ^= 1 << (bit % 8)
		}
		if _, err := g.Open(nil, nonce, sealed, nil); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

func FuzzOpenAgreesWithTheStandardLibrary(f *testing.F) {
	needWide(f)
	key := [32]byte{12}
	g, usual := newWide(key), standard(key)
	for _, n := range []int{0, 1, 100, 256, 1400, 1537, 4000} {
		f.Add(make([]byte, 12), usual.Seal(nil, make([]byte, 12), make([]byte, n), []byte{1}), []byte{1})
	}
	f.Fuzz(func(t *testing.T, nonce, sealed, additional []byte) {
		if len(nonce) != nonceSize {
			return
		}
		got, err := g.Open(nil, nonce, sealed, additional)
		want, wantErr := usual.Open(nil, nonce, sealed, additional)
		if (err == nil) != (wantErr == nil) || !bytes.Equal(got, want) {
			t.Fatalf("opened %x, %v, want %x, %v", got, err, want, wantErr)
		}
	})
}

func BenchmarkSealWide(b *testing.B) {
	needWide(b)
	g := newWide([32]byte{13})
	for _, n := range []int{64, 256, 576, 1400, 8192} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			nonce, text := make([]byte, 12), make([]byte, n, n+tagSize)
			b.SetBytes(int64(n))
			for b.Loop() {
				g.Seal(text[:0], nonce, text, nil)
			}
		})
	}
}

func BenchmarkOpenWide(b *testing.B) {
	needWide(b)
	g := newWide([32]byte{13})
	for _, n := range []int{64, 256, 576, 1400, 8192} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			nonce, room := make([]byte, 12), make([]byte, 0, n)
			sealed := g.Seal(nil, nonce, make([]byte, n), nil)
			b.SetBytes(int64(n))
			for b.Loop() {
				if _, err := g.Open(room, nonce, sealed, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
