package peerlink

import (
	"maps"
	"net/netip"
	"sync/atomic"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// maxRelayed bounds the remote nodes remembered per relay.
const maxRelayed = 4096

// RelayPath is the way to a node through another: a [packet.Path] that wraps
// each datagram into an envelope for the relay. It follows the relay's own link:
// path and key are read anew for each burst. There is one per relay and remote
// node, so that pointers can be compared: see [Directory.RelayPath].
type RelayPath struct {
	via    *Peer
	self   message.ShortID
	remote message.ShortID
	hops   uint8

	// As they were when the relay was last reached: a pump that asks in the
	// moment in which it is not must not take the path for one without room.
	prefix, room atomic.Int32
}

// RelayPath returns the path to remote through via.
func (d *Directory) RelayPath(via *Peer, remote message.ShortID) *RelayPath {
	for {
		old := via.relays.Load()
		if old != nil {
			if p := (*old)[remote]; p != nil {
				return p
			}
		}
		p := &RelayPath{via: via, self: d.self, remote: remote, hops: d.cfg.MaxHops}
		fresh := map[message.ShortID]*RelayPath{}
		if old != nil {
			if len(*old) >= maxRelayed {
				return p // works, but is not known again
			}
			fresh = maps.Clone(*old)
		}
		fresh[remote] = p
		if via.relays.CompareAndSwap(old, &fresh) {
			return p
		}
	}
}

// direct is the relay's own way, nil if it is not reached directly: an envelope
// in an envelope could go round in a circle.
func (r *RelayPath) direct() *Outbound {
	out := r.via.Outbound()
	if out == nil || out.path.Kind() == packet.Relay {
		return nil
	}
	return out
}

// Send puts each datagram into its envelope, in place, and sends the burst on
// the relay's path. ErrFull while the relay has none.
func (r *RelayPath) Send(t *packet.Train) error {
	out := r.direct()
	if out == nil || t.Len() == 0 || t.Prefix() != out.path.Prefix()+wire.RelayOverhead {
		return packet.ErrFull
	}
	counter := out.Begin(t.Len())
	outer := out.path.Prefix()
	for i := range t.Len() {
		out.sealEnvelope(t.Slot(i)[outer:], counter+uint64(i), wire.Envelope{Dst: r.remote, Src: r.self, Hops: r.hops})
	}
	t.Enclose(wire.RelayOverhead)
	r.via.txRelayed.Add(uint64(t.Len()))
	return out.path.Send(t)
}

// Prefix is that of the relay's path and the room for the envelope.
func (r *RelayPath) Prefix() int {
	if out := r.direct(); out != nil {
		r.prefix.Store(int32(out.path.Prefix() + wire.RelayOverhead))
	}
	return max(int(r.prefix.Load()), wire.RelayOverhead)
}

// MaxDatagram is what fits an envelope on the relay's path; 0 if it never had one.
func (r *RelayPath) MaxDatagram() int {
	if out := r.direct(); out != nil {
		r.room.Store(int32(max(out.MaxEnvelope()-wire.RelayOverhead, 0)))
	}
	return int(r.room.Load())
}

// Kind is packet.Relay.
func (r *RelayPath) Kind() packet.Kind { return packet.Relay }

// Local is our address on the hop to the relay.
func (r *RelayPath) Local() netip.AddrPort {
	if out := r.direct(); out != nil {
		return out.path.Local()
	}
	return netip.AddrPort{}
}

// Remote is the relay's address.
func (r *RelayPath) Remote() netip.AddrPort {
	if out := r.direct(); out != nil {
		return out.path.Remote()
	}
	return netip.AddrPort{}
}

// Alive says whether the relay is reached directly now; it can come back.
func (r *RelayPath) Alive() bool { return r.direct() != nil }

// Adopt does nothing: see Close.
func (r *RelayPath) Adopt() {}

// Close does nothing: the relay's path belongs to the relay's link.
func (r *RelayPath) Close() {}

// Via is the relay.
func (r *RelayPath) Via() *Peer { return r.via }

// sealEnvelope writes the envelope in front of the inner datagram in dst.
func (o *Outbound) sealEnvelope(dst []byte, counter uint64, e wire.Envelope) {
	s := o.sealer
	wire.SealEnvelope(dst, s.masker, s.aead, wire.Header{Kind: wire.Relay, Index: s.index, Counter: counter}, e)
}

// SealRelay writes inner, wrapped into an envelope for the next hop, into slot,
// whose length must be len(inner)+wire.RelayOverhead: what a relay does with a
// datagram for somebody else, with one hop taken off e.
func (o *Outbound) SealRelay(slot []byte, e wire.Envelope, inner []byte) {
	copy(slot[wire.RelayOverhead:], inner)
	o.sealEnvelope(slot, o.Begin(1), e)
}
