package peerlink

import (
	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// toLink is what a link takes.
type toLink interface{ toLink() }

type (
	// touched tells of the first datagram of a session, or of a new path of it.
	touched struct {
		in   *Inbound
		path packet.Path
	}
	// controlled brings the frames of a Control datagram.
	controlled struct {
		in     *Inbound
		frames []byte
		path   packet.Path
		aside  bool  // it went aside of the stream: the path is only being asked
		at     int64 // Directory.now of its arrival
	}
	// adopt brings a session whose handshake is done on this side.
	adopt struct{ s *session }
	// again says that the peer repeated the last message of a handshake.
	again struct{ in *Inbound }
	// dialled brings a path that a seed's actor made although, or because, the
	// link had one.
	dialled struct {
		path  packet.Path
		owner actors.Ref[fate]
	}
	// lost says that a path was found closed, or that its way has changed.
	lost struct{ path packet.Path }
	// want says that there is traffic for the peer.
	want struct{}
	// look says that some other link came up or went down.
	look struct{}
	// elsewhere says that this node may be reached in other ways than before.
	elsewhere struct{}
	// judged says that this node does not admit the peer that it had called.
	judged struct{ refusal string }
)

func (touched) toLink()     {}
func (controlled) toLink()  {}
func (adopt) toLink()       {}
func (dialled) toLink()     {}
func (again) toLink()       {}
func (lost) toLink()        {}
func (want) toLink()        {}
func (look) toLink()        {}
func (elsewhere) toLink()   {}
func (judged) toLink()      {}
func (pingRequest) toLink() {}

// answered brings the answer to a handshake to whom began it.
type answered struct {
	message wire.Handshake
	path    packet.Path
}
