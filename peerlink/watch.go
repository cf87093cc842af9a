package peerlink

import (
	"math"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

const (
	// Silence under traffic makes suspicious after twice the round trip, within
	// these bounds; then probes go out quickly, so that on a lossy path a few lost
	// ones do not pass for death.
	minSuspect    = 300 * time.Millisecond
	maxSuspect    = 1500 * time.Millisecond
	probeInterval = 250 * time.Millisecond
	minMissed     = 3
	maxMissed     = 24
	minRecheck    = 50 * time.Millisecond
	streakLong    = 8

	// How likely it may be that a path which works answers no question in a row: of
	// one that another is there to replace, or can be dialled beside, and of the
	// only one. A link of which both directions lose 30 % would else be given up
	// for nothing once in a few hours.
	unlikely = 1e-3
	never    = 1e-6

	// maxPatience is how long a path may be silent under traffic at most.
	maxPatience = 3 * time.Second
)

// probe is the state of the watch over the path in use. Both directions count:
// that something comes, and that what we send is answered. A path that lost one
// direction only is as useless as one that lost both.
type probe struct {
	id      uint32
	sent    time.Time // of the last ping
	since   time.Time // when the path in use was taken, or last heard of
	sentTx  uint64    // sealer's counter when something was last heard
	lastTx  uint64    // sealer's counter at the last look
	looked  time.Time // at the last look
	flowing bool      // something was sent between the last two looks
	streak  int       // looks at which something new had been heard, up to streakLong
	unheard time.Time // since when we send without hearing; zero: not
	missed  int       // pings since then
	awaited time.Time // of the oldest ping without an answer to it or to a later one; zero: none
	pings   int       // since then
	proved  time.Time // when something was sent that is known to have arrived
	unsure  time.Time // what was sent since then went again on this path, which has proven nothing yet; zero: nothing did
	arrived uint64    // what the peer reported, see reported
	asking  uint64    // sealer's counter at awaited
	asked   bool      // another path was asked for since the doubt began
}

// doubt is how long the path has not done what it should.
func (p *probe) doubt(now time.Time) time.Duration {
	return max(p.quiet(now), p.unanswered(now))
}

// quiet is how long we have sent and heard nothing.
func (p *probe) quiet(now time.Time) time.Duration {
	if p.unheard.IsZero() {
		return 0
	}
	return now.Sub(p.unheard)
}

// unanswered is how long pings have had no answer.
func (p *probe) unanswered(now time.Time) time.Duration {
	if p.awaited.IsZero() {
		return 0
	}
	return now.Sub(p.awaited)
}

// replied says that no ping waits for an answer any more.
func (p *probe) replied() { p.awaited, p.pings, p.asked = time.Time{}, 0, false }

// answered takes the answer to a ping that was sent then.
func (p *probe) answered(sent time.Time) {
	p.replied()
	p.proved, p.unsure = sent, time.Time{}
}

// forgive forgets what the path in use owes: the peer was heard on another one now.
func (p *probe) forgive(now time.Time) {
	p.since, p.unheard, p.missed = now, time.Time{}, 0
	p.replied()
}

// lastArrival is when something was sent at last that has arrived for sure.
func (m *machine) lastArrival() time.Time {
	p := &m.probe
	heard := p.since.Add(-m.meter.RTT())
	switch {
	case !p.unsure.IsZero() && p.unsure.Before(heard):
		return p.unsure
	case !p.proved.IsZero() && p.proved.Before(heard):
		return p.proved // to be heard is not to hear
	}
	return heard
}

// reported takes what the peer says of the datagrams that it has: the highest
// counter, plus one. If that stands still while we send, they do not arrive. Only
// what is said on the path in use counts: who uses another one is answered there,
// and such answers arrive.
func (m *machine) reported(now time.Time, highest uint64) {
	p := &m.probe
	switch {
	case highest > p.arrived:
		p.arrived, p.proved = highest, now.Add(-m.meter.RTT())
		if highest > p.asking {
			p.replied()
		}
	case highest == p.arrived && p.lastTx > highest && p.awaited.IsZero():
		p.awaited, p.asking = now, p.lastTx
	}
}

// watch decides whether the path in use still works.
func (m *machine) watch(now time.Time, lastRx time.Time) {
	if m.current == nil || m.path == nil {
		return
	}
	if !m.path.Alive() {
		// A relay that is gone for the moment, and can come back with the session.
		if m.usable {
			m.emit(away{m.lastArrival()})
			m.publish()
		}
		m.probe = probe{id: m.probe.id, sent: m.probe.sent, since: now}
		m.choose(now)
		if !m.path.Alive() {
			return
		}
	}
	if !m.usable {
		m.publish()
		m.probe = probe{id: m.probe.id, since: now}
		m.ping(now)
		return
	}
	p := &m.probe
	tx := m.current.sealer.counter.Load()
	p.flowing, p.lastTx = tx != p.lastTx, tx
	other := m.alternative(now)
	patience, missed, unanswered, interval := m.patience, minMissed, m.enough(never)+1, probeInterval
	if other != nil {
		interval = quickInterval
		patience, missed = m.quickPatience()
		unanswered = missed
	}
	suspect := m.suspectAfter()
	switch {
	case lastRx.After(p.since):
		if p.streak = min(p.streak+1, streakLong); lastRx.Sub(p.since) > suspect {
			p.streak = 1
		}
		if p.missed >= minMissed { // much was lost
			m.emit(away{m.lastArrival()})
		}
		p.since, p.missed = lastRx, 0
		p.sentTx, p.unheard = tx, time.Time{}
	case p.unheard.IsZero() && tx > p.sentTx:
		// Sent since the last look: when exactly is not known, and to believe in the
		// earliest moment costs at most a question too many.
		p.unheard = latest(latest(p.since, p.looked), now.Add(-tickBusy))
		if p.streak == streakLong {
			p.unheard = p.since // both sent all the time
		}
	}
	p.looked = now
	dead := p.quiet(now) >= patience && p.missed >= missed || p.unanswered(now) >= patience && p.pings >= unanswered
	switch doubt := p.doubt(now); {
	case dead && other != nil:
		m.fallBack(now, other)
	case dead:
		m.problem = "nothing heard for " + now.Sub(p.since).Round(100*time.Millisecond).String()
		if p.quiet(now) < m.patience {
			m.silence.mute = m.path
			m.problem = "no answer for " + p.unanswered(now).Round(100*time.Millisecond).String()
		}
		m.fell(now)
	case p.streak == streakLong && now.Sub(p.since) >= suspect:
		// The peer sent all the time and stopped. If the path has died under it,
		// only a question tells: the peer cannot.
		p.streak = 0
		m.ping(now)
		if other != nil {
			p.unheard = p.since // and more of them, if that has no answer
		}
	case doubt >= suspect && (now.Sub(p.sent) >= interval || doubt >= patience/2 && now.Sub(p.sent) >= tickBusy):
		// Before the path is given up it is asked twice as often: as many questions
		// as a lossy line takes then find room within the patience.
		p.missed++
		m.ping(now)
		// Whoever made the path makes another one while this one is still asked:
		// if just this connection has died, nothing is lost by waiting.
		if max(p.missed, p.pings) > m.enough(unlikely) && !p.asked && m.dialled(m.path) {
			p.asked = true
			m.emit(doubted{})
			m.emit(decided{m.owner, fate{doubt: true, path: m.path}})
		}
	default:
		if every := m.askEvery(now); every > 0 && now.Sub(p.sent) >= every {
			m.ping(now) // under traffic too: for the round trip and the loss
		}
	}
}

// recheck asks at once on a path whose way has changed.
func (m *machine) recheck(now time.Time, p packet.Path) {
	if p == m.path && now.Sub(m.probe.sent) >= minRecheck {
		m.ping(now)
	}
}

// enough is how many pings in a row are without an answer by chance only so
// rarely, with the loss that the link is used to.
func (m *machine) enough(rarely float64) int {
	s := m.current
	arrives := (1 - s.txLoss.share()) * (1 - s.rxLoss.share())
	n := minMissed
	for p := math.Pow(1-arrives, minMissed); p > rarely && n < maxMissed; n++ {
		p *= 1 - arrives
	}
	return n
}

// suspectAfter is the silence under traffic after which probes go out quickly.
func (m *machine) suspectAfter() time.Duration {
	return min(max(2*m.meter.RTT(), minSuspect), maxSuspect)
}

// pressing says whether the next tick should come at once: a path may have died,
// and there is another.
func (m *machine) pressing(now time.Time) bool {
	return m.usable && m.probe.doubt(now) >= m.suspectAfter()/2 && m.alternative(now) != nil
}

// doubting says whether the path in use was asked whether it lives and has not
// answered at once.
func (m *machine) doubting(now time.Time) bool {
	return m.usable && m.probe.doubt(now) >= m.suspectAfter() && max(m.probe.missed, m.probe.pings) > 1
}

// busy says whether the next tick should come soon.
func (m *machine) busy() bool {
	return m.try.active() || m.confirming() || m.fresh.path != nil || m.knocking() ||
		m.tending() ||
		m.usable && (m.probe.flowing || m.probe.streak > 1 || !m.probe.unheard.IsZero() || !m.probe.awaited.IsZero())
}

// ping sends a probe on the current session and path.
func (m *machine) ping(now time.Time) {
	if m.current == nil || m.path == nil {
		return
	}
	p := &m.probe
	p.id++
	p.sent, m.usage.pingedAt = now, m.usage.sent
	p.pings++
	if p.awaited.IsZero() {
		p.awaited, p.asking = now, m.current.sealer.counter.Load()
	}
	m.emit(send{m.current, m.path, wire.Ping{ID: p.id}})
}
