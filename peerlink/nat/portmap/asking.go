package portmap

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// ask renews all ports, or finds out what the router speaks and opens them. It
// sets when to ask next and returns what is to be said of the result.
func (m *Mapper) ask(ctx context.Context) (problem string) {
	now := time.Now()
	for p, l := range m.grants {
		if !now.Before(l.expires) {
			delete(m.grants, p)
		}
	}
	if m.speaker != nil {
		if part, err := m.openAll(ctx, m.speaker); err == nil {
			return m.opened(part)
		}
		// It may have changed its language, or the port on which it speaks it.
		m.speaker = nil
	}
	var reasons []error
	for s, err := range m.net.Speakers(ctx, m.gw) {
		if err == nil {
			var part error
			if part, err = m.openAll(ctx, s); err == nil {
				m.speaker = s
				return m.opened(part)
			}
			err = fmt.Errorf("%s: %w", s.Protocol(), err)
		}
		reasons = append(reasons, err)
		var behind notPublic
		if errors.As(err, &behind) {
			return m.failed([]error{behind}) // in every language
		}
	}
	return m.failed(reasons)
}

// openAll asks for every port. err means that none was given; part says why some
// were not.
func (m *Mapper) openAll(ctx context.Context, s speaker) (part, err error) {
	given := false
	for _, p := range m.cfg.Ports {
		if err := m.open(ctx, s, p); err == nil {
			given = true
		} else if !given {
			return nil, err // the others will not be given either
		} else {
			part = fmt.Errorf("%s: %s port %d: %w", s.Protocol(), p.Network, p.Number, err)
		}
	}
	return part, nil
}

// open asks for one port.
func (m *Mapper) open(ctx context.Context, s speaker, p Port) error {
	g, err := s.Map(ctx, p, m.wish(p))
	if err != nil {
		return err
	}
	now := time.Now()
	external := g.external.Addr()
	if !public(external) {
		delete(m.grants, p)
		// Nobody outside could use it. If it cannot be closed it ends by itself.
		_ = s.Unmap(ctx, p, g)
		return notPublic{router: m.gw.Address, external: external}
	}
	if g.external.Port() == 0 {
		return errors.New("the router gave port 0")
	}
	old, had := m.grants[p]
	if g.timed && had && old.by.Protocol() != s.Protocol() {
		m.epoch = epoch{} // each protocol may count on its own
	}
	if g.timed && m.epoch.observe(now, g.epoch) {
		m.cfg.Log.Info("the router has restarted: its ports are opened again", "gateway", m.gw.Address)
	}
	if g.lifetime <= 0 || g.lifetime > m.cfg.Lifetime {
		g.lifetime = m.cfg.Lifetime
	}
	m.grants[p] = lease{grant: g, by: s, expires: now.Add(g.lifetime)}
	if !had || old.external != g.external || old.by.Protocol() != s.Protocol() {
		m.cfg.Log.Info("the router opened a port", "gateway", m.gw.Address, "protocol", s.Protocol(),
			"network", p.Network, "port", p.Number, "external", g.external, "lifetime", g.lifetime)
	}
	return nil
}

// wish is the external port to suggest: what others know already, else the same
// as inside.
func (m *Mapper) wish(p Port) netip.AddrPort {
	if l, ok := m.grants[p]; ok {
		return l.external
	}
	// What a former mapper had of the same router.
	if was := m.cfg.Published.State(); was.Gateway == m.gw.Address {
		if external := was.External(p); external.IsValid() {
			return external
		}
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), p.Number)
}

// opened plans the renewal, at half of the shortest lifetime.
func (m *Mapper) opened(part error) (problem string) {
	now := time.Now()
	m.failures, m.spoke = 0, true
	m.due = now.Add(m.remaining(now) / 2)
	if part != nil {
		return part.Error()
	}
	return ""
}

// failed plans the next attempt: ever more rarely, but often enough not to lose
// what is open still.
func (m *Mapper) failed(reasons []error) (problem string) {
	now := time.Now()
	pause := pauses[min(m.failures, len(pauses)-1)]
	if m.spoke {
		pause = min(pause, pauseOfSpeaker)
	}
	m.failures++
	if left := m.remaining(now); left > 0 {
		// At half of what is left (RFC 6887, 11.2.1), and at its end, to take note of
		// that.
		pause = min(pause, max(left/2, 30*time.Second), left)
	}
	m.due = now.Add(pause)
	return m.words(reasons)
}

// remaining is the time until the first of the open ports is closed.
func (m *Mapper) remaining(now time.Time) (left time.Duration) {
	for _, l := range m.grants {
		if d := l.expires.Sub(now); left == 0 || d < left {
			left = d
		}
	}
	return left
}

// words is what a user reads.
func (m *Mapper) words(reasons []error) string {
	var behind notPublic
	var said, silent []string
	for i, err := range reasons {
		switch {
		case errors.As(err, &behind):
			return behind.Error()
		case errors.Is(err, errSilent):
			silent = append(silent, string(m.cfg.Protocols[min(i, len(m.cfg.Protocols)-1)]))
		default:
			said = append(said, err.Error())
		}
	}
	if len(said) == 0 {
		return fmt.Sprintf("the router %s does not answer to %s; switch one on there, or forward the port by hand",
			m.gw.Address, strings.Join(silent, ", "))
	}
	return fmt.Sprintf("the router %s opens no port: %s", m.gw.Address, strings.Join(said, "; "))
}

// notPublic is a router whose own address is not one of the internet.
type notPublic struct{ router, external netip.Addr }

// Error says what follows from it.
func (e notPublic) Error() string {
	if !e.external.IsValid() || e.external.IsUnspecified() {
		return fmt.Sprintf("the router %s has no address from outside; is its connection down?", e.router)
	}
	return fmt.Sprintf("the router %s is itself behind NAT: its address from outside, %s, is not public", e.router, e.external)
}

// publish shows the present state, and says so if it matters.
func (m *Mapper) publish(problem string) {
	s := &State{Gateway: m.gw.Address, Problem: problem, Next: m.due}
	for _, p := range m.cfg.Ports {
		if l, ok := m.grants[p]; ok {
			s.Mappings = append(s.Mappings, Mapping{
				Port: p, External: l.external, Protocol: l.by.Protocol(), Gateway: m.gw.Address, Expires: l.expires,
			})
		}
	}
	was := m.cfg.Published.State()
	m.cfg.Published.now.Store(s)
	if problem != "" && problem != was.Problem {
		m.cfg.Log.Info("not all ports are open at the router", "reason", problem, "open", len(s.Mappings), "next", time.Until(m.due).Round(time.Second))
	}
	if !s.same(was) && m.cfg.Changed != nil {
		m.cfg.Changed()
	}
}

// remove closes what is open.
func (m *Mapper) remove(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeFor)
	defer cancel()
	for _, p := range m.cfg.Ports {
		l, ok := m.grants[p]
		if !ok {
			continue
		}
		log := m.cfg.Log.With("gateway", m.gw.Address, "protocol", l.by.Protocol(), "external", l.external)
		if err := l.by.Unmap(ctx, p, l.grant); err != nil {
			log.Warn("a port stays open at the router", "until", l.expires.Format(time.TimeOnly), "reason", err)
		} else {
			log.Info("the port at the router is closed")
		}
		delete(m.grants, p)
	}
	m.publish("")
}
