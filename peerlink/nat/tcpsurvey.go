package nat

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// tcpTimeout is when a survey by fake TCP ends with what it has: connections have
// two round trips and a repetition to be there.
const tcpTimeout = 10 * time.Second

// tcpSurvey shows how the NAT maps fake TCP: several servers say how they see one
// held port. Filters show only when peers open connections from both sides.
type tcpSurvey struct {
	held    packet.Held
	seen    []Observation
	open    int // servers that have not answered
	paths   []packet.Path
	cancels []func()
	until   time.Time
}

// dialled brings a connection of a survey, or says that there is none.
type dialled struct {
	survey *tcpSurvey
	place  int
	path   packet.Path // nil: none
}

func (dialled) toProber() {}

// afterUDP goes on by fake TCP where UDP showed nothing.
func (a *actor) afterUDP(now time.Time) {
	switch {
	case a.cfg.Pather != nil:
	case a.tcpKnown.Known():
		a.plan.rest()
	default:
		a.plan.ended(now, false)
	}
	if a.cfg.Crosser == nil || a.tcpKnown.Known() || a.tcp != nil {
		return
	}
	servers := choose(a.cfg.TCPServers(), nil, false, shuffle)
	if len(servers) < enoughServers {
		return // one server sees one port, which shows nothing
	}
	held, err := a.cfg.Crosser.Hold(false)
	if err != nil {
		a.log.Debug("no port to find out about the NAT by fake TCP", "reason", err)
		return
	}
	s := &tcpSurvey{held: held, until: now.Add(tcpTimeout), open: len(servers)}
	a.tcp = s
	for place, server := range servers {
		s.seen = append(s.seen, Observation{To: server.Addr})
		s.cancels = append(s.cancels, held.Dial(server.Addr, func(p packet.Path, err error) {
			if err != nil {
				p = nil
			}
			if !a.box.Ref().Offer(dialled{survey: s, place: place, path: p}) && p != nil {
				p.Close()
			}
		}))
	}
}

// dialled asks on a new connection how the held port is seen.
func (a *actor) dialled(now time.Time, d dialled) {
	s := d.survey
	switch {
	case s != a.tcp:
		if d.path != nil {
			d.path.Close()
		}
	case d.path == nil:
		s.open--
	default:
		s.paths = append(s.paths, d.path)
		a.asks.begin(now, &ask{owner: s, path: d.path, mesh: true, done: func(_ time.Time, got answer) {
			s.open--
			if got.outcome == Answered && got.message.Class == Success {
				s.seen[d.place].Mapped = got.message.Mapped
			}
		}})
	}
}

// attendTCP ends the survey when all is answered, or time is up.
func (a *actor) attendTCP(now time.Time) {
	s := a.tcp
	if s.open > 0 && now.Before(s.until) {
		return
	}
	e := Evidence{Own: a.hosts, Port: s.held.Port(), Seen: answered(s.seen)}
	a.endTCP()
	a.tcpKnown = Classify(e)
	if !a.tcpKnown.Known() {
		return
	}
	r := *a.Report()
	if r.Behaviour.Known() && r.Mapped4.IsValid() {
		return // UDP passes after all
	}
	r.When, r.Behaviour = now, a.tcpKnown
	a.publish(r)
	if a.cfg.Pather == nil {
		a.plan.rest() // nothing else is to be found out in this network
	}
	a.log.Info("found out by fake TCP how this node looks from outside", "nat", r.Behaviour.Describe(), "address", e.Seen[0].Mapped.Addr())
}

// endTCP closes what a survey by fake TCP has opened.
func (a *actor) endTCP() {
	s := a.tcp
	if s == nil {
		return
	}
	a.tcp = nil
	a.asks.forgetAll(s)
	for _, cancel := range s.cancels {
		cancel()
	}
	for _, p := range s.paths {
		p.Close()
	}
	s.held.Release()
}
