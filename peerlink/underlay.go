package peerlink

import (
	"net/netip"
	"slices"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// underlay knows the addresses on which this node's own datagrams travel: those
// of its seeds, dialled or not, and of the paths in use. Routes must not lead
// them into the tunnel unasked, so the route table is told. It belongs to the
// peers actor.
type underlay struct {
	routes actors.Ref[message.ToRoutes]
	seeds  map[string][]netip.Addr // by HOST:PORT, as resolved last
	told   []netip.Addr
}

// resolved tells the peers actor what a seed's name stands for now.
type resolved struct {
	seed      string
	addresses []netip.Addr
}

// ToPeers seals the type.
func (resolved) ToPeers() {}

// tell gives the route table the present set if it changed. An offer that is
// refused is made again with the next call.
func (u *underlay) tell(peers []*Peer) {
	var now []netip.Addr
	for _, addresses := range u.seeds {
		now = append(now, addresses...)
	}
	for _, p := range peers {
		if out := p.Outbound(); out != nil {
			if a := out.path.Remote().Addr(); a.IsValid() {
				now = append(now, a.Unmap())
			}
		}
	}
	slices.SortFunc(now, netip.Addr.Compare)
	now = slices.Compact(now)
	if !slices.Equal(now, u.told) && u.routes.Offer(message.Protect{Underlay: slices.Clone(now)}) {
		u.told = now
	}
}
