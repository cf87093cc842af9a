package node

import (
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/node/control"
)

// natWord is an advert's NAT as `node peers` prints it; empty if it is not known.
func natWord(text string) string {
	b := message.ParseNAT(text)
	if !b.Known() {
		return ""
	}
	return b.String()
}

// nat is how this node looks from outside, for `node status`.
func (s source) nat() control.NATView {
	r := s.n.prober.Report()
	v := control.NATView{Endpoints: []string{}, Problems: append([]string{}, r.Problems...)}
	if r.Behaviour.Known() {
		v.Kind, v.Description = r.Behaviour.String(), r.Behaviour.Describe()
		if r.Behaviour.Forgets() {
			v.Description += ", " + r.Lifetime.String()
		}
	}
	if !s.n.cfg.NATDetection {
		v.Description = "not looked at: NAT detection is off (-nat-detection=false)"
	}
	if r.Lifetime.Known() {
		v.LifetimeS = ptr(r.Lifetime.Least.Seconds())
	}
	for _, e := range r.Endpoints() {
		v.Endpoints = append(v.Endpoints, e.String())
	}
	if s.n.PortMap != nil {
		if external := s.n.PortMap.External(); external.IsValid() {
			v.PortMapped = external.String()
		}
		if problem := s.n.PortMap.Problem(); problem != "" {
			v.Problems = append(v.Problems, problem)
		}
	}
	return v
}
