package peerlink

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// reach is what a relay said of its way to another node.
type reach struct {
	rtt  time.Duration
	hops uint8 // relays on the way, the one that said it included; 0: it does not reach the node
	at   time.Time
}

// onward is the way from this node to a peer that it does not reach directly.
type onward struct {
	via  *Peer
	rtt  time.Duration
	hops uint8
	at   time.Time
}

// asking is the state of a link's questions about relays. Nobody is asked while
// there is no traffic and no other need, so idle links cost nothing.
type asking struct {
	last   time.Time
	sent   uint64    // packets for the peer by then
	tries  int       // since a relay that reaches the peer was known
	sought time.Time // until when others ask this node for the way to the peer
	hops   uint8     // that others allow
}

type (
	// askReach lets the link to a relay ask whether it reaches a node.
	askReach struct{ wire.Reach }
	// seek lets the link to a node that is not reached directly look for a way.
	seek struct{ hops uint8 }
)

func (askReach) toLink() {}
func (seek) toLink()     {}

const (
	maxAskedRelays = 8
	maxReaches     = 1024 // nodes remembered per relay

	reachFresh = 90 * time.Second // as long as it is believed
	noFresh    = 3 * time.Second  // the same of a no
	soughtFor  = 10 * time.Second
	mostSought = 3 // questions for another node's sake; who still wants it asks again

	// How often relays are asked: of one that is in use whether there is a better
	// one; of a direct path that carries traffic, to know where to fall back to.
	askSoon   = 500 * time.Millisecond
	askLater  = 5 * time.Second
	askInUse  = 30 * time.Second
	askInCase = time.Minute

	// askPackets must have been sent since the last question, or the link works
	// well enough as it is: it carries a word of gossip now and then.
	askPackets = 256
)

// fresh says whether what was said is still believed.
func (r reach) fresh(now time.Time) bool {
	if r.hops == 0 {
		return now.Sub(r.at) < noFresh
	}
	return now.Sub(r.at) < reachFresh
}

// said notes what the relay p said. Only p's link calls it.
func (p *Peer) said(now time.Time, r wire.Reached) {
	all := map[message.ShortID]reach{}
	if old := p.reaches.Load(); old != nil {
		all = maps.Clone(*old)
	}
	if len(all) >= maxReaches {
		maps.DeleteFunc(all, func(_ message.ShortID, r reach) bool { return !r.fresh(now) })
	}
	if _, known := all[r.Node]; known || len(all) < maxReaches {
		all[r.Node] = reach{rtt: r.RTT, hops: r.Hops, at: now}
		p.reaches.Store(&all)
	}
}

// reach is what the relay p said last of the way to a node; ok is false if it
// said nothing lately.
func (p *Peer) reach(now time.Time, node message.ShortID) (r reach, ok bool) {
	if all := p.reaches.Load(); all != nil {
		r, ok = (*all)[node]
	}
	return r, ok && r.fresh(now)
}

// reachOf answers the question of a node that wants to be relayed.
func (d *Directory) reachOf(now time.Time, asker *Peer, q wire.Reach) wire.Reached {
	no := wire.Reached{Node: q.Node}
	peer := d.PeerShort(q.Node)
	if !d.cfg.Relay || d.cfg.ClientIsolation || q.Hops == 0 || peer == nil || peer == asker {
		return no
	}
	if peer.directlyUp() {
		return wire.Reached{Node: q.Node, Hops: 1, RTT: peer.roundTrip()}
	}
	if q.Hops = min(q.Hops, d.cfg.MaxHops); q.Hops == 1 {
		return no
	}
	peer.box.Ref().Offer(seek{hops: q.Hops - 1})
	w := peer.onward.Load()
	if w == nil || w.via == asker || !w.via.directlyUp() || now.Sub(w.at) >= reachFresh || w.hops >= q.Hops {
		return no
	}
	return wire.Reached{Node: q.Node, Hops: w.hops + 1, RTT: w.via.roundTrip() + w.rtt}
}

// roundTrip is that of the link, or a guess before it was measured.
func (p *Peer) roundTrip() time.Duration {
	if rtt := p.view.Load().RTT; rtt > 0 {
		return rtt
	}
	return costUnknown * time.Microsecond
}

// relays are the ways to the peer through nodes that are up by a path of their
// own, and have not said lately that they do not reach it.
func (l *link) relays() []relayWay {
	direct := l.peer.directlyUp()
	now, node := time.Now(), l.peer.id.Short()
	retires := l.m.retires(now, idleDirect)
	if direct && !l.m.carrying(now) && !l.m.doubting(now) && !retires {
		return nil // none is needed
	}
	var ways []relayWay
	for _, p := range l.d.Peers() {
		if p == l.peer || !p.directlyUp() {
			continue
		}
		s := p.view.Load()
		if !s.Hello.Relay {
			continue
		}
		r, said := p.reach(now, node)
		switch {
		case said && r.hops > 0:
			ways = append(ways, relayWay{
				path: l.d.RelayPath(p, node), seed: s.Seed, reaches: true, rtt: p.roundTrip() + r.rtt, hops: int(r.hops),
			})
		case !said && (!direct || retires):
			ways = append(ways, relayWay{path: l.d.RelayPath(p, node), seed: s.Seed, rtt: s.RTT})
		}
	}
	if !direct {
		l.noteOnward(now, ways)
	}
	if l.wordy(now) && slices.ContainsFunc(ways, func(w relayWay) bool { return w.seed }) {
		ways = slices.DeleteFunc(ways, func(w relayWay) bool { return !w.seed })
	}
	return ways
}

// wordy says whether the link is for a word now and then, in a large mesh, and
// works as far as is known. Such words go through seeds, whatever is nearer: through
// another node they would keep up the paths that it opened on demand.
func (l *link) wordy(now time.Time) bool {
	works := l.m.usable && !l.m.doubting(now) || l.m.resting && now.Sub(l.m.woken) < askSoon
	return works && l.d.crowded() && !l.traffic.goesOn(now)
}

// noteOnward publishes the best of the ways, for what this node passes on.
func (l *link) noteOnward(now time.Time, ways []relayWay) {
	var best *relayWay
	for i := range ways {
		w := &ways[i]
		if w.reaches && (best == nil || w.rtt < best.rtt) {
			best = w
		}
	}
	if best == nil {
		l.peer.onward.Store(nil)
		return
	}
	via := best.path.(*RelayPath).via
	r, _ := via.reach(now, l.peer.id.Short())
	if old := l.peer.onward.Load(); old == nil || old.via != via || old.at != r.at {
		l.peer.onward.Store(&onward{via: via, rtt: r.rtt, hops: r.hops, at: r.at})
	}
}

// askAround asks relays whether they reach the peer, when that is of use.
func (l *link) askAround(now time.Time) {
	every, hops := l.askEvery(now)
	if every == 0 || now.Sub(l.asking.last) < every {
		return
	}
	if now.Sub(l.asking.last) > 2*askLater {
		l.asking.tries = 0
	}
	l.asking.last, l.asking.sent = now, l.m.usage.sent
	l.asking.tries++
	for _, relay := range l.nearest() {
		relay.box.Ref().Offer(askReach{wire.Reach{Node: l.peer.id.Short(), Hops: hops}})
	}
}

// askEvery is the time between two questions; 0: none is wanted.
func (l *link) askEvery(now time.Time) (every time.Duration, hops uint8) {
	m, hops := l.m, l.d.cfg.MaxHops
	backoff := min(askSoon<<min(l.asking.tries, 4), askLater)
	busy := m.carrying(now) && m.usage.sent-l.asking.sent >= askPackets
	switch {
	case m.usable && m.path.Kind() != packet.Relay && m.doubting(now):
		return time.Second, 1 // a way that must be found first is none to fall back to
	case m.usable && m.path.Kind() != packet.Relay:
		if busy {
			return askInCase, 1
		}
		return 0, 0
	case m.usable && (busy || m.doubting(now)):
		if slices.ContainsFunc(m.relays, reaching) && !m.doubting(now) {
			return askInUse, hops
		}
		return backoff, hops
	case !m.usable && m.resting && now.Sub(m.woken) < askSoon:
		return 0, 0 // the way that there was is tried first
	case !m.usable && now.Before(m.wanted):
		return backoff, hops
	case now.Before(l.asking.sought) && l.asking.tries < mostSought && !slices.ContainsFunc(m.relays, reaching):
		return backoff, l.asking.hops
	}
	return 0, 0
}

func reaching(r relayWay) bool { return r.reaches }

// nearest are the relays to ask: seeds, and those with the shortest way.
func (l *link) nearest() []*Peer {
	var all []*Peer
	for _, p := range l.d.Peers() {
		if p != l.peer && p.directlyUp() && p.view.Load().Hello.Relay {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b *Peer) int {
		x, y := a.view.Load(), b.view.Load()
		if x.Seed != y.Seed {
			if x.Seed {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.roundTrip(), b.roundTrip())
	})
	return all[:min(len(all), maxAskedRelays)]
}

// soughtBy takes the wish of another node to be passed on to the peer.
func (l *link) soughtBy(now time.Time, hops uint8) {
	if !now.Before(l.asking.sought) {
		l.asking.tries, l.asking.last = 0, time.Time{}
	}
	l.asking.sought, l.asking.hops = now.Add(soughtFor), hops
	l.askAround(now)
}

// askThis asks the node of this link whether it reaches another one.
func (l *link) askThis(q wire.Reach) {
	if l.m.usable && l.m.path.Kind() != packet.Relay {
		l.control(l.m.current.sealer, l.m.path, q)
	}
}

// reaching takes what the node of this link asks and says about relays.
func (l *link) reaching(now time.Time, frames []wire.Frame) {
	for _, f := range frames {
		switch f := f.(type) {
		case wire.Reach:
			if l.m.usable {
				l.control(l.m.current.sealer, l.m.path, l.d.reachOf(now, l.peer, f))
			}
		case wire.Reached:
			if f.Hops > l.d.cfg.MaxHops {
				f.Hops = 0
			}
			l.peer.said(now, f)
			if about := l.d.PeerShort(f.Node); about != nil && about != l.peer {
				about.box.Ref().Offer(look{})
			}
		}
	}
}
