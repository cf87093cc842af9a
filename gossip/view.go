package gossip

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// View is a snapshot of the mesh as gossip sees it: what `node peers` shows. It
// is immutable.
type View struct {
	Self  message.Advert // as published last; zero before the first time
	Nodes []Node         // all others, in the order of their ids
}

// Node is one other node in a [View].
type Node struct {
	ID        message.NodeID
	Name      string
	Addresses []netip.Prefix
	State     State
	Changed   time.Time // when it came or went
	LastSeen  time.Time // last proof of life
	Version   string
	NAT       string
	Relay     bool
	Routes    []netip.Prefix
	Endpoints []netip.AddrPort
	// Candidates are Endpoints and what is known of each.
	Candidates []message.Candidate
	Withheld   string // why routes and peers were not told of it; empty: they were
}

// Board is what outlives a restart of the [Gossip] actor: the view that others
// read, and what the next run needs to go on where the last one stood. Make one
// with [NewBoard] and give it to every run.
type Board struct {
	view   atomic.Pointer[View]
	memory atomic.Pointer[memory]
}

// memory is immutable, as every snapshot.
type memory struct {
	own    *message.Advert // what Publish said last; nil: nothing yet
	sealed [][]byte        // adverts to be told in a push/pull
	here   map[message.NodeID]bool
	links  map[message.NodeID]message.LinkState

	summary summary
	since   time.Time // that is the summary
}

// steady says whether what this node knows may be compared.
func (m *memory) steady(now time.Time) bool {
	return !m.since.IsZero() && now.Sub(m.since) >= steady
}

// NewBoard returns an empty board.
func NewBoard() *Board {
	b := new(Board)
	b.view.Store(new(View))
	b.memory.Store(new(memory))
	return b
}

// View is the newest snapshot. It never blocks and may be called by anybody.
func (b *Board) View() *View { return b.view.Load() }
