package fec

import "github.com/klauspost/reedsolomon"

// simd multiplies slices by a constant in GF(2^8), as fast as the CPU can.
var simd reedsolomon.LowLevel

// Encoder makes the parity of one group at a time. Its zero value is an empty
// group without parity: see Begin. It keeps its memory and belongs to one goroutine.
type Encoder struct {
	rows  [][]byte
	n     int // rows in use
	count int // packets added
	size  int // of the longest
}

// Begin starts a group with up to rows rows of parity, at most MaxParity.
func (e *Encoder) Begin(rows int) {
	for len(e.rows) < rows {
		e.rows = append(e.rows, nil)
	}
	e.n, e.count, e.size = rows, 0, 0
}

// Add takes the next packet: head and body count as one. It keeps neither. A group
// takes at most MaxData.
func (e *Encoder) Add(head, body []byte) {
	size := len(head) + len(body)
	for j := range e.n {
		row := e.rows[j]
		if cap(row) < size {
			row = append(make([]byte, 0, size+size/4), row[:min(e.size, len(row))]...)
		}
		if size > e.size {
			row = row[:size]
			clear(row[e.size:])
		}
		c := coefficient(j, e.count)
		simd.GalMulSliceXor(c, head, row[:len(head)])
		simd.GalMulSliceXor(c, body, row[len(head):size])
		e.rows[j] = row
	}
	e.size = max(e.size, size)
	e.count++
}

// Count is the number of packets in the group.
func (e *Encoder) Count() int { return e.count }

// Row is row j of the parity over what was added so far, as long as the longest
// packet. It is valid until the next call of Add or Begin.
func (e *Encoder) Row(j int) []byte { return e.rows[j][:e.size] }
