// Package packet holds the buffers that pumps, links and transports pass to
// each other, and the two interfaces behind which a transport stands.
//
// The unit of work is a burst, not a packet: a [Train] on the way out, an
// [Arrivals] on the way in. Both are owned by exactly one goroutine at a time
// and are reused for ever, so that the hot path allocates nothing.
package packet

import "errors"

const (
	// Headroom is what a Train keeps free in front of its first slot, for a
	// transport's own headers: virtio_net_hdr 12, Ethernet with one VLAN tag 18,
	// IPv6 40, TCP with full options 60.
	Headroom = 136

	// MaxTrain bounds the bytes of all slots together, so that the largest
	// header in front still fits the 65535 bytes of an IPv4 total length.
	MaxTrain = 65535 - 40 - 60

	// MaxSlots bounds the number of datagrams in one Train.
	MaxSlots = 128
)

// ErrFull is returned by [Path.Send] when the path cannot take the train now
// (socket buffer or peer window full). The train is lost, counted by the path.
var ErrFull = errors.New("path is full")

// Train is a burst of datagrams for one path, laid out as generic segmentation
// offload wants it: slots of equal size one behind the other, of which only the
// last may be shorter.
//
//	| Headroom | prefix datagram | prefix datagram | ... | prefix datagram(short) |
//	           '---- slot ------'
//
// The prefix of a slot belongs to the path (a TLS record header, a relay
// envelope); the path fills it in Send. A Train is for one goroutine. Its zero
// value is not usable: see [NewTrain].
type Train struct {
	buf    []byte
	prefix int // bytes in front of each datagram
	slot   int // bytes of each slot but the last, prefix included; 0: not yet known
	n      int
	end    int // offset of the first free byte in buf
	closed bool
}

// NewTrain returns an empty train with room for MaxTrain bytes.
func NewTrain() *Train {
	t := &Train{buf: make([]byte, Headroom+MaxTrain)}
	t.Reset(0)
	return t
}

// Reset empties t for a path that wants prefix bytes in front of each datagram.
func (t *Train) Reset(prefix int) {
	t.prefix, t.slot, t.n, t.end, t.closed = prefix, 0, 0, Headroom, false
}

// Next returns the place for one more datagram of n bytes, or nil if the train
// must be sent first: it is full, ended by a short slot, or n is larger than
// the slots before it.
func (t *Train) Next(n int) []byte {
	size := t.prefix + n
	switch {
	case t.closed || t.n == MaxSlots || t.end+size > len(t.buf):
		return nil
	case t.n == 0:
		t.slot = size
	case size > t.slot:
		return nil
	case size < t.slot:
		t.closed = true
	}
	start := t.end + t.prefix
	t.end += size
	t.n++
	return t.buf[start:t.end:t.end]
}

// Drop takes back the last slot given out by Next.
func (t *Train) Drop() {
	if t.n == 0 {
		return
	}
	t.n--
	t.end = Headroom + t.n*t.slot
	t.closed = false
	if t.n == 0 {
		t.slot = 0
	}
}

// Prefix is the number of bytes in front of each datagram.
func (t *Train) Prefix() int { return t.prefix }

// Enclose makes the last n bytes of each prefix part of the datagrams, after an
// outer layer (a relay envelope) has been written there. n is at most Prefix.
func (t *Train) Enclose(n int) { t.prefix -= n }

// Len is the number of datagrams in t.
func (t *Train) Len() int { return t.n }

// SlotSize is the size of every slot but the last, prefix included: the segment
// size that offload is told.
func (t *Train) SlotSize() int { return t.slot }

// Bytes are all slots, contiguous.
func (t *Train) Bytes() []byte { return t.buf[Headroom:t.end] }

// Frame returns the n bytes in front of the slots together with the slots: what
// a transport hands to the kernel after it has written its headers there.
func (t *Train) Frame(n int) []byte { return t.buf[Headroom-n : t.end] }

// Slot returns slot i, prefix included.
func (t *Train) Slot(i int) []byte {
	start := Headroom + i*t.slot
	return t.buf[start:min(start+t.slot, t.end)]
}

// Datagram returns the datagram in slot i, without its prefix.
func (t *Train) Datagram(i int) []byte { return t.Slot(i)[t.prefix:] }
