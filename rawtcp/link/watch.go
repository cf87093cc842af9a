package link

import (
	"context"
	"time"
)

// verifyEvery is below the time a neighbour stays reachable (15 s at least).
const verifyEvery = 10 * time.Second

// Run keeps all handles up to date until ctx ends. It returns nil then.
func (r *Resolver) Run(ctx context.Context) error {
	r.readLocal() // what changed before
	r.resolveAll()
	tell := func() {
		if r.changed != nil {
			r.changed()
		}
	}
	tell()
	verify := time.NewTicker(verifyEvery)
	defer verify.Stop()
	return r.watcher.Watch(ctx, verify.C, r.again, func(c Change) {
		switch {
		case c.Local:
			r.readLocal()
			r.resolveAll()
		case c.Routes:
			r.resolveAll()
		case c.neighbours != nil:
			r.followNeighbours(c)
		case r.lost.Swap(false):
			r.resolveAll()
		default:
			r.verifyNeighbours()
		}
		if c.Routes {
			tell()
		}
	})
}

// followNeighbours asks again for the hops that go through a changed neighbour.
func (r *Resolver) followNeighbours(c Change) {
	for n := range r.held {
		h := n.cur.Load()
		if h.dev == nil || !h.via.IsValid() {
			continue
		}
		if index, ok := c.neighbours[h.via]; ok && index == h.dev.index {
			r.resolve(n)
		}
	}
}
