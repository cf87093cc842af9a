package peerlink

import (
	"slices"

	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
	"github.com/openbmx/lightweight-tunnel/peerlink/punch"
)

// LocalOf is what a report of the prober says to those who look for direct paths:
// for [Config.Candidates].
func LocalOf(r *nat.Report) punch.Local {
	b := r.Behaviour
	return punch.Local{Offer: punch.Offer{
		Candidates: slices.Clone(r.Candidates),
		NAT: punch.NAT{
			Mapping: punch.Dependence(b.Mapping), Filtering: punch.Dependence(b.Filtering),
			Step: int16(b.Step), Preserves: b.Preserves,
		},
	}}
}
