// Package fec rebuilds lost packets from parity: systematic Reed-Solomon codes
// over groups of packets of any size. Data goes out as it is and at once; an
// [Encoder] adds each packet to the parity of its group while it passes, a
// [Decoder] keeps what arrived of the open groups and solves for what is missing
// as soon as there is as much parity as there are holes.
//
// The code is a Cauchy matrix over GF(2^8) with the polynomial 0x11d, the same
// for all groups: row j of the parity is the sum over the packets i of
// packet i / (128+j xor i). Every square part of a Cauchy matrix can be inverted, so
// a group may end after any number of packets and have any number of rows: k
// packets come back from any k of the packets and rows together. Shorter packets
// count as if they were followed by zeros.
package fec

const (
	// MaxData bounds the packets of a group.
	MaxData = 128
	// MaxParity bounds the rows of parity of a group.
	MaxParity = 32

	firstRow = 128 // of GF(2^8): rows and columns must not overlap
)

// field holds powers of 2 and logarithms to the base 2 in GF(2^8).
var field = func() (f struct {
	exp [510]byte
	log [256]byte
}) {
	x := 1
	for i := range 255 {
		f.exp[i], f.exp[i+255] = byte(x), byte(x)
		f.log[x] = byte(i)
		if x <<= 1; x > 255 {
			x ^= 0x11d
		}
	}
	return f
}()

func multiply(a, b byte) byte {
	if a == 0 || b == 0 {
		return 0
	}
	return field.exp[int(field.log[a])+int(field.log[b])]
}

// invert is 1/a; a is not zero.
func invert(a byte) byte { return field.exp[255-int(field.log[a])] }

// coefficient is what packet column adds to parity row with.
func coefficient(row, column int) byte { return invert(byte(firstRow+row) ^ byte(column)) }

// solver inverts the part of the matrix that belongs to some rows and columns.
// It is scratch memory; its zero value is ready.
type solver struct {
	a, inverse [MaxParity][MaxParity]byte
}

// solve makes inverse the inverse of the n by n part (Gauss and Jordan; every
// such part has one).
func (s *solver) solve(rows, columns []int) {
	n := len(rows)
	for i, r := range rows {
		for j, c := range columns {
			s.a[i][j] = coefficient(r, c)
			s.inverse[i][j] = 0
		}
		s.inverse[i][i] = 1
	}
	for c := range n {
		p := c
		for s.a[p][c] == 0 {
			p++
		}
		s.a[p], s.a[c] = s.a[c], s.a[p]
		s.inverse[p], s.inverse[c] = s.inverse[c], s.inverse[p]
		scale := invert(s.a[c][c])
		for j := range n {
			s.a[c][j] = multiply(s.a[c][j], scale)
			s.inverse[c][j] = multiply(s.inverse[c][j], scale)
		}
		for i := range n {
			factor := s.a[i][c]
			if i == c || factor == 0 {
				continue
			}
			for j := range n {
				s.a[i][j] ^= multiply(factor, s.a[c][j])
				s.inverse[i][j] ^= multiply(factor, s.inverse[c][j])
			}
		}
	}
}
