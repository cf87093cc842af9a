package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/node/config"
	"github.com/openbmx/lightweight-tunnel/peerlink/udp"
	"github.com/openbmx/lightweight-tunnel/rawtcp"
)

// transports are those of a machine, as the node sees them: fake TCP, UDP, or
// both behind one Receive.
type transports struct {
	raw *rawtcp.Transport // nil: transport udp
	udp *udp.Transport    // nil: transport rawtcp, or it cannot be had
	packet.Receiver
	both *receivers // nil: there is one only
}

// stunHook is [udp.Config.STUN].
type stunHook func(message []byte, path packet.Path) bool

func openTransports(cfg config.Config, device string, stun stunHook, log hclog.Logger) (_ *transports, err error) {
	t, memory := &transports{}, divide(cfg.Memory)
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	if cfg.Transport != "udp" {
		t.raw, err = rawtcp.New(rawtcp.Config{
			Listen: cfg.Listen, Log: log.Named("rawtcp"), DisableBPF: !cfg.XDP,
			ExcludeInterfaces: []string{device}, Owner: device, DialTimeout: dialTimeout,
			ReceiveRing: memory.ring, ReceiveBuffer: memory.receive, SendBuffer: memory.send,
		})
		if err != nil {
			return nil, err
		}
		t.Receiver = t.raw
	}
	if cfg.Transport == "rawtcp" {
		return t, nil
	}
	t.udp, err = openUDP(cfg, device, stun, log)
	switch {
	case err != nil && t.raw == nil:
		return nil, err
	case err != nil:
		log.Warn("no UDP here: seeds and peers are reached by fake TCP only", "reason", err)
		return t, nil
	case t.raw == nil:
		t.Receiver = t.udp
		return t, nil
	}
	if t.both, err = newReceivers(t.raw, t.udp); err != nil {
		return nil, err
	}
	t.Receiver = t.both
	return t, nil
}

// openUDP opens the port that the user names; otherwise that of fake TCP, so that
// one address serves both; otherwise any.
func openUDP(cfg config.Config, device string, stun stunHook, log hclog.Logger) (*udp.Transport, error) {
	memory := divide(cfg.Memory)
	c := udp.Config{ReceiveBuffer: memory.receive, SendBuffer: memory.send, Port: uint16(cfg.P2PPort), Log: log.Named("udp"), ExcludeInterfaces: []string{device}, STUN: stun,
		RoutesElsewhere: cfg.Transport != "udp"}
	for _, a := range cfg.Listen {
		c.Listen = append(c.Listen, a.Addr())
		if c.Port == 0 {
			c.Port = a.Port()
		}
	}
	t, err := udp.New(c)
	if errors.Is(err, unix.EADDRINUSE) && cfg.P2PPort == 0 && cfg.Transport == "auto" {
		log.Warn("another program has the UDP port of the listening address: direct paths use another port; name one with -p2p-port",
			"port", c.Port, "reason", err)
		c.Port = 0
		t, err = udp.New(c)
	}
	return t, err
}

// Dial tries fake TCP first and, where that gets no answer, UDP.
func (t *transports) Dial(remote netip.AddrPort, done func(packet.Path, error)) (cancel func()) {
	switch {
	case t.raw == nil:
		return t.udp.Dial(remote, done)
	case t.udp == nil:
		return t.raw.Dial(remote, done)
	}
	return t.raw.Dial(remote, func(p packet.Path, err error) {
		if err == nil || errors.Is(err, net.ErrClosed) {
			done(p, err)
			return
		}
		t.udp.Dial(remote, func(p packet.Path, other error) {
			if other != nil {
				other = err // that of fake TCP says more
			}
			done(p, other)
		})
	})
}

// Run closes fake TCP in an orderly stop, as long as the inbound pump still takes
// the answers to its FINs.
func (t *transports) Run(ctx context.Context) error {
	if t.raw == nil {
		<-ctx.Done()
		return nil
	}
	err := t.raw.Run(ctx)
	if orderly(ctx) {
		if err := t.raw.Close(); err != nil {
			return fmt.Errorf("close connections: %w", err)
		}
	}
	return err
}

func (t *transports) close() (err error) {
	if t.both != nil {
		err = t.both.Close()
	}
	if t.raw != nil {
		err = errors.Join(err, t.raw.Close())
	}
	if t.udp != nil {
		err = errors.Join(err, t.udp.Close())
	}
	return err
}

// Drops implements [Underlay]; those of UDP are counted by its own part.
func (t *transports) Drops() map[string]uint64 {
	if t.raw == nil {
		return nil
	}
	return t.raw.Drops()
}

// Describe implements [Underlay].
func (t *transports) Describe() Transport {
	if t.raw == nil {
		return Transport{Guard: "none is needed: no fake TCP"}
	}
	s := t.raw.Status()
	return Transport{Guard: s.Guard, Send: s.Send, Receive: s.Receive, Listen: s.Listen, Reasons: s.Reasons}
}

// cross is fake TCP as the way through NATs; nil without it.
func (t *transports) cross() packet.Crosser {
	if t.raw == nil {
		return nil
	}
	return t.raw
}

// datagrams is UDP as the node sees it; nil without it.
func (t *transports) datagrams() Datagrams {
	if t.udp == nil {
		return nil
	}
	return machineUDP{t.udp}
}

type machineUDP struct{ *udp.Transport }

func (u machineUDP) Drops() map[string]uint64 {
	drops := map[string]uint64{}
	for reason, n := range u.Transport.Drops() {
		drops["udp_"+strings.TrimPrefix(reason, "udp_")] = n
	}
	return drops
}

func (u machineUDP) Describe() Transport {
	s := u.Status()
	t := Transport{Send: s.Send, Receive: s.Receive}
	for _, listen := range []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), s.Port4), netip.AddrPortFrom(netip.IPv6Unspecified(), s.Port6)} {
		if listen.Port() != 0 {
			t.Listen = append(t.Listen, listen)
		}
	}
	return t
}
