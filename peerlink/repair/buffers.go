package repair

// buffers keeps the memory of packets that are done with for the next ones. Its
// zero value is empty. How much it keeps follows from how much was in use at once.
type buffers struct{ free [][]byte }

// take returns an empty slice with room for n bytes.
func (b *buffers) take(n int) []byte {
	if last := len(b.free) - 1; last >= 0 {
		buf := b.free[last]
		b.free = b.free[:last]
		if cap(buf) >= n {
			return buf[:0]
		}
	}
	return make([]byte, 0, max(n, 1536))
}

// give takes a slice back, which may be nil.
func (b *buffers) give(buf []byte) {
	if buf != nil {
		b.free = append(b.free, buf)
	}
}
