package peerlink

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// effect is something that the machine wants done. The link actor does them in
// the order given: that is what "install before announce" rests on.
type effect interface{ effect() }

type (
	// install puts the opening keys of a session where the pumps find them.
	install struct{ s *session }
	// uninstall takes them away.
	uninstall struct{ s *session }
	// publish replaces what the pumps send with; without a session: nothing.
	publish struct {
		s    *session
		path packet.Path
	}
	// away tells the pumps that what was sent since then may not have arrived.
	away struct{ since time.Time }
	// doubted lets another path be dialled although there is one.
	doubted struct{}
	// send seals one frame and sends it. Times and counts are filled in then.
	send struct {
		s     *session
		path  packet.Path
		frame wire.Frame
	}
	// sendAside is send aside of the stream: a question about a path that is not in
	// use, or its answer.
	sendAside struct {
		s     *session
		path  packet.Path
		frame wire.Frame
	}
	// sendFinal sends the third message of a session's handshake.
	sendFinal struct{ s *session }
	// initiate begins a handshake on a path.
	initiate struct{ path packet.Path }
	// abandon ends the one that was begun.
	abandon struct{}
	// keepDirect notes the direct path for a restarted link; nil: none.
	keepDirect struct{ path packet.Path }
	// adoptPath tells the transport that a path is of use although nothing is sent.
	adoptPath struct{ path packet.Path }
	// dropPath closes a direct path.
	dropPath struct{ path packet.Path }
	// decided tells who began a handshake what became of it.
	decided struct {
		to   actors.Ref[fate]
		fate fate
	}
)

func (install) effect()    {}
func (uninstall) effect()  {}
func (publish) effect()    {}
func (away) effect()       {}
func (doubted) effect()    {}
func (send) effect()       {}
func (sendAside) effect()  {}
func (sendFinal) effect()  {}
func (initiate) effect()   {}
func (abandon) effect()    {}
func (keepDirect) effect() {}
func (adoptPath) effect()  {}
func (dropPath) effect()   {}
func (decided) effect()    {}
