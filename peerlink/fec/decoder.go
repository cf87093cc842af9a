package fec

import "slices"

// Decoder keeps what arrived of the newest groups and gives back what is missing
// of them. Its memory is bounded by the number of groups and bytes given to
// [NewDecoder]: the oldest group that is done goes first, because others may fill more
// slowly, then the oldest of all. It belongs to one goroutine.
type Decoder struct {
	recovered func(key uint64, index int, shard []byte)

	groups     []*group // in order of arrival
	spare      []*group
	mostGroups int
	bytes      int // held by all groups
	mostBytes  int
	free       [][]byte
	solver     solver
}

// group is what is known of one group.
type group struct {
	key    uint64
	begun  int64
	k      int // packets of the group; 0: no parity has told yet
	done   bool
	have   int // of data
	rows   int // of parity
	data   [MaxData][]byte
	parity [MaxParity][]byte
}

// NewDecoder returns a decoder of up to groups groups and bytes bytes. recovered
// gets each packet that was rebuilt, zeros behind it up to the longest of its
// group; it may keep the bytes no longer than the call lasts, and calls nothing of
// the decoder.
func NewDecoder(groups, bytes int, recovered func(key uint64, index int, shard []byte)) *Decoder {
	return &Decoder{recovered: recovered, mostGroups: groups, mostBytes: bytes}
}

// Data takes packet index of group key, which arrived: head and body count as
// one and are copied. What arrived twice is no harm.
func (d *Decoder) Data(now int64, key uint64, index int, head, body []byte) {
	if index < 0 || index >= MaxData {
		return
	}
	g := d.open(now, key)
	if g.done || g.data[index] != nil || g.k != 0 && index >= g.k {
		return
	}
	b := append(append(d.buffer(len(head)+len(body)), head...), body...)
	g.data[index] = b
	d.bytes += len(b)
	g.have++
	d.try(g)
}

// Parity takes a row of the parity of group key, which has k packets. The row is
// copied.
func (d *Decoder) Parity(now int64, key uint64, k, row int, shard []byte) {
	if k < 1 || k > MaxData || row < 0 || row >= MaxParity {
		return
	}
	g := d.open(now, key)
	if g.done || g.parity[row] != nil || g.k != 0 && g.k != k {
		return
	}
	for _, b := range g.data[k:] {
		if b != nil { // packets that the group does not have: nonsense
			d.close(g)
			return
		}
	}
	g.k = k
	g.parity[row] = append(d.buffer(len(shard)), shard...)
	d.bytes += len(shard)
	g.rows++
	d.try(g)
}

// Expire forgets the groups that began before the moment.
func (d *Decoder) Expire(before int64) {
	for len(d.groups) > 0 && d.groups[0].begun < before {
		d.drop(0)
	}
}

// Groups and Bytes are what is held now.
func (d *Decoder) Groups() int { return len(d.groups) }

// Bytes see Groups.
func (d *Decoder) Bytes() int { return d.bytes }

// open finds the group of a key, or begins it.
func (d *Decoder) open(now int64, key uint64) *group {
	for _, g := range slices.Backward(d.groups) {
		if g.key == key {
			return g
		}
	}
	if len(d.groups) >= d.mostGroups {
		d.drop(max(slices.IndexFunc(d.groups, func(g *group) bool { return g.done }), 0))
	}
	for len(d.groups) > 0 && d.bytes > d.mostBytes {
		d.drop(0)
	}
	if len(d.spare) == 0 {
		d.spare = append(d.spare, new(group))
	}
	last := len(d.spare) - 1
	g := d.spare[last]
	d.spare = d.spare[:last]
	*g = group{key: key, begun: now}
	d.groups = append(d.groups, g)
	return g
}

// drop forgets the i-th group.
func (d *Decoder) drop(i int) {
	d.close(d.groups[i])
	d.spare = append(d.spare, d.groups[i])
	d.groups = slices.Delete(d.groups, i, i+1)
}

// close gives the group's memory back; it stays known, so that stragglers do not
// begin it anew.
func (d *Decoder) close(g *group) {
	g.done = true
	for i, b := range g.data {
		d.release(b)
		g.data[i] = nil
	}
	for i, b := range g.parity {
		d.release(b)
		g.parity[i] = nil
	}
}

// try rebuilds what is missing, if there is enough of the rest.
func (d *Decoder) try(g *group) {
	if g.k == 0 {
		return
	}
	missing := g.k - g.have
	switch {
	case missing <= 0:
		d.close(g)
		return
	case missing > g.rows:
		return
	}
	var rows, columns [MaxParity]int
	e := 0
	for i := range g.k {
		if g.data[i] == nil {
			columns[e] = i
			e++
		}
	}
	e = 0
	for j := range g.parity {
		if g.parity[j] != nil && e < missing {
			rows[e] = j
			e++
		}
	}
	if d.reduce(g, rows[:missing]) {
		d.solver.solve(rows[:missing], columns[:missing])
		size := len(g.parity[rows[0]])
		out := d.buffer(size)[:size]
		for c := range missing {
			clear(out)
			for r := range missing {
				simd.GalMulSliceXor(d.solver.inverse[c][r], g.parity[rows[r]], out)
			}
			d.recovered(g.key, columns[c], out)
		}
		d.free = append(d.free, out)
	}
	d.close(g)
}

// reduce takes what is known of the data off the rows. False: they do not fit.
func (d *Decoder) reduce(g *group, rows []int) bool {
	size := len(g.parity[rows[0]])
	for _, j := range rows {
		row := g.parity[j]
		if len(row) != size {
			return false
		}
		for i, b := range g.data[:g.k] {
			if len(b) > size {
				return false
			}
			if b != nil {
				simd.GalMulSliceXor(coefficient(j, i), b, row[:len(b)])
			}
		}
	}
	return true
}

// buffer returns an empty slice with room for n bytes.
func (d *Decoder) buffer(n int) []byte {
	if last := len(d.free) - 1; last >= 0 {
		b := d.free[last]
		d.free = d.free[:last]
		if cap(b) >= n {
			return b[:0]
		}
	}
	return make([]byte, 0, max(n, 1536))
}

func (d *Decoder) release(b []byte) {
	if b == nil {
		return
	}
	d.bytes -= len(b)
	d.free = append(d.free, b)
}
