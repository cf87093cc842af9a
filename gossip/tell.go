package gossip

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// changed notes that there is news: about the given nodes, or just for the view.
func (g *Gossip) changed(ids ...message.NodeID) {
	for _, id := range ids {
		g.routes.owe(id)
		g.peers.owe(id)
		g.keys.owe(id)
		g.news[id] = true
	}
	if g.settleAt == nil {
		g.settleAt = time.After(settleDelay)
	}
}

// settleLater tries again what full mailboxes refused.
func (g *Gossip) settleLater() {
	if len(g.routes.owed)+len(g.peers.owed)+len(g.keys.owed) > 0 {
		g.changed()
	}
}

// settle tells everybody what is new and takes the snapshots.
func (g *Gossip) settle(now time.Time) {
	g.settleAt = nil
	if !g.leaving {
		g.weighNews()
		g.keys.settle(g.standing) // first: it binds the addresses that the others ask for
		g.routes.settle(g.standing)
		g.peers.settle(g.standing)
	}
	g.snapshot(now)
}

// standing is how a node stands for others.
func (g *Gossip) standing(id message.NodeID) Standing {
	s, _ := g.ledger.Standing(id)
	if s.State.Here() {
		s.withheld = g.withheld[id]
	}
	return s
}

// reconsider asks again who is admitted: the roster changes on its own.
func (g *Gossip) reconsider() {
	for _, id := range g.ledger.IDs() {
		if g.Admits != nil && g.weigh(id) {
			g.changed(id)
		}
	}
}

// weigh asks whether a node is admitted, and reports whether the answer is new.
func (g *Gossip) weigh(id message.NodeID) bool {
	why := ""
	s, _ := g.ledger.Standing(id)
	if g.Admits != nil && s.State.Here() {
		why = g.Admits(cloneAdvert(s.Advert))
	}
	old := g.withheld[id]
	if why == "" {
		delete(g.withheld, id)
	} else {
		g.withheld[id] = why
	}
	if why != "" && old == "" {
		g.Log.Warn("node is not admitted", "peer", s.Advert.Name, "id", id.Brief(), "reason", why)
	}
	return why != old
}

func (g *Gossip) tellRoutes(id message.NodeID, s Standing, was told) (told, bool) {
	switch {
	case s.here():
		now := told{s.Advert.Seq, true}
		return now, now == was || g.Routes.Offer(message.Advertised{Advert: cloneAdvert(s.Advert)})
	case was.here:
		return told{}, g.Routes.Offer(message.Withdrawn{Node: id, Reason: reason(s)})
	}
	return told{}, true
}

func (g *Gossip) tellPeers(id message.NodeID, s Standing, was told) (told, bool) {
	switch {
	case s.here():
		now := told{s.Advert.Seq, true}
		return now, now == was || g.Peers.Offer(message.Known{Advert: cloneAdvert(s.Advert)})
	case was.here:
		return told{}, g.Peers.Offer(message.Forgotten{Node: id, Left: s.State == Left})
	}
	return told{}, true
}

func (g *Gossip) tellKeys(_ message.NodeID, s Standing, was told) (told, bool) {
	if s.State == "" || s.Advert.Seq <= was.seq {
		return was, true
	}
	return told{seq: s.Advert.Seq}, g.Keys.Offer(message.Witnessed{Advert: cloneAdvert(s.Advert)})
}

func reason(s Standing) string {
	switch {
	case s.withheld != "":
		return s.withheld
	case s.State == Left:
		return "node left"
	}
	return "node does not answer"
}

// weighNews asks who of the nodes with news is admitted, and logs once each who
// came and went.
func (g *Gossip) weighNews() {
	for id := range g.news {
		delete(g.news, id)
		g.weigh(id)
		s, ok := g.ledger.Standing(id)
		was := g.logged[id]
		if !ok {
			delete(g.logged, id)
			continue
		}
		log := g.Log.With("peer", s.Advert.Name, "id", id.Brief())
		switch {
		case s.State.Here() && !was.Here():
			log.Info("node is there", "addresses", s.Advert.Addresses, "version", s.Advert.Version)
		case was.Here() && s.State == Left:
			log.Info("node left")
		case was.Here() && s.State == Dead:
			log.Warn("node is gone: it does not answer", "seen", time.Since(s.Seen).Round(time.Second))
		}
		g.logged[id] = s.State
	}
}

// snapshot publishes what others read, and what a next run needs.
func (g *Gossip) snapshot(now time.Time) {
	g.stale = false
	v := &View{}
	v.Self, _ = g.ledger.Own()
	own := g.own
	m := &memory{own: &own, sealed: g.ledger.Sealed(now), here: make(map[message.NodeID]bool), links: make(map[message.NodeID]message.LinkState)}
	m.summary, m.since = g.ledger.Summary(now), now
	if last := g.Board.memory.Load(); last.summary == m.summary && !last.since.IsZero() {
		m.since = last.since
	}
	for id, l := range g.links {
		m.links[id] = l
	}
	for _, id := range g.ledger.IDs() {
		s := g.standing(id)
		a := s.Advert
		if s.here() {
			m.here[id] = true
		}
		v.Nodes = append(v.Nodes, Node{
			ID: id, Name: a.Name, Addresses: a.Addresses, State: s.State, Changed: s.Changed, LastSeen: s.Seen,
			Version: a.Version, NAT: a.NAT, Relay: a.Relay, Routes: a.Routes, Endpoints: a.Endpoints, Candidates: a.Candidates, Withheld: s.withheld,
		})
	}
	g.Board.view.Store(v)
	g.Board.memory.Store(m)
}

// reread asks memberlist who is there.
func (g *Gossip) reread(now time.Time) {
	there := make(map[message.NodeID]bool)
	twin := false
	for _, name := range g.members() {
		if name.id == g.id {
			twin = twin || name != g.name
			continue
		}
		there[name.id] = true
	}
	g.delegate.count.Store(int64(len(there) + 1))
	g.changed(g.ledger.Present(now, there)...)
	// Also true for a while after this node changed its address.
	if twin && !g.twin {
		g.Log.Warn("this identity is in the mesh at another address too: if it stays, two nodes run with copies of one state directory")
	}
	g.twin = twin
}

// members are the names of all living members. Only the name of what Members
// returns may be read: memberlist goes on writing to the rest.
func (g *Gossip) members() (names []memberName) {
	for _, n := range g.list.Members() {
		if name, err := parseMemberName(n.Name); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// others are the living members but this one.
func (g *Gossip) others() (names []memberName) {
	for _, name := range g.members() {
		if name.id != g.id {
			names = append(names, name)
		}
	}
	return names
}
