// Package replay remembers which counters of a session have been seen.
package replay

const (
	wordBits = 64
	words    = 64 // a power of two

	// Size is how far behind the highest counter a datagram may arrive. It is
	// one word short of the ring, because the word that is being filled is
	// cleared as a whole.
	Size = (words - 1) * wordBits
)

// Window is a sliding window without shifts (RFC 6479). Its zero value accepts
// every counter once. It belongs to one goroutine.
type Window struct {
	next uint64 // highest counter seen, plus one; 0: nothing seen
	ring [words]uint64
}

// Accept says whether counter is new and not too old, and marks it as seen. Call
// it only for authenticated datagrams.
func (w *Window) Accept(counter uint64) bool {
	if counter == ^uint64(0) {
		return false // no counter follows it; never sent
	}
	word := counter / wordBits
	if counter >= w.next {
		if w.next == 0 {
			w.ring = [words]uint64{}
		} else {
			newest := (w.next - 1) / wordBits
			for i := range min(word-newest, words) {
				w.ring[(newest+1+i)%words] = 0
			}
		}
		w.next = counter + 1
	} else if w.next-1-counter >= Size {
		return false
	}
	bit := uint64(1) << (counter % wordBits)
	slot := &w.ring[word%words]
	if *slot&bit != 0 {
		return false
	}
	*slot |= bit
	return true
}

// Highest is the highest counter accepted so far; 0 also if there is none.
func (w *Window) Highest() uint64 {
	if w.next == 0 {
		return 0
	}
	return w.next - 1
}
