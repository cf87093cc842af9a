package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat/portmap"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

// hostAddresses returns the addresses of the machine's interfaces but device.
func hostAddresses(device string) func() []netip.Addr {
	return func() []netip.Addr {
		all, _ := nat.HostAddresses(device) // what cannot be listed is no candidate
		return all
	}
}

// hostChanges watches the machine's addresses and default routes, but for those of
// device: the node's own routes leave the default one in its place.
func hostChanges(device string) func(ctx context.Context, changed func()) error {
	addresses := hostAddresses(device)
	return func(ctx context.Context, changed func()) error {
		watcher, err := link.NewWatcher()
		if err != nil {
			return fmt.Errorf("watch the host's addresses: %w", err)
		}
		defer watcher.Close()
		known := addresses()
		return watcher.Watch(ctx, nil, nil, func(c link.Change) {
			other := c.Default
			if c.Links || c.Local { // or told once more of what we know, as by each router advert
				now := addresses()
				other = other || !slices.Equal(now, known)
				known = now
			}
			if other {
				changed()
			}
		})
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
