package message

import (
	"net/netip"

	"github.com/openbmx/lightweight-tunnel/actors"
)

// ToKeys is what the key manager takes.
type ToKeys interface{ toKeys() }

// Authorize asks whether the node that proved to be Hello.ID may be in the mesh
// under the addresses and the name that it says. Asked by peers once per
// handshake; answered by Offer to Reply.
type Authorize struct {
	Hello Hello
	From  netip.AddrPort // where the handshake came from, for the log
	Token uint64         // chosen by the asker, repeated in the answer
	Reply actors.Ref[ToPeers]
}

func (Authorize) toKeys() {}

// Witnessed tells the key manager of a verified advert that gossip brought, so
// that the roster knows nodes that never had a link to this one.
type Witnessed struct{ Advert Advert }

func (Witnessed) toKeys() {}

// ToPeers is what the directory of peers takes from other packages.
type ToPeers interface{ ToPeers() }

// Authorized answers Authorize. An empty Refusal admits the node; otherwise it
// is the sentence that the refused user reads.
type Authorized struct {
	Token   uint64
	Node    NodeID
	Refusal string
}

// ToPeers seals the type.
func (Authorized) ToPeers() {}

// Known tells peers of a node that gossip sees as alive (newest advert).
type Known struct{ Advert Advert }

// ToPeers seals the type.
func (Known) ToPeers() {}

// Forgotten tells peers that gossip lost a node (dead, or it left).
type Forgotten struct {
	Node NodeID
	Left bool
}

// ToPeers seals the type.
func (Forgotten) ToPeers() {}

// Wanted tells peers that traffic for a node found no link.
type Wanted struct{ Node NodeID }

// ToPeers seals the type.
func (Wanted) ToPeers() {}

// JoinSeed asks peers to connect to one more seed, for as long as the node runs.
type JoinSeed struct {
	Seed  string // HOST:PORT
	Reply actors.Reply[error]
}

// ToPeers seals the type.
func (JoinSeed) ToPeers() {}

// ToRoutes is what the route table takes.
type ToRoutes interface{ toRoutes() }

// Advertised brings the newest verified advert of a node that is alive.
type Advertised struct{ Advert Advert }

func (Advertised) toRoutes() {}

// Withdrawn takes all routes of a node away: it left, died or was revoked.
type Withdrawn struct {
	Node   NodeID
	Reason string
}

func (Withdrawn) toRoutes() {}

// LinkState tells of a link that came up, changed its cost or went down. Hello
// makes the peer's own addresses routable before any gossip has arrived. It goes
// to routes (best route per prefix) and to gossip (whom to join through).
type LinkState struct {
	Hello Hello
	Up    bool
	Seed  bool   // the link leads to a configured seed
	Cost  uint32 // microseconds of round trip, relays counted double; smaller is better
}

func (LinkState) toRoutes() {}
func (LinkState) toGossip() {}

// Protect replaces the set of underlay addresses that no installed route may
// cover: seeds and peers' endpoints.
type Protect struct{ Underlay []netip.Addr }

func (Protect) toRoutes() {}

// ToGossip is what the gossip actor takes.
type ToGossip interface{ toGossip() }

// Publish replaces what this node advertises of itself. Gossip chooses Seq,
// signs and spreads; ID, Seq and Left need not be set.
type Publish struct{ Advert Advert }

func (Publish) toGossip() {}

// Leave asks gossip to tell the mesh that this node leaves.
type Leave struct{ Reply actors.Reply[error] }

func (Leave) toGossip() {}

// Repeat asks gossip to tell routes and peers everything again, because one of
// them began anew and knows nothing.
type Repeat struct{}

func (Repeat) toGossip() {}
