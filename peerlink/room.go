package peerlink

import (
	"sync/atomic"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// room is what the links of a node may keep staged together. Pumps take of it, and
// are refused when it is spent; a link that has more than its share lets its oldest
// packets go before that, so that a peer which is away for long leaves room for the
// others. Its zero value has no end. Any goroutine may use it.
type room struct {
	budget *packet.Budget // nil: no end
	links  atomic.Int64   // that keep something
	shed   atomic.Uint64  // packets that were dropped for want of it
}

// stagedOverhead is what a packet takes that waits, beside its bytes: its place in a
// queue that may be half empty, and what allocating rounds up.
const stagedOverhead = 192

// cost is what a packet takes of the room, in bytes.
func (p *staged) cost() int { return len(p.Packet) + stagedOverhead }

// share is what each link may keep when there is not enough for all, in bytes.
func (r *room) share() int64 { return r.budget.Most() * 7 / 8 / max(r.links.Load(), 1) }

// Shed counts the packets that were dropped because all that is staged reached
// [Config.Staged]. Any goroutine may call it.
func (d *Directory) Shed() uint64 { return d.room.shed.Load() }

// forget gives back what a peer that left has in the mailbox of its link. A pump that
// still knows the peer calls it as well, after whatever it put there.
func (p *Peer) forget() {
	for {
		select {
		case batch := <-p.staging.C():
			for i := range batch {
				p.room.budget.Give(batch[i].cost())
			}
		default:
			return
		}
	}
}
