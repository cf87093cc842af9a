package nat

import (
	"net/netip"
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// settle is how long after the first answer others are waited for at most, before
// what is known so far is published, and filterSettle how long the filter's are at
// least: see survey.tellAt.
const (
	settle       = 300 * time.Millisecond
	filterSettle = 30 * time.Millisecond
)

// work does what the plan says and publishes what surveys bring.
func (a *actor) work(now time.Time) {
	if !a.cfg.Detect || a.cfg.Pather == nil && a.cfg.Crosser == nil {
		a.plan.rest()
		a.plan.last = now
		return
	}
	switch {
	case a.tcp != nil:
		a.attendTCP(now)
	case a.survey != nil:
		a.attend(now)
	case !a.plan.survey.IsZero() && !now.Before(a.plan.survey):
		a.begin(now)
	case !a.plan.refresh.IsZero() && !now.Before(a.plan.refresh):
		a.refresh(now)
	}
	a.measureLifetime(now)
}

// looked publishes new port mappings and interfaces, and asks new servers if some
// were lacking.
func (a *actor) looked(now time.Time) {
	a.hosts = a.cfg.Hosts()
	a.publish(*a.Report())
	for address := range distinct(a.cfg.Servers(), a.cfg.TCPServers()) {
		if !a.knew[address] {
			a.plan.looked(now)
		}
	}
}

// networkChanged begins anew: what others saw of the old network is worth nothing.
func (a *actor) networkChanged(now time.Time) {
	a.endSurvey()
	a.endTCP()
	a.tcpKnown = Behaviour{}
	r := *a.Report()
	if hosts := a.cfg.Hosts(); !slices.Equal(hosts, a.hosts) {
		a.endLifetime()
		a.hosts = hosts
		r.Behaviour, r.Mapped4, r.Mapped6, r.Lifetime, r.Tried = Behaviour{}, netip.AddrPort{}, netip.AddrPort{}, Lifetime{}, nil
	}
	a.publish(r)
	a.plan.changed(now)
}

// begin begins a survey, of IPv4 if possible.
func (a *actor) begin(now time.Time) {
	a.hosts = a.cfg.Hosts()
	a.knew = distinct(a.cfg.Servers(), a.cfg.TCPServers())
	if a.cfg.Pather == nil {
		a.plan.surveyed(now)
		a.afterUDP(now)
		return
	}
	mesh := a.cfg.Servers()
	var public []Server
	if a.plan.public(now) && len(distinct(mesh)) < enoughServers {
		known, ok := a.names.get(now)
		if !ok {
			a.plan.await(now)
			return
		}
		public = known
	}
	v6 := false
	servers := choose(mesh, public, v6, shuffle)
	if len(servers) == 0 || a.cfg.Pather.Port(v6) == 0 {
		v6 = true
		servers = choose(mesh, public, v6, shuffle)
	}
	if len(servers) == 0 || a.cfg.Pather.Port(v6) == 0 {
		a.plan.noServers(now)
		a.afterUDP(now)
		if r := *a.Report(); a.plan.public(now) {
			r.Problems = a.problemsOf(nil)
			a.publish(r)
		}
		return
	}
	a.plan.surveyed(now)
	s := &survey{servers: servers, own: a.hosts, ask: a.surveyAsk, self: Server{Node: selfID}}
	if sockets, err := a.cfg.Pather.Sockets(2, v6); err == nil && len(sockets) == 2 {
		a.sockets = sockets
	}
	s.shared = len(a.sockets) == 0
	if path, err := a.cfg.Pather.Through(a.socket(mapperRole), servers[0].Addr); err == nil {
		s.port = path.Local().Port()
	}
	a.survey = s
	s.start(now)
	if !v6 {
		a.askV6(now, choose(mesh, public, true, shuffle))
	}
	a.transmit(now)
	a.attend(now)
}

// askV6 asks how the data socket is seen over IPv6 too, where prefixes are
// translated now and then (RFC 6296).
func (a *actor) askV6(now time.Time, servers []Server) {
	if len(servers) == 0 || a.cfg.Pather.Port(true) == 0 {
		return
	}
	var n int
	a.survey.question(now, dataRole, servers[0], 0, &n, func(now time.Time, got answer) {
		if got.outcome == Answered && got.message.Class == Success {
			r := *a.Report()
			r.Mapped6 = got.message.Mapped
			a.publish(r)
		}
	})
}

// socket is the socket for a role.
func (a *actor) socket(r role) packet.Socket {
	if r == dataRole || len(a.sockets) == 0 {
		return 0
	}
	return a.sockets[r-mapperRole]
}

// surveyAsk is how a survey speaks.
func (a *actor) surveyAsk(now time.Time, r role, server Server, c Change, done func(time.Time, answer)) bool {
	if r == filterRole && len(a.sockets) == 0 {
		return false // links have opened the filter of the data socket
	}
	path, err := a.cfg.Pather.Through(a.socket(r), server.Addr)
	if err != nil {
		return false
	}
	a.asks.begin(now, &ask{owner: a.survey, path: path, change: c, mesh: server.mesh(), done: done})
	return true
}

// attend publishes what the running survey has brought, once when first answers
// are there and once at its end.
func (a *actor) attend(now time.Time) {
	s := a.survey
	if !s.done() {
		if at := s.tellAt(); !at.IsZero() && !now.Before(at) {
			s.told = true
			a.conclude(now, s, false)
		}
		return
	}
	a.endSurvey()
	a.conclude(now, s, true)
	complete := Classify(s.evidence()).Known() && s.data.Mapped.IsValid()
	a.plan.ended(now, complete)
	if complete {
		a.planLifetime(now)
	} else {
		a.afterUDP(now)
	}
	a.logReport()
}

// conclude publishes what s shows.
func (a *actor) conclude(now time.Time, s *survey, final bool) {
	b := Classify(s.evidence())
	r := *a.Report()
	if final && !b.Known() {
		b = a.tcpKnown // nearly all NATs treat both alike
	}
	if final || b.Known() {
		if !final && b.Mapping == r.Behaviour.Mapping {
			b = r.Behaviour // the rest of it is still being asked for
		}
		r.Behaviour = b
	}
	if mapped := s.data.Mapped; mapped.IsValid() {
		r.When = now
		if mapped.Addr().Is4() {
			r.Mapped4 = mapped
		} else {
			r.Mapped6 = mapped
		}
	} else if final {
		r.Mapped4 = netip.AddrPort{}
	}
	r.Tried = slices.Clone(s.tried)
	if final {
		r.Ended, r.Problems = now, a.problemsOf(s)
	}
	a.publish(r)
}

// endSurvey forgets the running survey.
func (a *actor) endSurvey() {
	if a.survey != nil {
		a.asks.forgetAll(a.survey)
	}
	if len(a.sockets) > 0 {
		a.cfg.Pather.Release(a.sockets)
	}
	a.survey, a.sockets = nil, nil
}

// refresh asks one server whether the data socket is still seen as before.
func (a *actor) refresh(now time.Time) {
	a.plan.refresh = now.Add(RefreshInterval)
	a.looked(now)
	report := a.Report()
	was := report.Mapped4
	if !was.IsValid() {
		was = report.Mapped6
	}
	i := slices.IndexFunc(report.Tried, func(t Try) bool {
		return t.Mapped.IsValid() && t.Mapped.Addr().Is4() == was.Addr().Is4()
	})
	if i < 0 {
		a.plan.at(now)
		return
	}
	server := report.Tried[i].Server
	path, err := a.cfg.Pather.Through(0, server.Addr)
	if err != nil {
		a.plan.at(now)
		return
	}
	symmetric := report.Behaviour.Symmetric()
	a.asks.begin(now, &ask{path: path, mesh: server.mesh(), done: func(now time.Time, got answer) {
		same := got.outcome == Answered && got.message.Mapped == was
		if symmetric { // which port it is depends on the server, and says nothing
			same = got.outcome == Answered && got.message.Mapped.Addr() == was.Addr()
		}
		if !same {
			a.plan.changed(now)
		}
	}})
	a.transmit(now)
}

// distinct are the different addresses of servers.
func distinct(lists ...[]Server) map[netip.Addr]bool {
	all := map[netip.Addr]bool{}
	for _, servers := range lists {
		for _, s := range servers {
			all[s.Addr.Addr().Unmap()] = true
		}
	}
	return all
}
