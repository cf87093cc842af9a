package peerlink

import (
	"net/netip"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// Messages of transports about what a try at a direct path asked them for.
type (
	// crossed brings a connection of fake TCP that was opened.
	crossed struct {
		try  uint64
		path packet.Path
	}
	// heldFlow brings a connection to a relay from a held port, or that there is none.
	heldFlow struct {
		try  uint64
		path packet.Path
	}
	// seenAs says what a path looks like from its other end; not valid: no answer.
	seenAs struct {
		try    uint64
		path   packet.Path
		mapped netip.AddrPort
	}
)

func (crossed) toLink()  {}
func (heldFlow) toLink() {}
func (seenAs) toLink()   {}
