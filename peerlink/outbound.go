package peerlink

import (
	"crypto/cipher"
	"sync/atomic"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/repair"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// Outbound is all that is needed to send to a peer now: the path and the key.
// It is an immutable snapshot; any goroutine may use it, for one burst. Get the
// next one with [Peer.Outbound].
type Outbound struct {
	peer   *Peer
	path   packet.Path
	sealer *sealer
	limit  int // bytes of a datagram that should be sent; 0: as many as the path takes
	wanted int // bytes of the largest datagram for which Config.MTU asks; 0: it asks for none
}

// sealer is the sending half of a session, shared by all snapshots of it.
type sealer struct {
	masker  *wire.Masker
	aead    cipher.AEAD
	index   uint32        // the peer's name for the session
	counter atomic.Uint64 // the next unused
	aside   atomic.Uint64 // the same of what goes aside of the stream, less wire.AsideCounter
}

// Peer is to whom o leads.
func (o *Outbound) Peer() *Peer { return o.peer }

// Path is the way that the datagrams take.
func (o *Outbound) Path() packet.Path { return o.path }

// Session is the peer's name for the session.
func (o *Outbound) Session() uint32 { return o.sealer.index }

// MaxPacket is the largest IP packet that fits one datagram of the path, in bytes.
// It leaves room for what repair may have to add, so that it does not change when
// a link begins to lose.
func (o *Outbound) MaxPacket() int { return o.MaxDatagram() - wire.Overhead - repair.Room }

// MaxDatagram is the largest datagram that should be sent, in bytes: what the
// path's interface takes, or less if that is known not to arrive.
func (o *Outbound) MaxDatagram() int {
	most := o.path.MaxDatagram()
	if o.limit > 0 {
		return min(most, o.limit)
	}
	return most
}

// MaxEnvelope is MaxDatagram of one that carries another: Config.MTU speaks of packets,
// not of what a relay needs around them. Whose packets they are finds out by itself what
// arrives, unless less is known to.
func (o *Outbound) MaxEnvelope() int {
	if o.wanted > 0 && o.limit >= o.wanted {
		return o.path.MaxDatagram()
	}
	return o.MaxDatagram()
}

// Begin reserves n counters and returns the first. Counters left unused do no harm.
func (o *Outbound) Begin(n int) uint64 {
	return o.sealer.counter.Add(uint64(n)) - uint64(n)
}

// Sealed says under which counter of which session a packet was sealed.
type Sealed struct {
	Session uint32
	Counter uint64
}

// Again is what to seal of a packet that was sealed before. If it was alone, that
// is the same under the same counter, which makes the same datagram: the peer's
// replay window knows it. If not, another plaintext under that counter would betray
// both, and the key that authenticates; so it is the repeat of what was sealed, under
// a fresh counter. In another session it is a packet like any other. plain is a view
// of the packet, or, if it is wire.Repairable, was appended to dst.
func (o *Outbound) Again(dst []byte, a Again) (counter uint64, kind wire.Kind, plain []byte) {
	switch {
	case a.Session != o.Session():
		return o.Begin(1), a.Kind, a.Packet
	case a.Repeat == nil:
		return a.Counter, a.Kind, a.Packet
	}
	counter = o.Begin(1)
	if repeat, ok := a.Repeat(dst, a.Counter, counter, a.Kind == wire.DataPartial, a.Packet); ok {
		return counter, wire.Repairable, repeat
	}
	return counter, a.Kind, a.Packet
}

// Seal writes the datagram that carries plain into dst, whose length must be
// len(plain)+wire.Overhead. plain and dst may not overlap; both stay the
// caller's. Every counter from Begin may be used once.
func (o *Outbound) Seal(dst []byte, counter uint64, kind wire.Kind, plain []byte) {
	s := o.sealer
	wire.Seal(dst, s.masker, s.aead, wire.Header{Kind: kind, Index: s.index, Counter: counter}, plain)
}
