// Package link moves whole IP packets between this process and the network
// interfaces, beside the kernel's own TCP/IP stack: it finds the next hop of a
// destination and keeps it up to date ([Resolver], [NextHop]), sends segments
// and super-segments ([Sender]), and receives them ([Tap]). It knows packets
// and ports, but nothing of the state of a TCP connection.
package link

import (
	"context"
	"errors"
	"net/netip"

	"github.com/hashicorp/go-hclog"
)

// ErrNoRoute is returned where there is no way to the destination at present.
var ErrNoRoute = errors.New("no route")

// Resolver finds next hops and keeps them up to date by watching the kernel's
// routes, neighbours, links and addresses. Its sockets belong to the network
// namespace of the thread that called [NewResolver].
type Resolver struct{ log hclog.Logger }

// NewResolver opens the netlink sockets. [Resolver.Run] must run for handles to
// be kept up to date.
func NewResolver(log hclog.Logger) (*Resolver, error) { return nil, errors.ErrUnsupported }

// Run watches the kernel until ctx ends. It returns nil then.
func (r *Resolver) Run(ctx context.Context) error { return errors.ErrUnsupported }

// Lookup returns the handle for dst. Handles are shared: the same one is
// returned as long as anybody holds it. An error means that the kernel could
// not be asked; if there is merely no route, the handle is not Ready.
func (r *Resolver) Lookup(dst netip.Addr) (*NextHop, error) {
	return r.LookupFrom(netip.Addr{}, dst)
}

// LookupFrom is Lookup for packets whose source address is fixed, so that
// source-based policy routing finds the right interface.
func (r *Resolver) LookupFrom(src, dst netip.Addr) (*NextHop, error) {
	return nil, errors.ErrUnsupported
}

// Refuse keeps every next hop off the interface of that name, whatever the
// routes say: our own TUN device, so that the underlay never enters the tunnel.
// The interface need not exist yet.
func (r *Resolver) Refuse(ifname string) {}

// Close releases the sockets.
func (r *Resolver) Close() error { return nil }
