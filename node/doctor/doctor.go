// Package doctor looks at a host and at its way to the mesh, and says what is
// wrong and what to do about it. It needs no running node and changes nothing:
// what has to be tried out (TUN, eBPF, nftables) is tried in a network namespace
// of its own that vanishes with the attempt.
//
// Each check is a plain struct of what was found, which a judge method turns into
// a [Check]; looking and judging are apart, so that every verdict is in a table
// of tests.
package doctor

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Config says what to look at. Its zero value looks at the host alone.
type Config struct {
	Listen []netip.AddrPort // ports that a node shall have
	Seeds  []string         // HOST:PORT of nodes to be reached
	// MeshKey is the key from which the mesh's keys are derived; nil: seeds are
	// looked for, and not asked.
	MeshKey *[32]byte
	STUN    []string // HOST:PORT of public servers; empty: nobody public is asked
	StateDir,
	RunDir string // of all nodes of this host; empty: the usual ones
	Log hclog.Logger // nil: none
}

// Verdict is what a check comes to.
type Verdict string

// The verdicts, from the best to the worst. With a Warn a node works, but worse
// than it could, or it is not known how; with a Fail it does not.
const (
	OK   Verdict = "ok"
	Warn Verdict = "warn"
	Fail Verdict = "fail"
)

// Check is one thing that was looked at.
type Check struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`         // a sentence for people
	Fix     string  `json:"fix,omitempty"` // what to do; empty if it is OK
}

// Report is what [Run] found. Its JSON is what `doctor --json` prints.
type Report struct {
	Healthy bool    `json:"healthy"` // no check failed
	Checks  []Check `json:"checks"`
	NAT     NATView `json:"nat"`
}

// NATView is how this host looks from outside, for scripts.
type NATView struct {
	Kind        string   `json:"kind"` // as `node peers` shows it; empty: not known
	Description string   `json:"description"`
	Endpoints   []string `json:"endpoints"`    // a UDP socket of this host as others see it
	PortMapping []string `json:"port_mapping"` // the protocols that the router answers to
}

// atMost bounds all checks together.
const atMost = 9 * time.Second

// Run looks at everything, at most for atMost, in the network namespace of this
// process.
func Run(ctx context.Context, cfg Config) Report {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	var (
		all     sync.WaitGroup
		tried   attempt
		left    leftovers
		outside outside
		router  router
	)
	all.Go(func() { tried = tryOut(ctx, cfg.Log) })
	all.Go(func() { left = findLeftovers(ctx, cfg) })
	all.Go(func() { outside = lookOutside(ctx, cfg) })
	all.Go(func() { router = askRouter(ctx) })
	var r Report
	add := func(more ...Check) { r.Checks = append(r.Checks, more...) }
	add(findKernel().judge(), findRights().judge())
	clock, underlay, ports := findClock().judge(), findUnderlay().judge(), findPorts(cfg.Listen)
	all.Wait()

	add(tried.tun.judge(), tried.guard.judge(), outside.offload.judge(), clock, underlay)
	for _, p := range ports {
		add(p.judge())
	}
	add(left.judge())
	for _, s := range outside.seeds {
		add(s.judge()...)
	}
	add(outside.nat.judge(), outside.nat.outlook(router.opens()), router.judge())
	r.NAT = NATView{Endpoints: outside.nat.endpoints(), PortMapping: router.speaks()}
	if b := outside.nat.behaviour; b.Known() {
		r.NAT.Kind, r.NAT.Description = b.String(), b.Describe()
	}
	r.Healthy = healthy(r.Checks)
	return r
}

func healthy(checks []Check) bool {
	for _, c := range checks {
		if c.Verdict == Fail {
			return false
		}
	}
	return true
}
