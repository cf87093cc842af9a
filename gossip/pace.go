package gossip

import "time"

const (
	// probeInterval is between the probes that a node of a small mesh sends.
	probeInterval = 2 * time.Second
	// probeAlike is up to which size of the mesh that holds.
	probeAlike = 12
	// probeSlowest bounds how long a dead node of a large mesh goes unnoticed:
	// on average it is this long until the first of all others probes it.
	probeSlowest = 15 * time.Second
)

// pace is the time between the probes of one node in a mesh of n. Each probe goes
// to another member, whose link may be relayed and has to be kept or made for it,
// so in a large mesh all of that together is what idling costs.
func pace(n int) time.Duration {
	return min(max(probeInterval*time.Duration(n)/probeAlike, probeInterval), probeSlowest)
}
