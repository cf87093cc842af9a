package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
)

// natted is how this host looks from outside.
type natted struct {
	public    bool // public servers were asked
	seeds     bool // seeds were
	servers   []nat.Server
	silent    []string // public servers that did not answer, and why
	behaviour nat.Behaviour
	mapped    []netip.AddrPort
	err       error
}

// public is what one public server said.
type public struct {
	name   string
	answer answer
	err    error
}

// askPublic asks the addresses of a server and returns the first that answers.
func (a *asker) askPublic(ctx context.Context, name string) public {
	addresses, err := lookup(ctx, name)
	if err != nil {
		return public{name: name, err: fmt.Errorf("cannot be resolved: %w", err)}
	}
	answers := make(chan public, len(addresses))
	for _, to := range addresses {
		go func() {
			mapped, rtt, err := a.ask(ctx, question{to: to})
			answers <- public{name, answer{to, mapped, rtt}, err}
		}()
	}
	last := public{name: name, err: errSilent}
	var v6 public
	for range addresses {
		last = <-answers
		switch {
		case last.err == nil && last.answer.Addr.Addr().Is4():
			return last // NAT is a matter of IPv4
		case last.err == nil:
			v6 = last
		}
	}
	if v6.answer.Addr.IsValid() {
		return v6
	}
	return public{name: name, err: last.err}
}

// enough is how many servers a survey asks.
const enough = 4

func (n *natted) take(p public) {
	if p.err != nil {
		n.silent = append(n.silent, fmt.Sprintf("%s (%s)", p.name, words(p.err)))
		return
	}
	if len(n.servers) < enough {
		n.servers = append(n.servers, nat.Server{Name: p.name, Addr: p.answer.Addr})
	}
}

// survey has the prober find out what the servers can tell.
func (n *natted) survey(ctx context.Context, a *asker, log hclog.Logger) {
	if len(n.servers) == 0 {
		return
	}
	p, err := nat.New(nat.Config{
		Seal: a.seal, Pather: a.transport, Detect: true, Log: log,
		Servers: func() []nat.Server { return n.servers },
	})
	if err != nil {
		n.err = err
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	a.prober.Store(p)
	running.Go(func() { _ = actors.NewSupervisor("doctor", actors.Policy{}, p.Spec()).Run(ctx) })
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for ctx.Err() == nil && p.Report().Ended.IsZero() {
		select {
		case <-ctx.Done():
		case <-look.C:
		}
	}
	cancel()
	running.Wait()
	r := p.Report()
	n.behaviour = r.Behaviour
	for _, m := range []netip.AddrPort{r.Mapped4, r.Mapped6} {
		if m.IsValid() {
			n.mapped = append(n.mapped, m)
		}
	}
}

func (n natted) endpoints() []string {
	all := []string{}
	for _, m := range n.mapped {
		all = append(all, m.String())
	}
	return all
}

func (n natted) judge() Check {
	c := Check{Name: "nat", Verdict: Warn}
	silent := strings.Join(n.silent, ", ")
	switch {
	case n.err != nil:
		c.Found, c.Fix = fmt.Sprintf("cannot be found out: %v", n.err), "mend what is said there"
	case !n.public && !n.seeds:
		c.Found = "not looked at: there is nobody to ask"
		c.Fix = "give --seed HOST:PORT and --key-file FILE to ask a node of the mesh, or allow public servers (no --stun none)"
	case n.behaviour.Known():
		c.Verdict, c.Found = OK, n.behaviour.Describe()
		if n.behaviour.Forgets() {
			c.Found += ", mapping lifetime unknown (only a running node has the time to measure it)"
		}
		if len(n.mapped) > 0 {
			c.Found += "; seen as " + strings.Join(n.endpoints(), " and ")
		}
	case len(n.servers) == 0:
		c.Found = "not known: nobody answers over UDP"
		if silent != "" {
			c.Found += "; asked " + silent
		}
		c.Fix = "let UDP out in this network's firewall; without it fake TCP is used, and direct paths are fewer. " +
			"If this host has no internet this is as it must be"
		if !n.public {
			c.Fix = "see seed; if all is well there, let UDP out in this network's firewall"
		}
	case len(n.mapped) > 0:
		c.Found = fmt.Sprintf("not known: one server alone cannot tell; seen as %s", strings.Join(n.endpoints(), " and "))
		c.Fix = "give --seed HOST:PORT and --key-file FILE, or more servers with --stun"
	default:
		c.Found, c.Fix = "not known: answers came too late or not at all", "try again on a quieter line"
	}
	return c
}

// outlook says what the behaviour means for direct paths; opens: the router opens
// ports if it is asked.
func (n natted) outlook(opens bool) Check {
	c := Check{Name: "direct paths", Verdict: OK}
	b := n.behaviour
	switch {
	case !b.Known():
		c.Verdict, c.Found, c.Fix = Warn, "not known, as the NAT is not", "see nat"
	case b.Reachable():
		c.Found = "with everybody: this host can be reached from outside"
	case opens:
		c.Found = "with everybody, by the port that the router opens while a node runs"
	case b.Random():
		c.Verdict = Warn
		c.Found = "with hosts that can be reached from outside and full or address-restricted cones; " +
			"with port-restricted NAT by a search that mostly succeeds; with another symmetric NAT through a relay"
		c.Fix = "have the router open a port: switch on UPnP, NAT-PMP or PCP there, or forward a UDP port and name it with -p2p-port"
	case b.Symmetric():
		c.Found = "with all but symmetric NAT with random ports, which take a relay: the ports of this one can be predicted"
	case b.Filtering == nat.AddressDependent || b.Filtering == nat.EndpointIndependent:
		c.Found = "with everybody"
	default:
		c.Found = "with every NAT but symmetric with random ports, where a search mostly succeeds and a relay serves otherwise"
	}
	return c
}
