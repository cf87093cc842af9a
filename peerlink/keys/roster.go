package keys

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// maxRoster bounds the nodes of a roster, so that one who holds the mesh key
// cannot fill the memory of others with identities.
const maxRoster = 4096

// seenStep is how exactly the roster remembers when a node was last seen. Coarse,
// because each step costs a write to what may be a flash chip.
const seenStep = time.Hour

// Roster binds overlay addresses to the identities that took them first. Names
// are kept for people only and may repeat.
//
// A Roster is immutable: what changes it returns another one. It may be read by
// any goroutine. Its zero value is empty and usable.
type Roster struct {
	nodes  map[message.NodeID]Entry
	holder map[netip.Addr]message.NodeID
	change uint64 // grows with every change
}

// Entry is what the roster knows of one node.
type Entry struct {
	ID        message.NodeID `json:"id"`
	Name      string         `json:"name"`
	Addresses []netip.Prefix `json:"addresses"`
	Since     time.Time      `json:"since"` // when it took the addresses that it has
	Seen      time.Time      `json:"seen"`  // last proof of life, exact to the hour
}

// Label names the node for a person, unmistakably: "office (3f2a9c01bb)".
func (e Entry) Label() string { return fmt.Sprintf("%s (%s)", e.Name, e.ID.Brief()) }

// label names a node that need not be known.
func (r Roster) label(id message.NodeID) string {
	if e, known := r.nodes[id]; known {
		return e.Label()
	}
	return id.Brief()
}

// Self is the node whose roster it is: its own addresses are nobody else's.
type Self struct {
	ID        message.NodeID
	Name      string
	Addresses []netip.Prefix
}

func newRoster(room int) Roster {
	return Roster{nodes: make(map[message.NodeID]Entry, room), holder: make(map[netip.Addr]message.NodeID, room)}
}

// Len is the number of nodes in r.
func (r Roster) Len() int { return len(r.nodes) }

// Node returns what is known of the node named id.
func (r Roster) Node(id message.NodeID) (Entry, bool) {
	e, ok := r.nodes[id]
	return e, ok
}

// Holder returns the node that a is bound to.
func (r Roster) Holder(a netip.Addr) (Entry, bool) {
	id, ok := r.holder[a]
	if !ok {
		return Entry{}, false
	}
	return r.Node(id)
}

// Entries are all nodes in the order of their ids.
func (r Roster) Entries() []Entry {
	return slices.SortedFunc(maps.Values(r.nodes), func(a, b Entry) int {
		return slices.Compare(a.ID[:], b.ID[:])
	})
}

// Refuses says why the node named id, which calls itself name, may not use the
// addresses, or "" if it may. Both sides read it.
func (r Roster) Refuses(self Self, id message.NodeID, name string, addresses []netip.Prefix) string {
	if id == self.ID {
		return fmt.Sprintf("this identity is that of %s (%s): two nodes run with copies of one state directory; remove %s on one of them",
			self.Name, self.ID.Brief(), identityFile)
	}
	if len(addresses) == 0 {
		return "the node has no overlay address: give it one with --address"
	}
	for _, p := range addresses {
		a := p.Addr()
		if why := unusable(p); why != "" {
			return fmt.Sprintf("address %s %s: choose another --address", p, why)
		}
		for _, own := range self.Addresses {
			if own.Addr() == a {
				return fmt.Sprintf("address %s is the own address of %s (%s), and %s has it too: choose another --address for one of them",
					a, self.Name, self.ID.Brief(), r.label(id))
			}
		}
		if e, taken := r.Holder(a); taken && e.ID != id {
			why := fmt.Sprintf("address %s is taken by %s since %s: choose another --address",
				a, e.Label(), e.Since.UTC().Format("2006-01-02 15:04 UTC"))
			if e.Name == name { // it may well be the same computer
				why += fmt.Sprintf("; if %s has lost its identity, restore its %s from a backup, or let %s forget the old one: stop the node there, remove %s from its state directory, start it again",
					name, identityFile, self.Name, rosterFile)
			}
			return why
		}
	}
	if _, known := r.nodes[id]; !known && len(r.nodes) >= maxRoster {
		return fmt.Sprintf("the roster is full: %d nodes are bound to addresses", len(r.nodes))
	}
	return ""
}

// unusable says what is wrong with p as one host's address on the overlay.
func unusable(p netip.Prefix) string {
	a := p.Addr()
	switch {
	case !p.IsValid() || a.IsUnspecified():
		return "names no host"
	case a.IsLoopback():
		return "is a loopback address"
	case a.IsMulticast():
		return "is a multicast address"
	case !a.Is4() || p.Bits() > 30:
		return "" // RFC 3021: a /31 has two hosts and nothing else
	case a == p.Masked().Addr():
		return "is the address of its network, not of a host"
	case a == broadcast(p):
		return "is the broadcast address of its network"
	}
	return ""
}

func broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b)
}

// Admit binds the addresses in hello to its sender, or says why it refuses. A
// node that comes with other addresses than last time lets the old ones go. If
// nothing changes, r itself is returned (see [Roster.Same]).
func (r Roster) Admit(now time.Time, self Self, hello message.Hello) (Roster, string) {
	return r.bind(now, self, hello.ID, hello.Name, hello.Addresses)
}

// Witness is Admit for a node that only gossip has told of, by a verified advert.
func (r Roster) Witness(now time.Time, self Self, advert message.Advert) (Roster, string) {
	if advert.Left || advert.ID == self.ID {
		return r, ""
	}
	return r.bind(now, self, advert.ID, advert.Name, advert.Addresses)
}

func (r Roster) bind(now time.Time, self Self, id message.NodeID, name string, addresses []netip.Prefix) (Roster, string) {
	if why := r.Refuses(self, id, name, addresses); why != "" {
		return r, why
	}
	// A clock that was set back must not freeze the entry.
	now = now.UTC().Truncate(time.Second)
	old, known := r.nodes[id]
	e := Entry{ID: id, Name: name, Addresses: slices.Clone(addresses), Since: now, Seen: now}
	if known && slices.Equal(old.Addresses, addresses) {
		e.Since = old.Since
		if old.Name == name && now.Sub(old.Seen).Abs() < seenStep {
			return r, ""
		}
	}
	next := r.without(id)
	next.put(e)
	return next, ""
}

// Forget lets the addresses of the node named id go. Nodes are never forgotten
// for their age alone: a site that comes back after a year keeps its address.
func (r Roster) Forget(id message.NodeID) Roster {
	if _, known := r.nodes[id]; !known {
		return r
	}
	return r.without(id)
}

// Same says whether r came from o, or o from r, without a change.
func (r Roster) Same(o Roster) bool { return r.change == o.change }

// without returns a copy of r that does not know id and may be changed.
func (r Roster) without(id message.NodeID) Roster {
	next := newRoster(len(r.nodes) + 1)
	next.change = r.change + 1
	for other, e := range r.nodes {
		if other != id {
			next.put(e)
		}
	}
	return next
}

func (r Roster) put(e Entry) {
	r.nodes[e.ID] = e
	for _, p := range e.Addresses {
		r.holder[p.Addr()] = e.ID
	}
}
