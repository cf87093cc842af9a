package peerlink

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// Forward returns the way on for a relayed datagram, nil if it must be dropped:
// see [Directory.Onward], to which it is one that came from nobody.
func (d *Directory) Forward(dst message.ShortID, hops uint8) *Outbound {
	return d.Onward(wire.Envelope{Dst: dst, Hops: hops}, nil)
}

// Onward returns the way on for a datagram in envelope e that the node via sent,
// nil if it must be dropped: this node forwards for nobody, the hops are used up,
// or the destination cannot be reached other than back through via. The caller
// takes one hop off e, and whatever e says, no more than MaxHops are left.
//
// A node that is not reached directly is reached through the relay of its own
// link, through the one that says that it reaches it, or through the one through
// which its datagrams come. Each of them may be wrong; that nothing goes back
// where it came from, and the hops, are what ends a circle. Any goroutine may
// call it; it does not wait or allocate.
func (d *Directory) Onward(e wire.Envelope, via *Peer) *Outbound {
	if !d.cfg.Relay || d.cfg.ClientIsolation || e.Hops == 0 {
		return nil
	}
	d.learn(e.Src, via)
	peer := d.PeerShort(e.Dst)
	if peer == nil {
		return nil
	}
	out := peer.Outbound()
	if out != nil && out.path.Kind() != packet.Relay {
		if peer == via {
			return nil
		}
		return out
	}
	if e.Hops == 1 {
		return nil // only the destination itself may come next
	}
	if out != nil {
		if relay, ok := out.path.(*RelayPath); ok {
			if next := relay.via.next(via, peer); next != nil {
				return next
			}
		}
	}
	if w := peer.onward.Load(); w != nil && time.Since(w.at) < reachFresh {
		if next := w.via.next(via, peer); next != nil {
			return next
		}
	}
	if back := peer.behind.Load(); back != nil {
		return back.next(via, peer)
	}
	return nil
}

// next is the way to the relay p, nil if that is where the datagram came from, or
// it is not reached directly.
func (p *Peer) next(via, peer *Peer) *Outbound {
	out := p.out.Load()
	if p == via || p == peer || out == nil || out.path.Kind() == packet.Relay {
		return nil
	}
	return out
}

// learn notes where a node's datagrams come from: answers go that way if no better
// one is known.
func (d *Directory) learn(src message.ShortID, via *Peer) {
	if via == nil {
		return
	}
	if peer := d.PeerShort(src); peer != nil && peer != via && peer.behind.Load() != via {
		peer.behind.Store(via)
	}
}

// CapHops bounds what an envelope may say.
func (d *Directory) CapHops(hops uint8) uint8 { return min(hops, d.cfg.MaxHops) }
