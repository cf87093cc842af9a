package routes

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// Table knows all that was announced and decides who gets which prefix. It is
// for one goroutine, has no clock, and touches nothing outside. Create it with
// [NewTable].
type Table struct {
	self      message.NodeID
	name      string
	addresses []netip.Prefix // this node's own, with the overlay's prefix length
	local     []netip.Prefix // what this node announces itself
	accept    Policy

	nodes     map[message.NodeID]known
	protected []netip.Addr
	connected []netip.Prefix

	holders map[netip.Prefix]holder // who had each prefix at the last decision
}

// known is what is known of one other node. A node without advert and without
// link is forgotten.
type known struct {
	advert message.Advert // zero: none yet, or withdrawn
	hello  message.Hello  // zero: there was no link yet
	link   linkRank
	cost   uint32 // microseconds; of use while the link is up
}

// linkRank orders nodes by how sure it is that they can be reached.
type linkRank uint8

const (
	linkUp      linkRank = iota
	linkUntried          // traffic will make one
	linkDown
)

// holder is the node that has a prefix, since when.
type holder struct {
	node  message.NodeID
	since time.Time
}

// Own is what a table must know of its own node.
type Own struct {
	ID        message.NodeID
	Name      string
	Addresses []netip.Prefix // overlay addresses with their prefix length
	Local     []netip.Prefix // prefixes that this node announces
	Accept    Policy
}

// NewTable returns a table that knows of nobody else.
func NewTable(own Own) *Table {
	return &Table{
		self: own.ID, name: own.Name, addresses: slices.Clone(own.Addresses), local: masked(own.Local), accept: own.Accept,
		nodes: make(map[message.NodeID]known), holders: make(map[netip.Prefix]holder),
	}
}

// Apply takes one message in. It returns false if decisions cannot differ from
// what they were.
func (t *Table) Apply(m message.ToRoutes) bool {
	switch m := m.(type) {
	case message.Advertised:
		return t.advertised(m.Advert)
	case message.Withdrawn:
		return t.withdraw(m.Node)
	case message.LinkState:
		return t.linkState(m)
	case message.Protect:
		protected := slices.Clone(m.Underlay)
		slices.SortFunc(protected, netip.Addr.Compare)
		changed := !slices.Equal(protected, t.protected)
		t.protected = protected
		return changed
	}
	return false
}

// Connected replaces the networks that this host is in, other than through the
// tunnel. It returns false if they are what they were.
func (t *Table) Connected(networks []netip.Prefix) bool {
	networks = masked(networks)
	changed := !slices.Equal(networks, t.connected)
	t.connected = networks
	return changed
}

func (t *Table) advertised(a message.Advert) bool {
	if a.ID == t.self || a.ID.IsZero() {
		return false
	}
	n, there := t.nodes[a.ID]
	if !there {
		n.link = linkUntried
	}
	if there && a.Seq < n.advert.Seq {
		return false // gossip repeats itself out of order
	}
	if a.Left {
		return t.withdraw(a.ID)
	}
	same := slices.Equal(a.Routes, n.advert.Routes) && slices.Equal(a.Addresses, n.advert.Addresses) && a.Name == n.advert.Name
	n.advert = a
	t.nodes[a.ID] = n
	return !same
}

// withdraw takes the advert away. While there is a link the node's own addresses
// stay: it can be talked to.
func (t *Table) withdraw(id message.NodeID) bool {
	n, there := t.nodes[id]
	if !there {
		return false
	}
	n.advert = message.Advert{}
	if n.link != linkUp {
		delete(t.nodes, id)
		return true
	}
	t.nodes[id] = n
	return true
}

func (t *Table) linkState(m message.LinkState) bool {
	id := m.Hello.ID
	if id == t.self || id.IsZero() {
		return false
	}
	n, there := t.nodes[id]
	before := n
	switch {
	case m.Up:
		n.hello, n.link, n.cost = m.Hello, linkUp, m.Cost
	case !there:
		return false
	case n.advert.ID.IsZero():
		delete(t.nodes, id)
		return true
	default:
		n.link, n.cost = linkDown, 0
	}
	t.nodes[id] = n
	return !there || n.link != before.link || n.title(id) != before.title(id) ||
		!slices.Equal(n.hello.Addresses, before.hello.Addresses) ||
		n.cost != before.cost && len(n.advert.Routes) > 0 // an address has one holder, whatever the cost
}

// title is the node's name for people.
func (n known) title(id message.NodeID) string {
	switch {
	case n.advert.Name != "":
		return n.advert.Name
	case n.hello.Name != "":
		return n.hello.Name
	}
	return id.Brief()
}

// Memory is all that messages told a table, immutable, so that the actor that
// replaces a failed one need not ask the mesh again.
type Memory struct {
	nodes     map[message.NodeID]known
	protected []netip.Addr
	holders   map[netip.Prefix]holder
}

// Remember returns the table's present knowledge.
func (t *Table) Remember() *Memory {
	return &Memory{nodes: maps.Clone(t.nodes), protected: t.protected, holders: maps.Clone(t.holders)}
}

// Recall puts what was remembered into a new table.
func (t *Table) Recall(m *Memory) {
	if m == nil {
		return
	}
	t.nodes, t.protected, t.holders = maps.Clone(m.nodes), m.protected, maps.Clone(m.holders)
}

// masked returns the networks of ps, sorted, each once.
func masked(ps []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(ps))
	for _, p := range ps {
		out = append(out, p.Masked())
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}
