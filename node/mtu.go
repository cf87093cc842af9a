package node

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/peerlink"
)

// fitting chooses the MTU of the overlay's interface so that its packets fit
// every path in use. It is pure.
type fitting struct {
	current int       // bytes
	least   int       // never below
	roomy   time.Time // since when all paths have carried more; zero: they do not
}

const (
	// firstMTU is the interface's before any path is known: it fits nearly all.
	firstMTU = 1400
	mostMTU  = 9000
	// raiseMTUAfter keeps connections from being made for a size that a path that
	// comes and goes takes away again.
	raiseMTUAfter = 30 * time.Second
	lookAtMTU     = time.Second
)

// step takes the largest packets of the links that are up, and returns the MTU
// that the interface should have: smaller at once, larger after a while.
func (f *fitting) step(now time.Time, links []int) int {
	want := mostMTU
	for _, n := range links {
		if n > 0 {
			want = min(want, n)
		}
	}
	if want = max(want, f.least); len(links) == 0 {
		want = f.current
	}
	switch {
	case want <= f.current:
		f.current, f.roomy = want, time.Time{}
	case f.roomy.IsZero():
		f.roomy = now
	case now.Sub(f.roomy) >= raiseMTUAfter:
		f.current, f.roomy = want, time.Time{}
	}
	return f.current
}

// mtuActor keeps the interface's MTU in step with the paths (`-mtu 0`).
type mtuActor struct {
	fitting
	links func() []int
	set   func(mtu int) error
	log   hclog.Logger
}

// Run works until ctx ends.
func (a *mtuActor) Run(ctx context.Context) error {
	tick := time.NewTicker(lookAtMTU)
	defer tick.Stop()
	failed := ""
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case now := <-tick.C:
			before := a.current
			mtu := a.step(now, a.links())
			if mtu == before {
				continue
			}
			if err := a.set(mtu); err != nil {
				if a.current = before; failed != err.Error() {
					failed = err.Error()
					a.log.Warn("cannot change the interface's MTU", "mtu", mtu, "reason", err)
				}
				continue
			}
			a.log.Info("the interface's MTU follows the paths", "mtu", mtu, "before", before)
		}
	}
}

// newMTU returns the actor of an overlay whose MTU can be changed.
func (n *Node) newMTU(o interface{ SetMTU(int) error }) *mtuActor {
	least := 576 // RFC 791
	if n.overlayAddress(true).IsValid() {
		least = 1280 // RFC 8200, 5
	}
	return &mtuActor{
		fitting: fitting{current: n.MTU(), least: least}, log: n.log.Named("mtu"),
		links: func() (all []int) {
			for _, p := range n.peers.Peers() {
				if s := p.Snapshot(); s.State == peerlink.Up {
					all = append(all, s.MTU)
				}
			}
			return all
		},
		set: func(mtu int) error {
			if err := o.SetMTU(mtu); err != nil {
				return err
			}
			n.mtu.Store(int32(mtu))
			return nil
		},
	}
}

// MTU is the present one of the overlay's interface, in bytes.
func (n *Node) MTU() int {
	if found := n.mtu.Load(); found != 0 {
		return int(found)
	}
	if n.cfg.MTU != 0 {
		return n.cfg.MTU
	}
	return firstMTU
}
