package portmap

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
)

// Mapper is the actor that opens ports at the router, keeps them open, and
// closes them when it ends. Create it with [New].
type Mapper struct {
	cfg     Config
	net     network
	recheck actors.Poke
	events  chan event
	rest    time.Duration // the least time between two rounds of questions for reasons from outside

	// Only Run's goroutine uses what follows.
	gw       Gateway
	speaker  speaker        // nil: what the router speaks must be found out
	grants   map[Port]lease // what is open
	epoch    epoch
	failures int       // in a row, since something was open or the router changed
	spoke    bool      // the router has opened a port at some time
	due      time.Time // when to ask next
	asked    time.Time // when the router was last asked
}

// lease is a grant with its end.
type lease struct {
	grant
	by      speaker
	expires time.Time
}

const (
	// settle is how long a mapper waits after a change, because changes come in
	// groups: an interface that comes up makes many, and a router that restarts
	// announces it ten times.
	settle    = time.Second
	usualRest = 10 * time.Second
	// askFor bounds one round of questions.
	askFor = 15 * time.Second
	// removeFor bounds the time to close everything at the end.
	removeFor = 180 * time.Millisecond
	// lookEvery is how often a host without a router looks for one, unless its
	// routes change.
	lookEvery = 10 * time.Minute
)

// pauses after attempts without success; the last is repeated.
var pauses = []time.Duration{15 * time.Second, time.Minute, 4 * time.Minute, 16 * time.Minute, time.Hour}

// pauseOfSpeaker is the longest pause for a router that opened a port before: it
// is away, and will come back.
const pauseOfSpeaker = 4 * time.Minute

// New checks the configuration and returns a mapper that has not asked anybody.
func New(cfg Config) (*Mapper, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	var key nonces
	if cfg.Secret != nil {
		key = sha256.Sum256(append([]byte("port mapping\x00"), cfg.Secret...))
		cfg.Secret = nil
	} else {
		_, _ = rand.Read(key[:]) // never fails
	}
	m := &Mapper{cfg: cfg, recheck: actors.NewPoke(), events: make(chan event, 16), rest: usualRest, grants: map[Port]lease{}}
	m.net = &system{cfg: &m.cfg, nonces: key}
	return m, nil
}

// Recheck makes the mapper ask the router again soon, at most every 10 seconds:
// for those who see that a port is not open any more. Any goroutine may call it;
// it does not block.
func (m *Mapper) Recheck() { m.recheck.Give() }

// Run works until ctx ends. Then it closes what it opened, which takes no longer
// than 400 ms, and returns nil. It fails only if it cannot start.
func (m *Mapper) Run(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	wait, err := m.net.Watch(watching, m.hear)
	if err != nil {
		return fmt.Errorf("port mapping: %w", err)
	}
	defer wait()
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-timer.C:
			m.round(ctx)
		case e := <-m.events:
			m.follow(e)
		case <-m.recheck.C():
			m.askSoon()
		}
		timer.Reset(time.Until(m.due))
	}
	m.remove(ctx)
	return nil
}

// hear passes events on; those that do not fit say nothing new.
func (m *Mapper) hear(e event) {
	select {
	case m.events <- e:
	default:
	}
}

// follow decides whether an event is a reason to ask again.
func (m *Mapper) follow(e event) {
	now := time.Now()
	if !e.from.IsValid() {
		gw, err := m.net.Gateway()
		if err == nil && gw == m.gw || err != nil && m.gw == (Gateway{}) {
			return
		}
		m.due = earlier(m.due, now.Add(settle))
		return
	}
	// Not only when the epoch went back: some routers count from when they were
	// switched on, and forget their mappings more often than that.
	if e.from == m.gw.Address {
		m.askSoon()
	}
}

// askSoon moves the next question forward.
func (m *Mapper) askSoon() {
	soon := time.Now().Add(settle)
	if next := m.asked.Add(m.rest); next.After(soon) {
		soon = next
	}
	m.due = earlier(m.due, soon)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// round looks where the router is and asks it if it is time to.
func (m *Mapper) round(ctx context.Context) {
	now := time.Now()
	gw, err := m.net.Gateway()
	if err != nil {
		gw = Gateway{}
	}
	if gw != m.gw {
		m.forget(gw)
	}
	switch {
	case err != nil:
		m.due = now.Add(lookEvery)
		m.publish(err.Error())
		return
	case public(gw.Source):
		m.due = now.Add(lookEvery) // without asking anybody
		m.publish("")
		return
	}
	m.asked = now
	bounded, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	if problem := m.ask(bounded); ctx.Err() == nil { // at the end a failure means nothing
		m.publish(problem)
	}
}

// forget starts anew with another router. What is open at the old one ends with
// its lifetime: from here it cannot be reached as the one that opened it.
func (m *Mapper) forget(gw Gateway) {
	if gw.Address.IsValid() {
		m.cfg.Log.Debug("asking a router for ports", "gateway", gw.Address, "interface", gw.Interface, "source", gw.Source)
	}
	m.gw, m.speaker, m.epoch, m.failures, m.spoke = gw, nil, epoch{}, 0, false
	clear(m.grants)
}
