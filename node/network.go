package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/hashicorp/go-hclog"
	"github.com/vishvananda/netlink"

	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat/portmap"
)

// hostAddresses returns the addresses of the machine's interfaces but device.
func hostAddresses(device string) func() []netip.Addr {
	return func() []netip.Addr {
		all, _ := nat.HostAddresses(device) // what cannot be listed is no candidate
		return all
	}
}

// hostChanges tells of addresses and default routes that come and go, but for
// those of device.
func hostChanges(device string) func(f func()) (stop func(), err error) {
	return func(f func()) (func(), error) {
		addresses, routes := make(chan netlink.AddrUpdate, 16), make(chan netlink.RouteUpdate, 16)
		done := make(chan struct{})
		if err := netlink.AddrSubscribe(addresses, done); err != nil {
			close(done)
			return nil, fmt.Errorf("watch addresses: %w", err)
		}
		if err := netlink.RouteSubscribe(routes, done); err != nil {
			close(done)
			return nil, fmt.Errorf("watch routes: %w", err)
		}
		own := func(index int) bool {
			i, err := net.InterfaceByName(device)
			return err == nil && i.Index == index
		}
		go func() {
			for u := range addresses {
				if !own(u.LinkIndex) {
					f()
				}
			}
		}()
		go func() {
			for u := range routes {
				isDefault := u.Dst == nil
				if u.Dst != nil {
					ones, _ := u.Dst.Mask.Size()
					isDefault = ones == 0
				}
				if isDefault && !own(u.LinkIndex) {
					f()
				}
			}
		}()
		return func() { close(done) }, nil
	}
}

// portMapping is the part of a machine's node that asks the router for a port.
type portMapping struct {
	cfg       portmap.Config
	published portmap.Published
}

func newPortMapping(port uint16, device string, secret []byte, changed func(), log hclog.Logger) *portMapping {
	p := &portMapping{}
	p.cfg = portmap.Config{
		Ports: []portmap.Port{{Network: portmap.UDP, Number: port}}, Published: &p.published, Changed: changed,
		ExcludeInterfaces: []string{device}, Secret: secret, Log: log,
	}
	return p
}

func (p *portMapping) Run(ctx context.Context) error {
	m, err := portmap.New(p.cfg)
	if err != nil {
		return err
	}
	return m.Run(ctx)
}

func (p *portMapping) External() netip.AddrPort {
	return p.published.State().External(p.cfg.Ports[0])
}

func (p *portMapping) Problem() string { return p.published.State().Problem }
