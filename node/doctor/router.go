package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/openbmx/lightweight-tunnel/peerlink/nat/portmap"
)

// router is the one of the default route, and what it speaks.
type router struct {
	address netip.Addr // of the router
	source  netip.Addr // of this host
	offers  []portmap.Offer
	err     error // there is none
}

func askRouter(ctx context.Context) router {
	gateway, offers, err := portmap.Discover(ctx)
	return router{gateway.Address, gateway.Source, offers, err}
}

// speaks are the protocols that are answered.
func (r router) speaks() []string {
	all := []string{}
	for _, o := range r.offers {
		if o.Err == nil {
			all = append(all, string(o.Protocol))
		}
	}
	return all
}

// behind is the router's own address outside if it is no public one.
func (r router) behind() netip.Addr {
	for _, o := range r.offers {
		if o.Err == nil && o.External.IsValid() && !portmap.Public(o.External) {
			return o.External
		}
	}
	return netip.Addr{}
}

// opens says whether a port may be had that the internet can reach.
func (r router) opens() bool { return len(r.speaks()) > 0 && !r.behind().IsValid() }

func (r router) judge() Check {
	c := Check{Name: "port mapping", Verdict: OK}
	switch {
	case r.err != nil:
		c.Found = r.err.Error()
	case r.source.IsValid() && portmap.Public(r.source):
		c.Found = fmt.Sprintf("not needed: this host's own address %s is public", r.source)
	case r.behind().IsValid():
		c.Verdict = Warn
		c.Found = fmt.Sprintf("the router %s answers to %s and is itself behind NAT: its address outside, %s, is not public",
			r.address, strings.Join(r.speaks(), ", "), r.behind())
		c.Fix = "ask the provider for a public address, or forward a port on the outer router too"
	case r.opens():
		c.Found = fmt.Sprintf("the router %s opens ports by %s", r.address, strings.Join(r.speaks(), ", "))
		if external := r.external(); external.IsValid() {
			c.Found += "; its address outside is " + external.String()
		}
	default:
		c.Verdict, c.Found = Warn, fmt.Sprintf("the router %s opens no ports: %s", r.address, r.reasons())
		c.Fix = "switch on UPnP, NAT-PMP or PCP there, or forward a UDP port by hand and name it with -p2p-port; direct paths often work without"
	}
	return c
}

func (r router) external() netip.Addr {
	for _, o := range r.offers {
		if o.Err == nil && o.External.IsValid() {
			return o.External
		}
	}
	return netip.Addr{}
}

// reasons says what came of each protocol.
func (r router) reasons() string {
	var silent, said []string
	for _, o := range r.offers {
		switch {
		case o.Silent():
			silent = append(silent, string(o.Protocol))
		case o.Err != nil && !errors.Is(o.Err, context.Canceled):
			said = append(said, fmt.Sprintf("%s: %v", o.Protocol, o.Err))
		}
	}
	if len(silent) > 0 {
		said = append(said, "no answer to "+strings.Join(silent, ", "))
	}
	return strings.Join(said, "; ")
}
