package peerlink

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/path"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// carried counts what the pumps sent to and got from a peer, in datagrams.
type carried struct {
	txPackets, txBytes, rxPackets, rxBytes uint64
}

// loading measures what the path in use carries and whether it is the bottleneck.
// While much is carried it is asked for that, aside of the stream: so the watch over
// the path sees nothing of questions that a long queue delays.
type loading struct {
	gauge path.Gauge
	seen  carried // at the last tick
	from  carried // at begun
	begun time.Time
	heavy bool // much was carried lately

	asked time.Time
	id    uint32 // of the question that waits for its answer; 0: none
	mark  mark   // at the last answer
}

// mark is what had passed on a session at an answer.
type mark struct {
	at                     time.Time // zero: there is none
	in                     *Inbound
	carried                carried
	sent, came             uint64 // datagrams, as the peer says
	peerSent, cameFromPeer uint64
}

const (
	loadEvery = time.Second
	// A path is asked for its load if it carries more than heavyBytes in loadEvery, in
	// datagrams of more than bulkDatagram on average.
	heavyBytes   = 16 << 10
	bulkDatagram = 400
	longestLook  = 5 * time.Second
)

// load is the memory of what traffic has shown of a path.
func (m *machine) load(p packet.Path) *path.Load {
	l := m.loads[p]
	if l == nil {
		l = &path.Load{}
		m.loads[p] = l
	}
	return l
}

// gauge asks the path in use when it carries much, if it is this side's to choose
// another one.
func (m *machine) gauge(now time.Time, c carried) {
	l := &m.loading
	l.seen = c
	if !m.usable || m.current == nil || !less(m.self, m.peer) {
		*l = loading{gauge: l.gauge}
		return
	}
	if now.Sub(l.begun) >= loadEvery {
		l.heavy = !l.begun.IsZero() && now.Sub(l.begun) < longestLook &&
			(heavy(c.txPackets-l.from.txPackets, c.txBytes-l.from.txBytes) || heavy(c.rxPackets-l.from.rxPackets, c.rxBytes-l.from.rxBytes))
		l.from, l.begun = c, now
	}
	if l.id != 0 && now.Sub(l.asked) >= max(answerTime(m.meter.RTT()), 2*loadEvery) {
		l.id = 0
	}
	if l.heavy && l.id == 0 && now.Sub(l.asked) >= loadEvery {
		m.probe.id++
		l.id, l.asked = m.probe.id, now
		m.emit(sendAside{m.current, m.path, wire.Ping{ID: l.id}})
	}
}

func heavy(packets, bytes uint64) bool { return bytes >= heavyBytes && bulky(packets, bytes) }

func bulky(packets, bytes uint64) bool { return bytes > packets*bulkDatagram }

// loadAnswered takes the answer about the path in use: what passed since the last.
func (m *machine) loadAnswered(now time.Time, in *Inbound, f wire.Pong, took time.Duration) {
	l := &m.loading
	l.id = 0
	old, c := l.mark, l.seen
	l.mark = mark{
		at: now, in: in, carried: c,
		sent: f.Highest, came: f.Received, peerSent: in.highest.Load(), cameFromPeer: in.received.Load(),
	}
	passed := now.Sub(old.at)
	if old.at.IsZero() || old.in != in || passed < loadEvery/2 || passed > longestLook || f.Highest < old.sent || f.Received < old.came {
		l.gauge.RoundTrip(now, took)
		return
	}
	up := window(passed, f.Highest-old.sent, f.Received-old.came, c.txPackets-old.carried.txPackets, c.txBytes-old.carried.txBytes)
	down := window(passed, l.mark.peerSent-old.peerSent, l.mark.cameFromPeer-old.cameFromPeer,
		c.rxPackets-old.carried.rxPackets, c.rxBytes-old.carried.rxBytes)
	rate, limited := l.gauge.Look(now, took, up, down)
	m.load(m.path).Passed(now, rate, limited)
}

// window is what passed in one direction: how many datagrams were sent and came,
// and the number and size of those that the pumps counted.
func window(took time.Duration, sent, came, packets, bytes uint64) path.Window {
	if packets == 0 {
		return path.Window{Took: took}
	}
	size := float64(bytes) / float64(packets)
	return path.Window{Took: took, Sent: float64(sent) * size, Came: float64(came) * size, Bulk: bulky(packets, bytes)}
}

// noteQueue remembers what the path in use carries, if there is a queue before it:
// it is about to be left, perhaps because its answers are late, and would look as
// good as new without traffic.
func (m *machine) noteQueue(now time.Time) {
	if rate, waits := m.loading.gauge.Waits(); waits {
		m.load(m.path).Passed(now, rate, true)
	}
}

// limited says whether more is offered to the path in use than it carries.
func (m *machine) limited(now time.Time) bool {
	return m.path != nil && m.load(m.path).Limited(now)
}
