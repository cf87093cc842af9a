package peerlink

import (
	"fmt"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/repair"
)

const (
	costUnknown  = 10_000           // microseconds, before the first round trip
	costInterval = 10 * time.Second // between two reports of a changed cost
)

// show publishes what `node peers` sees and tells the other actors and the log
// of what has changed.
func (l *link) show(now time.Time) {
	m := l.m
	old := l.peer.view.Load()
	s := &Snapshot{
		ID: l.peer.id, State: m.state(now), RTT: m.meter.RTT(), MinRTT: m.meter.Least(),
		Problem: m.problem, Hello: old.Hello, Seed: old.Seed,
	}
	for _, session := range m.sessions {
		if at := session.in.last.Load(); at > 0 {
			s.LastReceived = latest(s.LastReceived, l.d.epoch.Add(time.Duration(at)))
		}
	}
	if m.current != nil {
		s.Hello, s.Handshake = m.current.hello, m.current.created
		s.Seed = old.Seed || m.current.fromSeed
		in := m.current.in
		m.current.rxLoss.update(in.highest.Load(), in.received.Load())
		s.Loss = max(m.current.txLoss.share(), m.current.rxLoss.share())
	}
	if m.usable {
		s.Path, s.Endpoint = m.path.Kind().String(), m.path.Remote().String()
		s.MTU = max((&Outbound{path: m.path, limit: l.limit(m.path)}).MaxPacket(), 0)
		if relay, ok := m.path.(*RelayPath); ok {
			s.Via = relay.via.Name()
			s.WhyNotDirect = l.whyNotDirect(now, s.Via)
		}
	} else if s.State != Up {
		s.WhyNotDirect = m.problem
	}
	s.Repair = l.peer.repair()
	s.Loss = max(s.Loss, s.Repair.Loss)
	l.peer.view.Store(s)
	l.logChange(old, s)
	l.logRepair(old.Repair, s.Repair)
	l.tell(now, s)
}

func (l *link) logChange(old, s *Snapshot) {
	l.peer.doubted.Store(l.m.probe.asked)
	if (s.State == Up) != (old.State == Up) {
		l.d.box.Ref().Offer(linkChanged{peer: l.peer})
	}
	switch {
	case s.State == Up && old.State != Up && l.rested:
		l.moved, l.rested = l.m.path, false
		l.log.Debug("link is in use again", "path", pathName(l.m.path), "mtu", s.MTU)
	case s.State != Up && old.State == Up && l.m.resting:
		l.rested = true
		l.log.Debug("link rests, nobody uses it", "path", pathName(l.moved))
	case s.State == Up && old.State != Up:
		l.moved = l.m.path
		l.log.Info("link is up", "path", pathName(l.m.path), "mtu", s.MTU)
	case s.State != Up && old.State == Up:
		l.log.Warn("link is down", "path", pathName(l.moved), "reason", orDash(s.Problem))
	case s.State == Up && old.State == Up && l.moved == l.m.path && s.MTU < old.MTU:
		l.log.Info("the path carries smaller packets", "path", pathName(l.m.path), "mtu", s.MTU, "before", old.MTU)
	case s.State == Up && l.moved != l.m.path:
		l.log.Info("path changed", "path", pathName(l.m.path), "from", pathName(l.moved))
		l.moved = l.m.path
	}
	if s.State == Up {
		l.told = ""
	} else if l.m.refusal != "" && l.m.refusal != l.told {
		l.told = l.m.refusal
		l.log.Warn("the link was refused", "reason", l.m.refusal, "next_try", refusedPause.String())
	}
}

// logRepair says how losses are met from now on.
func (l *link) logRepair(old, now repair.View) {
	if old.Data == now.Data && old.Parity == now.Parity && old.Depth == now.Depth && old.Repeating == now.Repeating {
		return
	}
	code := "off"
	if now.Parity > 0 {
		code = fmt.Sprintf("%d+%d", now.Data, now.Parity)
	}
	if now.Depth > 1 {
		code += fmt.Sprintf("x%d", now.Depth)
	}
	l.log.Info("repair of losses changed", "fec", code, "repeats", now.Repeating,
		"loss_pct", fmt.Sprintf("%.2f", now.Loss*100), "residual_loss_pct", fmt.Sprintf("%.3f", now.Residual*100))
}

// tell sends routes and gossip the state of the link when it changed.
func (l *link) tell(now time.Time, s *Snapshot) {
	state := message.LinkState{Hello: s.Hello, Up: s.State == Up, Seed: s.Seed}
	if l.said.Up && (l.m.missing(now) || l.m.asleep(now)) {
		return // it may be back before anybody else need know
	}
	if state.Up {
		state.Cost = costUnknown
		if s.RTT > 0 {
			state.Cost = uint32(min(s.RTT.Microseconds(), 1<<30))
		}
		if l.m.path.Kind() == packet.Relay {
			state.Cost *= 2
		}
	}
	if state.Hello.ID.IsZero() {
		return // never was up
	}
	changed := state.Up != l.said.Up || state.Seed != l.said.Seed || l.said.Hello.ID.IsZero() && state.Up ||
		state.Up && state.Hello.Started != l.said.Hello.Started
	drift := state.Up && (state.Cost > l.said.Cost+l.said.Cost/4 || state.Cost < l.said.Cost-l.said.Cost/4)
	if !changed && !l.unsaid && !(drift && now.Sub(l.saidT) >= costInterval) {
		return
	}
	routes, gossip := l.d.cfg.Routes.Offer(state), l.d.cfg.Gossip.Offer(state)
	l.unsaid = !routes || !gossip // no room: the next look says it again
	l.said, l.saidT = state, now
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
