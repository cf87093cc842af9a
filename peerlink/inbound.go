package peerlink

import (
	"crypto/cipher"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/replay"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// ErrReplay is returned for a datagram that was here before or is too old to tell.
var ErrReplay = errors.New("datagram was seen before or is too old")

// Inbound is the receiving half of a session. Open, Touch and OpenRelay belong
// to the one pump that receives this peer's datagrams, because the replay window
// is theirs; all else may be called by any goroutine.
type Inbound struct {
	peer  *Peer
	index uint32
	aead  cipher.AEAD
	clock func() int64

	// Owned by the receiving pump.
	window  replay.Window
	packets uint64
	seen    packet.Path
	aside   replay.Window // of what goes aside of the stream
	strayed bool          // what was opened last went aside
	carried bool          // something else than control datagrams came since the last Touch

	// Published by Touch, read by the link.
	received atomic.Uint64 // datagrams accepted
	highest  atomic.Uint64 // counter, plus one
	last     atomic.Int64  // Directory.now of the last accepted datagram; 0: none yet
	lastData atomic.Int64  // the same of those that carried something
}

// Peer is from whom the session's datagrams come.
func (in *Inbound) Peer() *Peer { return in.peer }

// Open authenticates an unmasked datagram with header h, then checks and marks
// the replay window. The plaintext is written behind dst, as wire.Open says, and
// the longer slice returned. Errors are wire.ErrShort, wire.ErrOpen and ErrReplay.
func (in *Inbound) Open(dst, datagram []byte, h wire.Header) ([]byte, error) {
	plain, err := wire.Open(dst, in.aead, h, datagram)
	if err != nil {
		return nil, err
	}
	if in.strayed = h.Aside(); in.strayed {
		if !in.aside.Accept(h.Counter - wire.AsideCounter) {
			return nil, ErrReplay
		}
		return plain, nil // not of the stream: Touch hears nothing of it
	}
	if !in.window.Accept(h.Counter) {
		return nil, ErrReplay
	}
	in.packets++
	in.carried = in.carried || h.Kind != wire.Control
	return plain, nil
}

// OpenRelay opens the envelope of a relayed datagram instead: who sent it, whom
// it is for and how many relays it may still pass. inner is a view into datagram.
func (in *Inbound) OpenRelay(datagram []byte, h wire.Header) (e wire.Envelope, inner []byte, err error) {
	e, inner, err = wire.OpenEnvelope(in.aead, h, datagram)
	if err != nil {
		return wire.Envelope{}, nil, err
	}
	if !in.window.Accept(h.Counter) {
		return wire.Envelope{}, nil, ErrReplay
	}
	in.packets++
	in.carried = true
	return e, inner, nil
}

// Touch accounts for what Open accepted since the last Touch: call it once per
// batch and session, with the path that brought the batch and the bytes of its
// datagrams. A path other than before is reported to the link, which moves: if
// what came on it is newer than all before, so that stragglers of the old path
// move nothing back (RFC 9000, 9.3).
func (in *Inbound) Touch(path packet.Path, bytes int) {
	if in.packets == 0 {
		return
	}
	in.received.Store(in.received.Load() + in.packets)
	highest := in.window.Highest() + 1
	newer := highest > in.highest.Load()
	in.highest.Store(highest)
	in.peer.rxPackets.Add(in.packets)
	in.peer.rxBytes.Add(uint64(bytes))
	in.packets = 0
	now := max(in.clock(), 1)
	first := in.last.Swap(now) == 0
	if in.carried {
		in.carried = false
		in.lastData.Store(now)
	}
	if first || newer && path != in.seen {
		// Refused for lack of room: the next batch says it again.
		if in.peer.box.Ref().Offer(touched{in: in, path: path}) {
			in.seen = path
		} else if first {
			in.last.Store(0) // so that the next batch is the first again
		}
	}
}

// Control takes the plaintext of the Control datagram that was opened last: it is
// copied and offered to the link. False: the link has no room.
func (in *Inbound) Control(plain []byte, path packet.Path) bool {
	return in.peer.box.Ref().Offer(controlled{in: in, frames: slices.Clone(plain), path: path, aside: in.strayed, at: in.clock()})
}
