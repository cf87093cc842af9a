package peerlink

import (
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// vain says how often a relay was left because it did not work, and until when it
// is not taken again for being preferred.
type vain struct {
	count int
	until time.Time
}

// A relay that was taken and did not work rests, four times as long each time, and
// may be as good as any other when it was left alone for mostVain.
const (
	leastVain = failureMemory
	mostVain  = time.Hour
)

// disappointed notes that p is left because it does not work for this peer. Unlike
// a failure that outlasts a datagram that comes there: perhaps nothing gets through
// the other way.
func (m *machine) disappointed(now time.Time, p packet.Path) {
	if p.Kind() != packet.Relay || !less(m.self, m.peer) {
		return // of direct paths standby.needs takes care; of the peer's choice the peer
	}
	v := m.vain[p]
	v.until = now.Add(min(leastVain<<min(2*v.count, 8), mostVain))
	v.count++
	m.vain[p] = v
}

// disappoints says whether a relay is not to be taken just for being preferred. As
// long as there is nothing else, or what there is dies, it may be.
func (m *machine) disappoints(now time.Time, p packet.Path) bool { return now.Before(m.vain[p].until) }

func (m *machine) forgetVain(now time.Time) {
	for p, v := range m.vain {
		if now.Sub(v.until) >= mostVain {
			delete(m.vain, p)
		}
	}
}

// offered says whether p is among the relays that the link would choose from now.
func (m *machine) offered(p packet.Path) bool {
	return slices.ContainsFunc(m.relays, func(r relayWay) bool { return r.path == p })
}

// settled says whether the relay in use may be left for one that is preferred. While
// it owes answers that is the watch's business alone: each change begins the watch
// anew, so a peer that answers nowhere would never be missed, and which relays are
// offered depends on the doubt, see link.wordy. Under load answers just wait.
func (m *machine) settled(now time.Time) bool {
	switch {
	case m.loading.heavy:
		return true
	case m.offered(m.path):
		return !m.doubting(now)
	}
	return m.probe.doubt(now) == 0
}
