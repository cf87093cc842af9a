package peerlink

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/path"
)

const (
	// With another path to go on with, little is lost by leaving one for nothing:
	// so its silence is believed sooner. At least quickProbes questions must be
	// without an answer: on a line that loses one datagram in ten each way that
	// happens once in a million suspicions.
	quickInterval = 40 * time.Millisecond
	quickProbes   = 8
	mostQuick     = 20

	// proofTime is how long the peer may be silent on the path that was fallen
	// back to until a handshake is tried: it may have been restarted.
	proofTime = time.Second
)

// alternative is the best other path on which the peer is reached with the keys
// that there are; nil: none is known.
func (m *machine) alternative(now time.Time) packet.Path {
	if m.path == nil {
		return nil
	}
	m.options = m.options[:0]
	for _, b := range m.standbys {
		if b.works(now, m.warm) && m.failures[b.path].count == 0 {
			c := m.candidate(now, b.path, &b.meter)
			if b.owes(now, m.suspectAfter()) {
				// What killed the path in use has probably killed this one too: it is
				// taken if there is nothing else.
				c.Failures++
			}
			m.options = append(m.options, c)
		}
	}
	for _, r := range m.relays {
		if r.path != m.path && r.reaches && m.failures[r.path].count == 0 && r.path.Alive() {
			m.options = append(m.options, m.relayed(now, r))
		}
	}
	if i := path.Best(m.options); i >= 0 {
		return m.options[i].Path
	}
	return nil
}

// quickPatience is how long a path may be silent under traffic if there is
// another, and how many questions must be without an answer by then.
func (m *machine) quickPatience() (time.Duration, int) {
	probes := quickProbes
	if m.current != nil {
		probes = min(max(m.enough(unlikely)*2, quickProbes), mostQuick)
	}
	return min(m.suspectAfter()+3*m.meter.RTT()/2+time.Duration(probes)*quickInterval, m.patience), probes
}

// fallBack leaves the path in use for another without waiting for anything: what
// the dead one has swallowed goes again, with the same keys.
func (m *machine) fallBack(now time.Time, to packet.Path) {
	from, owner, since := m.path, m.owner, m.lastArrival()
	m.emit(away{since})
	m.fail(now, from)
	m.disappointed(now, from)
	m.noteQueue(now)
	if from == m.direct {
		m.emit(decided{owner, fate{lost: true, path: from}})
		if from.Alive() {
			m.keepWarm(now, from, owner, true)
		} else {
			m.emit(dropPath{from})
		}
		m.direct, m.owner = nil, actors.Ref[fate]{}
		m.emit(keepDirect{})
	}
	m.moveTo(now, to)
	m.probe.unsure = since
	m.renew = now.Add(proofTime)
	if !from.Alive() {
		m.renew = now // it was closed: the peer may have no use for these keys
	}
}

// peerLeft says that the peer sends on another path than on the direct one that
// is in use and seems to work: the peer had a reason.
func (m *machine) peerLeft(now time.Time, to packet.Path) {
	p := &m.probe
	suspect := m.suspectAfter()
	if now.Sub(p.since) >= 2*suspect && p.doubt(now) >= suspect {
		m.fallBack(now, to)
		return
	}
	m.ping(now)
	if p.doubt(now) < suspect {
		p.awaited = now.Add(-suspect) // ask on quickly
	}
}
