package peerlink

import (
	"sync/atomic"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// strangers lets a flood of junk through to the peers actor as a trickle: what
// cannot be deciphered is worth a look, but not one per datagram. Its zero value
// is ready.
type strangers struct {
	next  atomic.Int64 // Directory.now from which the next one is let through
	total atomic.Uint64
}

// strangerInterval is the least time between two that are let through.
const strangerInterval = int64(20 * time.Millisecond)

// strange tells the peers actor of a datagram that the mesh key does not open.
type strange struct{ path packet.Path }

// ToPeers seals the type.
func (strange) ToPeers() {}

func (d *Directory) undecipherable(path packet.Path) {
	d.strange.total.Add(1)
	now, next := d.now(), d.strange.next.Load()
	if now >= next && d.strange.next.CompareAndSwap(next, now+strangerInterval) {
		d.box.Ref().Offer(strange{path: path})
	}
}

// Undecipherable is the number of datagrams that the mesh key did not open.
func (d *Directory) Undecipherable() uint64 { return d.strange.total.Load() }
