package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/gossip"
	"github.com/openbmx/lightweight-tunnel/node/control"
	"github.com/openbmx/lightweight-tunnel/node/pump"
	"github.com/openbmx/lightweight-tunnel/peerlink"
	"github.com/openbmx/lightweight-tunnel/peerlink/keys"
	"github.com/openbmx/lightweight-tunnel/routes"
)

// specs is the tree of a node's actors, in the order in which they start; they
// stop in the reverse one.
//
//	node (one-for-one)
//	|- keys            who may be in the mesh, under which addresses
//	|- routes          adverts and links -> FIB, kernel routes
//	|- rx/0            inbound pump
//	|- transport       handshakes and timers of the fake TCP
//	|- udp             idle paths and routes of UDP
//	|- nat             how this node looks from outside
//	|- portmap         asks the router for a port
//	|- host            watches the host's addresses
//	|- links           supervisor
//	|  |- peers        directory: handshakes of others, starts and stops the rest
//	|  |- seed/<addr>  one per seed: dials until it is reached
//	|  '- link/<id>    one per peer: rekey, keepalive, path, staging
//	|- tun/<n>         outbound pumps, one per queue
//	|- mtu             of the device, follows the paths (-mtu 0)
//	|- gossip          memberlist
//	'- control         socket for the command line
//
// The pumps stand around the links so that a goodbye still finds its way out.
func (n *Node) specs() []actors.Spec {
	all := []actors.Spec{
		n.permanent("keys", n.keysBox, n.newKeys),
		n.permanent("routes", n.routesBox, n.newRoutes),
		n.permanent("rx/0", nil, n.newInbound),
		n.permanent("transport", nil, func() (actors.Actor, error) { return n.Underlay, nil }),
		n.prober.Spec(),
		n.peers.Spec(actors.Policy{
			MaxRestarts: 100, Window: time.Minute, Observe: n.observe,
			Backoff: actors.Backoff{Min: 10 * time.Millisecond, Max: 5 * time.Second},
		}),
	}
	if n.UDP != nil {
		all = append(all, n.permanent("udp", nil, func() (actors.Actor, error) { return n.UDP, nil }))
	}
	if n.PortMap != nil {
		all = append(all, n.permanent("portmap", nil, func() (actors.Actor, error) { return n.PortMap, nil }))
	}
	if n.Changes != nil {
		all = append(all, n.permanent("host", nil, func() (actors.Actor, error) { return hostWatch{n}, nil }))
	}
	for i, q := range n.Overlay.Queues() {
		all = append(all, n.permanent(fmt.Sprintf("tun/%d", i), nil, func() (actors.Actor, error) {
			return pump.NewOutbound(n.shared(), q, q.Sink()), nil
		}))
	}
	if o, ok := n.Overlay.(interface{ SetMTU(int) error }); ok && n.cfg.MTU == 0 {
		all = append(all, n.permanent("mtu", nil, func() (actors.Actor, error) { return n.newMTU(o), nil }))
	}
	all = append(all, n.permanent("gossip", n.gossipBox, n.newGossip))
	if n.Socket != nil {
		all = append(all, n.permanent("control", nil, n.newControl))
	}
	return all
}

// permanent makes a spec of a constructor that may fail, which is then the
// actor's failure.
func (n *Node) permanent(name string, box actors.Gauge, make func() (actors.Actor, error)) actors.Spec {
	return actors.Spec{Name: name, Permanent: true, Mailbox: box, New: func() actors.Actor {
		a, err := make()
		if err != nil {
			return failed{err}
		}
		return a
	}}
}

// failed is an actor that could not be made.
type failed struct{ err error }

func (f failed) Run(context.Context) error { return f.err }

func (n *Node) newKeys() (actors.Actor, error) {
	most := n.cfg.MaxClients
	if !n.cfg.MultiClient {
		most = 1
	}
	return keys.NewManager(keys.ManagerConfig{
		Book: n.Book, Mailbox: n.keysBox, MaxClients: most, Log: n.log.Named("keys"),
		Self: keys.Self{ID: n.hello.ID, Name: n.cfg.Name, Addresses: n.cfg.Addresses},
	})
}

func (n *Node) newRoutes() (actors.Actor, error) {
	return routes.New(routes.Config{
		Own: routes.Own{
			ID: n.hello.ID, Name: n.cfg.Name, Addresses: n.cfg.Addresses,
			Local: n.cfg.Routes, Accept: n.cfg.AcceptRoutes,
		},
		Mailbox: n.routesBox, Published: &n.routes, Host: n.Host, Forwarding: n.Forwarding,
		Interval: n.cfg.RouteUpdate, Log: n.log.Named("routes"),
	})
}

func (n *Node) newGossip() (actors.Actor, error) {
	bind := n.cfg.Addresses[0].Addr()
	return gossip.New(gossip.Config{
		Identity: n.Identity.Signer(), Bind: bind, Device: n.Overlay.Name(),
		Self:      n.advert(),
		SecretKey: n.MeshKey.Derive("gossip"), MTU: min(n.MTU(), firstMTU), NewTransport: n.Gossip, Admits: n.admits,
		Mailbox: n.gossipBox, Board: n.board, Log: n.log.Named("gossip"),
		Peers: n.peers.Ref(), Routes: n.routesBox.Ref(), Keys: n.keysBox.Ref(),
	})
}

// admits is the roster's word on what a node advertises.
func (n *Node) admits(a message.Advert) string {
	self := keys.Self{ID: n.hello.ID, Name: n.cfg.Name, Addresses: n.cfg.Addresses}
	return n.Book.Roster().Refuses(self, a.ID, a.Name, a.Addresses)
}

func (n *Node) newInbound() (actors.Actor, error) {
	return pump.NewInbound(n.shared(), n.Underlay, n.Overlay.Queues()[0].Sink(), n.Overlay.USO()), nil
}

func (n *Node) newControl() (actors.Actor, error) {
	return control.New(control.Config{Socket: n.Socket, Source: source{n}, Log: n.log.Named("control")})
}

// shared is what every pump of this node looks at.
func (n *Node) shared() pump.Shared {
	return pump.Shared{
		Peers: n.peers, FIB: n.routes.FIB, Repair: n.repair, Memory: n.pumps, Drops: &n.drops,
		Wanted: func(id message.NodeID) { n.peers.Ref().Offer(message.Wanted{Node: id}) },
		Failed: func(p *peerlink.Peer, err error) {
			if p == nil {
				n.log.Error("a pump failed at a packet of no known peer", "reason", err)
				return
			}
			n.peers.Fail(p, err)
		},
		Self4: n.overlayAddress(false), Self6: n.overlayAddress(true),
	}
}

// orderly says that an actor's context ended because the node stops, not
// because the actor was made to fail.
func orderly(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return errors.Is(cause, actors.ErrStopped) || errors.Is(cause, context.Canceled)
}
