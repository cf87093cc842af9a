package repair

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/fec"
)

const (
	openGroups  = 64
	leastGroups = 8
	groupBytes  = 32 << 10               // of packets that wait for parity, for each group
	groupCost   = groupBytes + (4 << 10) // with what is known of the group
)

// Bound makes what waits to be put in order, and for parity, fit a budget that r may
// share with others. Where there is no room packets go on at once, and what parity
// could give back is lost. It is called before anything is taken.
func (r *Receiver) Bound(waiting *packet.Budget) {
	r.budget, r.free.budget = waiting, waiting
	r.room = int(min(maxHeld, waiting.Most()/peerShare))
}

// Forget lets go of all that waits: r is not used any more.
func (r *Receiver) Forget() {
	for _, f := range r.flows {
		for i := range f.slots {
			r.free.give(f.slots[i].buf)
		}
		r.budget.Give(len(f.slots) * placeCost)
	}
	clear(r.flows)
	r.held, r.waiting, r.places = 0, 0, 0
	r.letGo()
}

// letGo gives back what is kept beside what waits.
func (r *Receiver) letGo() {
	r.free.forget()
	r.budget.Give(r.decoding)
	r.decoder, r.decoding = nil, 0
}

// decodes says whether groups are kept, for which it makes room: for fewer where there
// is little.
func (r *Receiver) decodes() bool {
	if r.decoder != nil {
		return true
	}
	groups := openGroups
	for int64(groups*groupCost) > r.budget.Most()/peerShare && groups > leastGroups {
		groups /= 2
	}
	if !r.budget.Take(groups * groupCost) {
		return false
	}
	r.decoding = groups * groupCost
	r.decoder = fec.NewDecoder(groups, groups*groupBytes, r.rebuilt)
	return true
}

// sweep forgets idle flows, and lets go of memory when there are none. It returns
// when to look again; 0: nothing is kept.
func (r *Receiver) sweep(now int64) int64 {
	if now-r.swept >= int64(time.Second) {
		r.swept = now
		for slot, f := range r.flows {
			if f.held == 0 && now-f.last > flowIdle {
				r.places -= len(f.slots)
				r.budget.Give(len(f.slots) * placeCost)
				delete(r.flows, slot)
			}
		}
		if len(r.flows) == 0 && now-r.now > flowIdle {
			r.letGo()
		}
	}
	if len(r.flows) == 0 && len(r.free.free) == 0 && r.decoder == nil {
		return 0
	}
	return r.swept + flowIdle
}
