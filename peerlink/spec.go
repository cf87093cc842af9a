package peerlink

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/peerlink/noise"
)

func checkStatic(id message.NodeID, private [32]byte) error { return noise.CheckStatic(id, private) }

// Spec tells a supervisor how to run everything of this package: a supervisor
// "links" over the peers actor, one actor per seed and one per peer. Stop it
// before the transport, so that links can say goodbye.
func (d *Directory) Spec(policy actors.Policy) actors.Spec {
	return actors.Spec{
		Name:      "links",
		Permanent: true,
		New: func() actors.Actor {
			sup := actors.NewSupervisor("links", policy, actors.Spec{
				Name: "peers", Permanent: true, Mailbox: d.box, New: func() actors.Actor { return newPeers(d) },
			})
			d.sup.Store(sup)
			return sup
		},
	}
}

// Fail makes a peer's link fail and be restarted: for a pump that caught a panic
// in a step done for that peer.
func (d *Directory) Fail(p *Peer, err error) {
	if sup := d.sup.Load(); sup != nil {
		_ = sup.Fail(linkName(p), err) // it may be restarting already
	}
}

func linkName(p *Peer) string { return "link/" + p.id.Brief() }

// startLink starts a peer's link unless it runs.
func (d *Directory) startLink(p *Peer) {
	_ = d.sup.Load().Start(actors.Spec{ // ErrExists is as good
		Name: linkName(p), Permanent: true, Mailbox: p.box, New: func() actors.Actor { return newLink(d, p) },
	})
}

// startSeed starts the actor of a seed unless it runs.
func (d *Directory) startSeed(address string) {
	_ = d.sup.Load().Start(actors.Spec{ // ErrExists is as good
		Name: seedPrefix + address, Permanent: true, New: func() actors.Actor { return newSeed(d, address) },
	})
}

// warnQueueFull says, at most once a minute, that staging overflows, and what may be
// done about it.
func (d *Directory) warnQueueFull(p *Peer, remedy string) {
	now, last := d.now(), d.fullSaid.Load()
	if last != 0 && now-last < int64(time.Minute) || !d.fullSaid.CompareAndSwap(last, max(now, 1)) {
		return
	}
	d.cfg.Log.Named("link").Warn("Send queue full, dropping packet: "+remedy+", or see why the peer is not connected",
		"peer", p.Name(), "send_queue", d.cfg.SendQueue)
}
