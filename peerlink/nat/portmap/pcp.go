package portmap

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/openbmx/lightweight-tunnel/peerlink/nat/portmap/pcp"
)

// controlPort is where PCP and NAT-PMP servers listen.
const controlPort = 5351

// A server in the same house answers within milliseconds; RFC 6887, 8.1.1, which
// waits 3 seconds at first and never gives up, has carriers' servers in mind.
var patience = []time.Duration{200 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond}

// pcpSpeaker asks by PCP.
type pcpSpeaker struct {
	gw     Gateway
	cfg    *Config
	nonces nonces
}

// findPCP returns a speaker if the router answers an ANNOUNCE.
func findPCP(ctx context.Context, gw Gateway, cfg *Config, n nonces) (*pcpSpeaker, error) {
	s := &pcpSpeaker{gw: gw, cfg: cfg, nonces: n}
	_, err := s.ask(ctx, pcp.AppendAnnounce(nil, gw.Source), func(r pcp.Response) bool {
		return r.Opcode == pcp.OpAnnounce
	})
	if err != nil && !errors.Is(err, pcp.UnsuppOpcode) { // it can map, who knows
		return nil, err
	}
	return s, nil
}

func (s *pcpSpeaker) Protocol() Protocol { return PCP }

// Map opens or renews: to PCP this is one question.
func (s *pcpSpeaker) Map(ctx context.Context, p Port, external netip.AddrPort) (grant, error) {
	r, err := s.request(ctx, p, external, s.cfg.seconds())
	if err != nil {
		return grant{}, err
	}
	return grant{
		external: r.Map.External, lifetime: time.Duration(r.Seconds) * time.Second,
		timed: true, epoch: r.Epoch,
	}, nil
}

// Unmap asks for no time at all (RFC 6887, 15).
func (s *pcpSpeaker) Unmap(ctx context.Context, p Port, _ grant) error {
	_, err := s.request(ctx, p, netip.AddrPort{}, 0)
	return err
}

func (s *pcpSpeaker) request(ctx context.Context, p Port, external netip.AddrPort, seconds uint32) (pcp.Response, error) {
	want := pcp.Map{Nonce: s.nonces.of(s.gw.Address, p), Protocol: uint8(p.Network), Internal: p.Number, External: external}
	return s.ask(ctx, pcp.AppendMap(nil, s.gw.Source, seconds, want), func(r pcp.Response) bool {
		if r.Result != pcp.Success {
			return r.Opcode == pcp.OpMap
		}
		return r.Opcode == pcp.OpMap && r.Map.Nonce == want.Nonce && r.Map.Protocol == want.Protocol && r.Map.Internal == want.Internal
	})
}

// ask sends a request, several times if need be, and returns the answer that
// fits. An error that the router reports is a [pcp.Result].
func (s *pcpSpeaker) ask(ctx context.Context, request []byte, fits func(pcp.Response) bool) (pcp.Response, error) {
	conn, err := s.gw.dial(ctx, "udp4", controlPort)
	if err != nil {
		return pcp.Response{}, fmt.Errorf("open a socket: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, 2048)
	for _, wait := range patience {
		_ = conn.SetDeadline(time.Now().Add(wait))
		if ctx.Err() != nil { // after the deadline is set: see AfterFunc
			break
		}
		if _, err := conn.Write(request); err != nil {
			return pcp.Response{}, unreachable(err)
		}
		for {
			n, err := conn.Read(buf)
			if isTimeout(err) {
				break
			}
			if err != nil {
				return pcp.Response{}, unreachable(err)
			}
			r, err := pcp.ParseResponse(buf[:n])
			if errors.Is(err, pcp.ErrVersion) {
				return pcp.Response{}, err
			}
			if err != nil || !fits(r) {
				continue
			}
			if r.Result != pcp.Success {
				return r, r.Result
			}
			return r, nil
		}
	}
	return pcp.Response{}, errSilent
}

// unreachable turns the router's refusal (an ICMP error) into what it means.
func unreachable(err error) error { return fmt.Errorf("%w (%w)", errSilent, err) }

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// nonces makes the nonce of a mapping from a key, so that it need not be kept.
type nonces [sha256.Size]byte

func (n nonces) of(gw netip.Addr, p Port) (nonce pcp.Nonce) {
	sum := hmac.New(sha256.New, n[:])
	fmt.Fprintf(sum, "PCP nonce %s %s %d", gw, p.Network, p.Number)
	copy(nonce[:], sum.Sum(nil))
	return nonce
}
