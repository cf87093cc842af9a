package peerlink

import (
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// toLink is what a link takes.
type toLink interface{ toLink() }

// touched tells a link of the first datagram of a session, or of a new path of it.
type touched struct {
	in   *Inbound
	path packet.Path
}

// controlled brings a link the frames of a Control datagram.
type controlled struct {
	in     *Inbound
	frames []byte
	path   packet.Path
	at     int64
}

// answered brings the answer to a handshake to whom began it.
type answered struct {
	message wire.Handshake
	path    packet.Path
}

// arrived brings the peers actor a handshake that somebody else began.
type arrived struct {
	message wire.Handshake
	path    packet.Path
}

func (touched) toLink()    {}
func (controlled) toLink() {}

// ToPeers seals the type.
func (arrived) ToPeers() {}
