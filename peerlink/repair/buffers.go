package repair

import "github.com/openbmx/lightweight-tunnel/actors/packet"

// buffers keeps the memory of packets that are done with for the next ones, as long
// as there is enough for others. Its zero value is empty. How much it keeps follows
// from how much was in use at once.
type buffers struct {
	free   [][]byte
	budget *packet.Budget // what is in use and what is kept was taken of it
}

// take returns an empty slice with room for n bytes.
func (b *buffers) take(n int) []byte {
	if last := len(b.free) - 1; last >= 0 {
		buf := b.free[last]
		b.free = b.free[:last]
		if cap(buf) >= n {
			return buf[:0]
		}
		b.budget.Give(cap(buf))
	}
	buf := make([]byte, 0, max(n, usualBuffer))
	b.budget.Charge(cap(buf)) // the packet is here and must be somewhere
	return buf
}

const usualBuffer = 1536 // bytes

// give takes a slice back, which may be nil.
func (b *buffers) give(buf []byte) {
	switch {
	case buf == nil:
	case b.budget.Tight():
		b.budget.Give(cap(buf))
	default:
		b.free = append(b.free, buf)
	}
}

// forget lets go of what is kept.
func (b *buffers) forget() {
	for _, buf := range b.free {
		b.budget.Give(cap(buf))
	}
	b.free = nil
}
