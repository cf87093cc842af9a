package peerlink

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/pmtu"
	"github.com/openbmx/lightweight-tunnel/peerlink/repair"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// sizes knows, for each path that a link has used, the largest datagram that
// arrives. A path's own word is just what its interface takes.
type sizes struct {
	found map[packet.Path]*pmtu.Search
	large uint32 // Peer.txLarge at the last look
}

const (
	// sizeMark tells the padded probes from the machine's own and from the users'.
	sizeMark = 1 << 30
	// leastDatagram fits every path that carries IP at all (RFC 791: 576 bytes).
	leastDatagram = 500
	// largeDatagram is what makes a burst worth a question whether such
	// datagrams still arrive.
	largeDatagram = 1000
)

// limit is what may be sent on a path; 0: not known.
func (s *sizes) limit(p packet.Path) int {
	if found := s.found[p]; found != nil {
		return found.Limit()
	}
	return 0
}

func (s *sizes) busy(p packet.Path) bool {
	found := s.found[p]
	return found != nil && found.Busy()
}

func (s *sizes) answered(now time.Time, p packet.Path, id uint32) {
	if found := s.found[p]; found != nil {
		found.Answered(now, id)
	}
}

// of returns the search for a path, a new one if need be.
func (s *sizes) of(p packet.Path) *pmtu.Search {
	if s.found == nil {
		s.found = map[packet.Path]*pmtu.Search{}
	}
	found := s.found[p]
	if found == nil {
		for other := range s.found {
			if !other.Alive() {
				delete(s.found, other)
			}
		}
		found = pmtu.New(0, 0)
		s.found[p] = found
	}
	return found
}

// limit is what should be sent on a path: what arrives there and, as long as that is not
// known, what Config.MTU asks for. 0: as much as the path takes.
func (l *link) limit(p packet.Path) int {
	if found := l.sizes.limit(p); found > 0 {
		return found
	}
	return l.d.cfg.wanted()
}

// wanted is the largest datagram for which MTU asks, in bytes; 0: it asks for none.
func (c *Config) wanted() int {
	if c.MTU <= 0 {
		return 0
	}
	return c.MTU + wire.Overhead + repair.Room
}

// measure goes on with the search for the size of the path in use, and lets the
// pumps know what it found.
func (l *link) measure(now time.Time) {
	m := l.m
	if !m.usable || m.path == nil || m.current == nil {
		return
	}
	most := m.path.MaxDatagram()
	if most <= 0 {
		return // a relay that is away
	}
	if wanted := l.d.cfg.wanted(); wanted > 0 {
		most = min(most, wanted)
	}
	large := l.peer.txLarge.Load()
	// In a large mesh most links carry a word of gossip now and then.
	if !m.crowded || !m.lazy() || l.traffic.goesOn(now) || large != l.sizes.large || l.sizes.busy(m.path) {
		l.probeSizes(now, most, large)
	}
	l.publish(publish{m.current, m.path})
}

// probeSizes asks what size arrives, up to most; large is Peer.txLarge now.
func (l *link) probeSizes(now time.Time, most int, large uint32) {
	m := l.m
	search := l.sizes.of(m.path)
	search.Bound(leastDatagram, most)
	probes := search.Step(now, m.meter.RTT(), large != l.sizes.large)
	for _, p := range probes {
		frame := wire.Padded{Ping: wire.Ping{ID: sizeMark | p.ID&(sizeMark-1)}, Size: p.Size - wire.Overhead}
		l.control(m.current.sealer, m.path, l.stamp(m.current.in, frame))
	}
	if len(probes) > 0 {
		l.sizes.large = large
	}
}
