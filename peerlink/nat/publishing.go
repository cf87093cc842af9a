package nat

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// publish completes r with the candidates of now and makes it the report if it
// says anything new.
func (a *actor) publish(r Report) {
	var port4, port6 uint16
	if p := a.cfg.Pather; p != nil {
		port4, port6 = p.Port(false), p.Port(true)
	}
	all := HostCandidates(a.hosts, packet.UDP, port4, port6)
	for _, c := range HostCandidates(a.hosts, packet.RawTCP, a.cfg.TCPPort, a.cfg.TCPPort) {
		all = appendNew(all, c)
	}
	for _, c := range a.cfg.PortMaps() {
		all = appendNew(all, c)
	}
	for _, m := range []netip.AddrPort{r.Mapped4, r.Mapped6} {
		if m.IsValid() {
			all = appendNew(all, Candidate{Addr: m, Kind: message.Mapped, Transport: packet.UDP})
		}
	}
	r.Candidates, r.Hosts = all[:min(len(all), message.MaxCandidates)], a.hosts
	old := a.Report()
	a.report.Store(&r)
	if !r.same(old) {
		a.cfg.OnChange(&r)
	}
}

// problemsOf says in words what stands in the way; s is nil if nobody could be asked.
func (a *actor) problemsOf(s *survey) []string {
	var all []string
	if a.names.problem != "" {
		all = append(all, a.names.problem)
	}
	if s == nil {
		return append(all, "no server is known that could tell how this node looks from outside: "+
			"no node of the mesh has a public UDP endpoint; see --stun")
	}
	var silent []string
	for _, t := range s.tried {
		if !t.Mapped.IsValid() {
			silent = append(silent, t.Server.String())
		}
	}
	switch {
	case len(silent) == len(s.tried):
		all = append(all, fmt.Sprintf("no STUN server answers over UDP (asked %s): UDP may be blocked here", strings.Join(silent, ", ")))
	case len(silent) > 0:
		all = append(all, "STUN servers that do not answer: "+strings.Join(silent, ", "))
	}
	if len(silent) < len(s.tried) && !Classify(s.evidence()).Known() {
		all = append(all, "one server alone cannot tell how the NAT maps: a second node with a public UDP endpoint is needed, or --stun")
	}
	return all
}

// logReport says what a survey found, if it is worth a line.
func (a *actor) logReport() {
	r := a.Report()
	if len(r.Problems) > 0 && !r.Behaviour.Known() {
		if !a.warned {
			a.log.Warn("the kind of NAT is not known", "reason", strings.Join(r.Problems, "; "))
		}
		a.warned = true
		return
	}
	a.warned = false
	line := r.Behaviour.Describe() + " " + r.Mapped4.String()
	if line == a.logged {
		return
	}
	a.logged = line
	a.log.Info("found out how this node looks from outside", "nat", r.Behaviour.Describe(), "endpoint", r.Mapped4.String())
}
