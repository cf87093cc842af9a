package portmap

import (
	"context"
	"errors"
	"net/netip"
)

// Offer is what a router says in one protocol, asked without opening anything.
type Offer struct {
	Protocol Protocol
	External netip.Addr // as the router tells it; not valid if it does not
	Err      error      // why nothing can be had by this protocol; nil: it answers
}

// Silent says whether there was no answer at all.
func (o Offer) Silent() bool { return errors.Is(o.Err, errSilent) }

// Discover asks the router of the default route what it speaks, and opens no
// port. It takes no longer than a few seconds, or than ctx lets it; exclude are
// interfaces behind which there is no router to ask. The error says that there is
// no router. A host whose own address is public asks nobody: no offers.
func Discover(ctx context.Context, exclude ...string) (Gateway, []Offer, error) {
	cfg := Config{ExcludeInterfaces: exclude, Ports: []Port{{UDP, 1}}, Published: &Published{}}
	if err := cfg.complete(); err != nil {
		return Gateway{}, nil, err
	}
	s := &system{cfg: &cfg}
	gw, err := s.Gateway()
	if err != nil || public(gw.Source) {
		return gw, nil, err
	}
	var all []Offer
	for found, err := range s.Speakers(ctx, gw) {
		o := Offer{Protocol: cfg.Protocols[len(all)], Err: err}
		if err == nil {
			if knows, ok := found.(interface {
				external(context.Context) (netip.Addr, error)
			}); ok {
				o.External, o.Err = knows.external(ctx)
			}
		}
		all = append(all, o)
	}
	return gw, all, nil
}

// Public says whether the internet can reach an address.
func Public(a netip.Addr) bool { return public(a) }
