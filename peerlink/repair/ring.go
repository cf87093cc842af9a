package repair

import (
	"unsafe"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// ring keeps copies of the newest packets, so that they can be repeated. It grows
// while packets leave it younger than they may be asked for, up to maxEntries, and
// while there is room for it. Its zero value is empty.
type ring struct {
	budget  *packet.Budget
	charged int     // bytes taken of it
	entries []entry // a ring by order of first sending; its length is a power of two
	head    uint64  // packets ever added
	found   []where // by counter: a ring that is longer, because not every counter is that of a packet
}

// entry is one packet that may have to be repeated.
type entry struct {
	buf     []byte // maxShim bytes of room, then the packet
	shim    Shim
	index   uint32 // session
	first   uint64 // counter under which it was first sent
	last    uint64 // counter under which it was sent last
	sent    int64  // when it was first sent
	group   uint32 // number of its group, plus one; 0: none
	queued  bool   // waits to be repeated
	done    bool   // will not be repeated again
	repeats uint8
}

type where struct {
	counter uint64
	index   uint32
	entry   uint64 // which of the packets ever added, from one on
}

const (
	minEntries = 64
	// A packet may come with two probes, or with as much parity and some repeats.
	foundPerEntry = 8
	maxEntries    = 4096
	nearEntries   = 512 // while the round trip is short, or not known yet

	usualPacket = 1500 // bytes of room that each entry has at least
	entryCost   = maxShim + usualPacket + int(unsafe.Sizeof(entry{})+foundPerEntry*unsafe.Sizeof(where{}))
	// Of what all peers share one takes this part at most.
	peerShare = 2
)

// ready says whether packets can be kept, for which it makes room.
func (r *ring) ready() bool { return len(r.entries) > 0 || r.resize(minEntries) }

// add returns the entry for a packet of n bytes that is sent under counter. The
// ring must be ready; it grows up to most entries while its oldest is younger than
// life.
func (r *ring) add(now, life int64, most int, index uint32, counter uint64, n int) *entry {
	e := &r.entries[r.head&uint64(len(r.entries)-1)]
	if len(r.entries) < most && e.buf != nil && now-e.sent < life && r.resize(2*len(r.entries)) {
		e = &r.entries[r.head&uint64(len(r.entries)-1)]
	}
	buf := e.buf
	if cap(buf) < maxShim+n {
		r.charge(max(n-max(cap(buf)-maxShim, usualPacket), 0))
		buf = make([]byte, maxShim+max(n, usualPacket))
	}
	*e = entry{buf: buf[:maxShim+n], index: index, first: counter, last: counter, sent: now}
	r.head++
	r.note(e, r.head)
	return e
}

// note makes e, the number-th packet that was added, known under its last counter.
func (r *ring) note(e *entry, number uint64) {
	r.found[e.last&uint64(len(r.found)-1)] = where{counter: e.last, index: e.index, entry: number}
}

// get is the packet that was sent last under counter, nil if it is not known.
func (r *ring) get(index uint32, counter uint64) (*entry, uint64) {
	if len(r.found) == 0 {
		return nil, 0
	}
	w := r.found[counter&uint64(len(r.found)-1)]
	if w.counter != counter || w.index != index || w.entry == 0 {
		return nil, 0
	}
	e := r.byNumber(w.entry)
	if e == nil || e.last != counter || e.index != index {
		return nil, 0
	}
	return e, w.entry
}

// byNumber is the entry of a number, nil if it was overwritten.
func (r *ring) byNumber(number uint64) *entry {
	if number == 0 || r.head-number >= uint64(len(r.entries)) {
		return nil
	}
	return &r.entries[(number-1)&uint64(len(r.entries)-1)]
}

// charge takes n bytes more, however many are left.
func (r *ring) charge(n int) {
	r.budget.Charge(n)
	r.charged += n
}

// forget drops all packets.
func (r *ring) forget() {
	r.budget.Give(r.charged)
	*r = ring{budget: r.budget}
}

// resize makes the ring longer. False: there is no room for that.
func (r *ring) resize(size int) bool {
	more := (size - len(r.entries)) * entryCost
	if int64(r.charged+more) > r.budget.Most()/peerShare || !r.budget.Take(more) {
		return false
	}
	r.charged += more
	old, oldLen := r.entries, uint64(len(r.entries))
	r.entries, r.found = make([]entry, size), make([]where, foundPerEntry*size)
	for n := r.head - min(r.head, oldLen) + 1; n <= r.head; n++ {
		e := &r.entries[(n-1)&uint64(size-1)]
		*e = old[(n-1)&(oldLen-1)]
		r.note(e, n)
	}
	return true
}
