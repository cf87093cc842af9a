package nat

import (
	"net/netip"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

const (
	// LifetimeRequests is the most that one measurement of the lifetime sends, and a
	// node makes one per network: it takes a quarter of an hour where mappings last
	// two minutes, and three quarters at most.
	LifetimeRequests = 120
	// lifetimeDelay is how long a network must have been the same before.
	lifetimeDelay = 5 * time.Minute
	// lifetimeRetry is when it is tried again if nobody could help.
	lifetimeRetry = 24 * time.Hour
	// streamAfter is what two exchanges lie apart so that Linux, and what is made of
	// it, takes them for a stream, which is kept longer: as a path with keepalives is.
	streamAfter = 3 * time.Second
)

// lifetimeStep is what a measurement does at its time.
type lifetimeStep uint8

const (
	openMapping   lifetimeStep = iota // the silent socket asks, for a mapping
	streamMapping                     // it asks again, and is silent from then on
	checkMapping                      // the data socket has the server answer to the mapping
)

// measurement finds out how long the NAT keeps a silent mapping, as RFC 5780, 4.6
// does: one socket is silent, another one asks a server to send something to the
// first one's mapping. Nodes of the mesh do that for each other, see [Indication].
//
// That nothing comes counts only if the server can still do it, with a mapping that
// is new: each silence without an answer is followed by such a control.
type measurement struct {
	search  lifetimeSearch
	of      lifetimeKey
	at      time.Time // when the next step is due; zero: a question is open, or nothing is planned
	step    lifetimeStep
	servers []Server      // that may still help; the first one does now
	socket  packet.Socket // the silent one; 0: no measurement is under way
	mapped  netip.AddrPort
	silence time.Duration // of the check that comes; 0: it is a control
	suspect time.Duration // a silence without an answer, until the control is made
	sent    int
}

// lifetimeKey is what a lifetime holds for.
type lifetimeKey struct {
	mapping Dependence
	outside netip.Addr
}

// planLifetime plans a measurement after a survey, if it was not made in this network.
func (a *actor) planLifetime(now time.Time) {
	r := a.Report()
	of := lifetimeKey{r.Behaviour.Mapping, r.Mapped4.Addr()}
	if a.lifetime.of == of {
		return
	}
	a.endLifetime()
	a.lifetime.of = of
	if r.Behaviour.Forgets() {
		a.lifetime.at = now.Add(lifetimeDelay)
	}
}

// endLifetime forgets the measurement and what it found.
func (a *actor) endLifetime() {
	a.stopLifetime()
	a.lifetime = measurement{}
	if r := *a.Report(); r.Lifetime.Known() {
		r.Lifetime = Lifetime{}
		a.publish(r)
	}
}

// stopLifetime gives back what the measurement under way holds.
func (a *actor) stopLifetime() {
	m := &a.lifetime
	a.asks.forgetAll(m)
	if m.socket != 0 {
		a.cfg.Pather.Release([]packet.Socket{m.socket})
	}
	m.socket, m.at = 0, time.Time{}
}

// measureLifetime does the step that is due.
func (a *actor) measureLifetime(now time.Time) {
	m := &a.lifetime
	if m.at.IsZero() || now.Before(m.at) {
		return
	}
	if m.socket == 0 {
		a.beginLifetime(now)
	}
	for m.socket != 0 && !m.at.IsZero() && !now.Before(m.at) {
		a.stepLifetime(now)
	}
	a.transmit(now)
}

func (a *actor) beginLifetime(now time.Time) {
	m := &a.lifetime
	m.search, m.servers, m.step, m.silence, m.suspect, m.sent = lifetimeSearch{}, nil, openMapping, 0, 0, 0
	for _, t := range a.Report().Tried {
		if t.Server.mesh() && t.Mapped.IsValid() && t.Mapped.Addr().Is4() {
			m.servers = append(m.servers, t.Server)
		}
	}
	if len(m.servers) > 0 {
		if sockets, err := a.cfg.Pather.Sockets(1, false); err == nil && len(sockets) == 1 {
			m.socket = sockets[0]
			return
		}
	}
	a.retryLifetime(now)
}

// retryLifetime ends a measurement in vain.
func (a *actor) retryLifetime(now time.Time) {
	a.stopLifetime()
	a.lifetime.at = now.Add(lifetimeRetry)
}

// nextServer goes on with another server: this one does not help.
func (a *actor) nextServer(now time.Time) {
	m := &a.lifetime
	m.servers, m.suspect, m.step, m.at = m.servers[1:], 0, openMapping, now
	if len(m.servers) == 0 {
		a.retryLifetime(now)
	}
}

func (a *actor) stepLifetime(now time.Time) {
	m := &a.lifetime
	if m.sent+Transmissions > LifetimeRequests {
		a.retryLifetime(now)
		return
	}
	m.at = time.Time{}
	o, socket := &ask{owner: m, mesh: true}, m.socket
	if m.step == checkMapping {
		socket, o.asker = 0, m.mapped
	}
	var err error
	if o.path, err = a.cfg.Pather.Through(socket, m.servers[0].Addr); err != nil {
		a.nextServer(now)
		return
	}
	o.done = func(now time.Time, got answer) {
		m.sent += o.tries
		ok := got.outcome == Answered && got.message.Class == Success
		switch {
		case m.step == checkMapping:
			a.checkedLifetime(now, ok)
		case !ok:
			a.nextServer(now)
		case m.step == openMapping:
			m.mapped, m.step, m.at = got.message.Mapped, streamMapping, now.Add(streamAfter)
		default:
			m.mapped, m.step, m.at = got.message.Mapped, checkMapping, now.Add(m.silence)
		}
	}
	a.asks.begin(now, o)
}

// checkedLifetime takes whether the mapping let something in.
func (a *actor) checkedLifetime(now time.Time, alive bool) {
	m := &a.lifetime
	control := m.silence == 0
	switch {
	case control && !alive:
		a.nextServer(now)
		return
	case control && m.suspect != 0:
		m.search.survived(m.suspect, false)
	case control: // the first one: this server can be asked
	case alive:
		m.search.survived(m.silence, true)
	default:
		m.suspect, m.silence, m.step, m.at = m.silence, 0, openMapping, now
		return
	}
	m.suspect = 0
	next, more := m.search.next()
	if !more {
		a.stopLifetime()
		r := *a.Report()
		r.Lifetime = m.search.found
		a.publish(r)
		a.log.Info("found out how long the NAT keeps a silent mapping", "least", r.Lifetime.Least, "most", r.Lifetime.Most,
			"questions", m.sent)
		return
	}
	m.silence = next
	if control {
		m.at = now.Add(next) // its mapping is new
		return
	}
	m.step, m.at = streamMapping, now // what came in need not have renewed it
}
