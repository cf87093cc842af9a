package pump

import (
	"errors"
	"net"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// forwarder passes relayed datagrams on, whole trains at a time. Only envelopes
// are opened and sealed; the datagrams in them stay as they are.
type forwarder struct {
	drops *Drops
	train *packet.Train
	out   *peerlink.Outbound
	bytes int
	gone  packet.Path // the last one that was reported as closed
}

// forward puts one datagram, taken out of envelope e that via sent, into the
// train for its next hop.
func (f *forwarder) forward(peers *peerlink.Directory, e wire.Envelope, datagram []byte, via *peerlink.Peer) {
	out := peers.Onward(e, via)
	switch {
	case e.Hops == 0, out == nil && e.Dst == via.ID().Short(): // back to where it came from
		f.drops.Add(RelayRefused, 1)
		return
	case out == nil:
		f.drops.Add(RelayUnknown, 1)
		return
	}
	if out != f.out {
		f.flush()
		f.out = out
		f.train.Reset(out.Path().Prefix())
	}
	n := len(datagram) + wire.RelayOverhead
	if n > out.MaxEnvelope() {
		f.drops.Add(TooBig, 1)
		return
	}
	slot := f.train.Next(n)
	if slot == nil {
		f.flush()
		f.out = out
		f.train.Reset(out.Path().Prefix())
		slot = f.train.Next(n)
	}
	e.Hops = peers.CapHops(e.Hops) - 1
	out.SealRelay(slot, e, datagram)
	f.bytes += n
}

// flush sends the train; the next burst asks for the way anew.
func (f *forwarder) flush() {
	n := f.train.Len()
	if n > 0 {
		peer, path := f.out.Peer(), f.out.Path()
		switch err := path.Send(f.train); {
		case err == nil:
			peer.Sent(n, f.bytes)
		case errors.Is(err, net.ErrClosed):
			f.drops.Add(PathGone, n)
			if path != f.gone {
				f.gone = path
				peer.PathLost(path)
			}
			peer.PathLost(f.out.Path())
		default:
			f.drops.Add(PathFull, n)
		}
	}
	f.reset()
}

// reset forgets the train, sent or not.
func (f *forwarder) reset() {
	f.train.Reset(0)
	f.out, f.bytes = nil, 0
}
