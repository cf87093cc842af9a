package peerlink

import (
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/path"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// usage is what the pumps have seen of packets for and from the peer, without
// what links say to each other.
type usage struct {
	sent     uint64    // packets for the peer so far
	last     time.Time // when something was sent or came last; zero: never
	pingedAt uint64    // sent at the last ping
}

const (
	// carriesFor is how long after its last packet a link counts as carrying some.
	carriesFor = 3 * time.Second

	// A link that others need not keep up, see lazy, asks on as often as this many
	// keepalives if it is direct, for the NATs on the way, and never if it is
	// relayed. A few packets, such as a word of gossip, are no reason to ask.
	lazyKeepalives = 5
	fewPackets     = 8

	// In a mesh of more than fewPeers a direct path that was opened on demand and is
	// not used goes back to the relay, which costs nothing until it is: each node
	// would otherwise keep one warm to every other. Both sides see the same packets,
	// so the second to decide needs not be as sure.
	idleDirect  = time.Minute
	idleFollows = 10 * time.Second

	// Keys that sealed next to nothing need not be replaced so often, but before they
	// end; those that nobody uses need not be replaced at all: with them a relayed
	// link is let go, and made again on demand.
	lightDatagrams = 500
	lightRekey     = expireAfter - time.Minute
	unusedFor      = 30 * time.Second

	// connectsFor is how long a link that was let go may take to be back until
	// others are told that it is down.
	connectsFor = 5 * time.Second
)

// see takes what the pumps saw.
func (m *machine) see(now time.Time, o observation) {
	if o.sent != m.usage.sent {
		m.usage.sent, m.usage.last = o.sent, now
	}
	m.usage.last = latest(m.usage.last, o.lastData)
	m.crowded, m.refresh = o.crowded, o.refresh
}

// unused is for how long no packet went to or came from the peer.
func (m *machine) unused(now time.Time) time.Duration {
	return now.Sub(latest(m.usage.last, m.upSince))
}

// carrying says whether packets go to or come from the peer now.
func (m *machine) carrying(now time.Time) bool { return now.Sub(m.usage.last) < carriesFor }

// lazy says whether the link may be quiet: it was made on demand, and can be so
// again. What a seed's actor dialled cannot.
func (m *machine) lazy() bool {
	return m.path != nil && (m.path.Kind() == packet.Relay || m.punched[m.path])
}

// askEvery is the time between two probes; 0: none is wanted. The side that
// dialled the path asks twice as often, because it alone can dial again when the
// other was restarted; and what it asks tells the other side, too, that both
// directions work.
func (m *machine) askEvery(now time.Time) time.Duration {
	every, dialled := m.keepalive, m.dialled(m.path)
	if dialled {
		every /= 2
	}
	switch {
	case m.carrying(now) && m.usage.sent-m.usage.pingedAt >= fewPackets,
		!m.lazy() && (dialled || now.Sub(m.probe.proved) >= every):
	case m.path.Kind() == packet.Relay:
		return 0
	default:
		every *= lazyKeepalives
	}
	return m.hold(m.path, every)
}

// hold is how often to ask on p: as often as is wanted anyway, or as the NAT needs
// it to keep the mapping, as exactly as a quiet link ticks. Each side holds its own.
func (m *machine) hold(p packet.Path, wanted time.Duration) time.Duration {
	if m.refresh <= 0 || p.Kind() != packet.UDP {
		return wanted
	}
	return min(wanted, max(m.refresh-tickIdle, tickIdle))
}

// rekeyDue says whether a fresh handshake is due for the current session.
func (m *machine) rekeyDue(now time.Time) bool {
	s := m.current
	if !s.rekeyDue(now, m.rekey, m.jitter) {
		return false
	}
	datagrams := s.sealer.counter.Load()
	if !m.lazy() || datagrams >= rekeyPackets {
		return true
	}
	late := s.rekeyDue(now, lightRekey, m.jitter)
	if now.Sub(m.usage.last) >= unusedFor {
		return late && m.path.Kind() != packet.Relay
	}
	return late || max(datagrams, s.in.received.Load()) >= lightDatagrams
}

// rest lets a relayed link go that nobody uses when its keys end.
func (m *machine) rest(now time.Time) {
	s := m.current
	if s == nil || !m.usable || m.path.Kind() != packet.Relay || m.try.active() || m.confirming() {
		return
	}
	if m.unused(now) < unusedFor || now.Sub(s.created) < lightRekey {
		return
	}
	m.emit(send{s, m.path, wire.Close{}})
	m.letGo()
}

// retires says whether the direct path in use was not needed for so long that the
// link may go back to a relay. One that a seed's actor dialled stays, as does a
// path beside which such a one stands by.
func (m *machine) retires(now time.Time, idle time.Duration) bool {
	return m.crowded && m.usable && m.path == m.direct && m.punched[m.path] && min(m.unused(now), now.Sub(m.taken)) >= idle &&
		!m.try.active() && !m.confirming() &&
		!slices.ContainsFunc(m.standbys, func(b *standby) bool { return !m.punched[b.path] })
}

// retire goes back to a relay if nobody uses the direct path, and from a relay that
// is not for words now and then to one that is, see link.wordy.
func (m *machine) retire(now time.Time) {
	retires := m.retires(now, idleDirect)
	if !retires && !m.detours(now) {
		return
	}
	m.options = m.options[:0]
	for _, r := range m.relays {
		if retires || !m.disappoints(now, r.path) {
			m.options = append(m.options, m.relayed(now, r))
		}
	}
	i := path.Best(m.options)
	switch {
	case i < 0:
	case retires:
		m.retireTo(now, m.options[i].Path)
	default:
		m.moveTo(now, m.options[i].Path)
	}
}

// detours says whether the link goes through a relay that it would not choose now.
// As always among relays, the node with the smaller ID chooses.
func (m *machine) detours(now time.Time) bool {
	return m.crowded && m.usable && m.path.Kind() == packet.Relay && less(m.self, m.peer) && !m.try.active() && !m.confirming() &&
		!m.offered(m.path) && m.settled(now)
}

// retireTo moves to a relay. What the peer still sends on the direct path arrives
// for a while, and takes the link back.
func (m *machine) retireTo(now time.Time, relay packet.Path) {
	for len(m.standbys) > 0 {
		m.dropStandby(m.standbys[0])
	}
	m.leaving = append(m.leaving, leavingPath{m.direct, now.Add(replacedGrace)})
	m.direct = nil
	m.emit(keepDirect{})
	m.moveTo(now, relay)
}

// letGo ends the link without a problem.
func (m *machine) letGo() {
	m.end()
	m.wanted, m.problem = time.Time{}, ""
	m.resting, m.woken = true, time.Time{}
}

// asleep says whether the link was let go and may be back at once: others need
// not be told that it is down.
func (m *machine) asleep(now time.Time) bool {
	return m.resting && (m.woken.IsZero() || now.Sub(m.woken) < connectsFor)
}
