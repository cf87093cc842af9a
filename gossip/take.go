package gossip

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// leaveWait is how long memberlist may say good-bye: three rounds of gossip, each
// to other nodes or to the same ones again, in case a packet was lost.
const leaveWait = 3*gossipTick + gossipTick/4

// newcomer is the number of adverts from which on a push/pull is not passed on.
const newcomer = 16

// take handles a message from another actor.
func (g *Gossip) take(now time.Time, msg message.ToGossip) {
	switch msg := msg.(type) {
	case message.LinkState:
		g.link(now, msg)
		g.join(now)
	case message.Publish:
		if g.leaving || sameContent(msg.Advert, g.own) {
			return
		}
		g.publish(now, msg.Advert, 0)
	case message.Repeat:
		all := g.ledger.IDs()
		g.routes.restart(all)
		g.peers.restart(all)
		g.changed()
	case message.Leave:
		msg.Reply.Answer(g.leave(now))
	default:
		g.Log.Error("message of an unknown kind", "kind", fmt.Sprintf("%T", msg))
	}
}

func (g *Gossip) link(now time.Time, l message.LinkState) {
	id := l.Hello.ID
	place, ok := g.placeOf(l.Hello.Addresses)
	old, was := g.links[id]
	switch up := l.Up && ok; {
	case up:
		g.links[id] = l
		g.joiner.up(now, id, place, l.Seed)
		if was && old.Seed == l.Seed && slices.Equal(old.Hello.Addresses, l.Hello.Addresses) {
			return // only its cost changed
		}
	case was:
		delete(g.links, id)
		g.joiner.down(id)
	default:
		return
	}
	g.changed()
}

// publish makes a the newest advert of this node.
func (g *Gossip) publish(now time.Time, a message.Advert, floor uint64) {
	sealed, err := g.ledger.Publish(now, a, g.Identity, floor)
	if err != nil {
		g.Log.Error("own advert cannot be published, the last one stays", "error", err)
		return
	}
	g.own, _ = g.ledger.Own()
	g.spread(g.id, sealed)
	g.changed()
}

// leave says good-bye and returns when it is on its way, in under a second.
func (g *Gossip) leave(now time.Time) error {
	if g.leaving {
		return nil
	}
	// Short, so that it shares a packet with memberlist's own good-bye.
	g.publish(now, message.Advert{Name: g.own.Name, Version: g.own.Version, Addresses: g.own.Addresses, Left: true}, 0)
	g.leaving = true
	g.settle(now)
	// A timeout only says that not all of its repetitions are sent yet.
	if err := g.list.Leave(leaveWait); err != nil {
		g.Log.Debug("left while still saying good-bye", "reason", err)
	}
	return nil
}

// hear handles what memberlist's delegate brought.
func (g *Gossip) hear(now time.Time, e event) {
	switch e := e.(type) {
	case noteHeard:
		if sealed, err := parseNote(e.data); err == nil {
			if id, fresh := g.advert(now, sealed); fresh {
				g.spread(id, g.ledger.sealed(id))
			}
		}
	case bundleHeard:
		g.bundle(now, e.data)
	case memberSeen:
		if name, err := parseMemberName(e.name); err == nil {
			g.stale = true
			g.compare(now, name, e.knows)
			if g.ledger.Seen(now, name.id) {
				g.changed()
			}
		}
	case memberMute:
		if name, err := parseMemberName(e.name); err == nil && g.ledger.Suspect(name.id) {
			s, _ := g.ledger.Standing(name.id)
			g.Log.Debug("node does not answer", "peer", s.Advert.Name, "id", name.id.Brief())
			g.changed()
		}
	}
}

// compare takes what a node that answered a probe knows.
func (g *Gossip) compare(now time.Time, name memberName, knows *summary) {
	if m := g.Board.memory.Load(); knows != nil && m.steady(now) {
		g.accord.heard(join{id: name.id, place: name.place, member: true}, *knows == m.summary)
	}
}

// bundle takes all adverts of a push/pull. What is new to us is passed on, unless
// it is much and most of what there is: then we are the newcomer to a large
// mesh, which would hear all of its adverts once more from each newcomer.
func (g *Gossip) bundle(now time.Time, data []byte) {
	known := g.ledger.Len()
	var fresh []message.NodeID
	err := parseBundle(data, func(sealed []byte) {
		if id, ok := g.advert(now, sealed); ok {
			fresh = append(fresh, id)
		}
	})
	if err != nil {
		g.Log.Debug("push/pull state dropped", "reason", err)
	}
	if len(fresh) > newcomer && 2*len(fresh) > known {
		return
	}
	for _, id := range fresh {
		if sealed := g.ledger.sealed(id); sealed != nil {
			g.spread(id, sealed)
		}
	}
}

// advert takes a sealed advert, whoever brought it, and says whether it is news.
func (g *Gossip) advert(now time.Time, sealed []byte) (id message.NodeID, fresh bool) {
	if g.leaving {
		return id, false
	}
	h, err := g.ledger.Hear(now, sealed)
	switch h.Verdict {
	case Rejected:
		g.Log.Debug("advert dropped", "reason", err)
	case OwnAhead:
		g.jump.ahead(h.Seq)
		if floor, due := g.jump.due(now); due {
			g.Log.Warn("a newer advert of this node is around: its clock went back, or a copy of its identity runs elsewhere")
			g.publish(now, g.own, floor)
		}
	case Fresh:
		g.changed(h.Node)
	}
	return h.Node, h.Verdict == Fresh
}

// spread passes an advert on: to everybody by memberlist's broadcasts, or, if it
// does not fit into a packet, to a few over streams; each of them does the same
// when it is news to them.
func (g *Gossip) spread(id message.NodeID, sealed []byte) {
	note := appendNote(make([]byte, 0, 1+len(sealed)), sealed)
	if len(note) <= g.MTU-packetOverhead-noteOverhead {
		g.delegate.queue.QueueBroadcast(&advertBroadcast{node: id.String(), note: note})
		return
	}
	if g.list == nil || g.couriers >= maxCouriers {
		return // push/pull brings it, if later
	}
	to := g.others()
	rand.Shuffle(len(to), func(i, j int) { to[i], to[j] = to[j], to[i] })
	to = to[:min(len(to), courierFanout)]
	if len(to) == 0 {
		return
	}
	g.couriers++
	list := g.list
	g.work.Go(func() {
		for _, name := range to {
			if err := list.SendReliable(name.node(), note); err != nil {
				g.Log.Debug("advert not delivered", "peer", name.id.Brief(), "reason", err)
			}
		}
		g.outcomes <- outcome{courier: true}
	})
}

// noteOverhead is what memberlist adds to a user message in a packet: the
// compound header, its entry and the encryption.
const noteOverhead = 2 + 2 + 1 + 45
