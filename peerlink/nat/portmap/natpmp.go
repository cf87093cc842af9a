package portmap

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	natpmp "github.com/jackpal/go-nat-pmp"
	"golang.org/x/sys/unix"
)

// natpmpSpeaker asks by NAT-PMP.
type natpmpSpeaker struct {
	gw  Gateway
	cfg *Config
}

// findNATPMP returns a speaker if the router tells its external address.
func findNATPMP(ctx context.Context, gw Gateway, cfg *Config) (*natpmpSpeaker, error) {
	s := &natpmpSpeaker{gw: gw, cfg: cfg}
	_, err := s.external(ctx)
	return s, err
}

func (s *natpmpSpeaker) Protocol() Protocol { return NATPMP }

// Map asks for the port and for the address, which the first answer lacks.
func (s *natpmpSpeaker) Map(ctx context.Context, p Port, external netip.AddrPort) (grant, error) {
	address, err := s.external(ctx)
	if err != nil {
		return grant{}, err
	}
	var r *natpmp.AddPortMappingResult
	err = s.try(ctx, func(c *natpmp.Client) (err error) {
		r, err = c.AddPortMapping(p.Network.String(), int(p.Number), int(external.Port()), int(s.cfg.seconds()))
		return err
	})
	if err != nil {
		return grant{}, err
	}
	return grant{
		external: netip.AddrPortFrom(address, r.MappedExternalPort),
		lifetime: time.Duration(r.PortMappingLifetimeInSeconds) * time.Second,
		timed:    true, epoch: r.SecondsSinceStartOfEpoc,
	}, nil
}

// Unmap asks for no time at all (RFC 6886, 3.4).
func (s *natpmpSpeaker) Unmap(ctx context.Context, p Port, _ grant) error {
	return s.try(ctx, func(c *natpmp.Client) error {
		_, err := c.AddPortMapping(p.Network.String(), int(p.Number), 0, 0)
		return err
	})
}

func (s *natpmpSpeaker) external(ctx context.Context) (address netip.Addr, err error) {
	err = s.try(ctx, func(c *natpmp.Client) error {
		r, err := c.GetExternalAddress()
		if err == nil {
			address = netip.AddrFrom4(r.ExternalIPAddress)
		}
		return err
	})
	return address, err
}

// tryFor bounds one question, which cannot be interrupted, and by that the time
// for which the end of the actor may be held up.
const tryFor = 180 * time.Millisecond

// try asks up to four times, until there is an answer.
func (s *natpmpSpeaker) try(ctx context.Context, ask func(*natpmp.Client) error) (err error) {
	for range 4 {
		wait := tryFor
		if end, ok := ctx.Deadline(); ok {
			wait = min(wait, time.Until(end))
		}
		if wait <= 0 || ctx.Err() != nil {
			return errSilent
		}
		began := time.Now()
		c := natpmp.NewClientWithLocalAndTimeout(net.IP(s.gw.Address.AsSlice()), net.IP(s.gw.Source.AsSlice()), wait)
		if err = ask(c); err == nil {
			return nil
		}
		// The library has no error of its own for silence.
		if time.Since(began) < wait {
			if errors.Is(err, unix.ECONNREFUSED) {
				return unreachable(err)
			}
			return err
		}
	}
	return errSilent
}
