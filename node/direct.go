package node

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/gossip"
	"github.com/openbmx/lightweight-tunnel/peerlink"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
	"github.com/openbmx/lightweight-tunnel/peerlink/punch"
)

// Datagrams is the seam towards the network for UDP, beside [Underlay]. Whatever
// arrives there comes out of the Underlay's Receive: one pump serves both.
type Datagrams interface {
	packet.Pather
	// Run keeps the transport going until ctx ends. It can be run again.
	Run(ctx context.Context) error
	Drops() map[string]uint64
	Describe() Transport
}

// PortMapping is what asks the router for ports.
type PortMapping interface {
	actors.Actor
	// External is what the router forwards to the node's UDP port; not valid if
	// there is no such thing. Any goroutine may call it.
	External() netip.AddrPort
	// Problem says in words why there is none; "" if nothing is wrong.
	Problem() string
}

// udpPort is the IPv4 port on which UDP is served; 0: none.
func (p Parts) udpPort() uint16 {
	if p.UDP == nil {
		return 0
	}
	return p.UDP.Port(false)
}

// newProber makes the actor that finds out how this node looks from outside.
func (n *Node) newProber() (err error) {
	cfg := nat.Config{
		Seal: func(body []byte, limit int) []byte { return n.peers.SealSTUN(body, limit) },
		// Without a direct path in mind nobody needs to know.
		Detect: n.cfg.NATDetection && n.cfg.P2P && (n.UDP != nil || n.Cross != nil), Servers: n.stunServers, Public: n.cfg.STUN,
		Crosser: n.Cross, TCPServers: func() []nat.Server { return n.seedsBy(packet.RawTCP) },
		Hosts: n.Hosts, Log: n.log.Named("nat"),
		OnChange: func(*nat.Report) {
			n.peers.LocalChanged()
			n.publish()
		},
	}
	if n.UDP != nil {
		cfg.Pather = n.UDP
	}
	if cfg.Hosts == nil {
		cfg.Hosts = func() []netip.Addr { return nil }
	}
	if len(cfg.Public) == 0 && !n.cfg.STUNOff {
		cfg.Public = nat.DefaultPublic()
	}
	if len(n.cfg.Listen) > 0 && n.Cross != nil {
		cfg.TCPPort = n.cfg.Listen[0].Port()
	}
	if n.PortMap != nil {
		cfg.PortMaps = func() []nat.Candidate {
			external := n.PortMap.External()
			if !external.IsValid() {
				return nil
			}
			return []nat.Candidate{{Addr: external, Kind: message.PortMapped, Transport: packet.UDP}}
		}
	}
	n.prober, err = nat.New(cfg)
	return err
}

// direct fills in what links need to look for direct paths.
func (n *Node) direct(links *peerlink.Config) {
	links.P2P, links.NATDetection = n.cfg.P2P, n.cfg.NATDetection
	links.Warm, links.P2PTimeout = n.cfg.P2PKeepalive, n.cfg.P2PTimeout
	links.Refresh = func() time.Duration { return n.prober.Report().Lifetime.Refresh() }
	if n.UDP != nil {
		links.UDP = n.UDP
	}
	links.Cross = n.Cross
	switch n.cfg.Transport {
	case "rawtcp":
		links.Transport = packet.RawTCP
	case "udp":
		links.Transport = packet.UDP
	}
	links.STUN = n.prober.Ref()
	links.Changed = n.prober.Look // a seed may be there to ask
	links.Candidates = func() punch.Offer { return n.local(n.prober.Report()) }
	links.SeenAs = func(path packet.Path, done func(netip.AddrPort, error)) bool {
		return n.prober.Ask(path, func(a nat.Answer) { done(a.Mapped, a.Err) })
	}
}

// local is what the prober knows in the words of the search for direct paths.
func (n *Node) local(r *nat.Report) punch.Offer {
	candidates := r.Candidates
	if n.UDP == nil {
		// Nothing may listen on this node, but fake TCP can be opened from its addresses.
		candidates = slices.Clone(candidates)
		for _, a := range r.Hosts[:min(len(r.Hosts), maxSources)] {
			if a.IsGlobalUnicast() && a.Zone() == "" {
				candidates = append(candidates, nat.Candidate{Kind: message.Host, Transport: packet.RawTCP, Addr: netip.AddrPortFrom(a.Unmap(), 0)})
			}
		}
	}
	return punch.Offer{NAT: r.Behaviour, Candidates: candidates}
}

// maxSources bounds the addresses from which fake TCP is opened.
const maxSources = 6

// stunServers are the UDP endpoints of nodes that the internet can reach: the
// seeds, on the port that they are reached by, and the open ones.
func (n *Node) stunServers() []nat.Server {
	seeds, nodes := append(n.seedsBy(packet.RawTCP), n.seedsBy(packet.UDP)...), n.board.View().Nodes
	return slices.Concat(seeds, otherFamily(seeds, nodes), openNodes(nodes))
}

// otherFamily are the seeds at those of their public addresses that are not of the
// family by which they are reached: nobody sees over IPv6 how IPv4 is translated,
// and before somebody asks no seed knows that it is open.
func otherFamily(seeds []nat.Server, nodes []gossip.Node) (all []nat.Server) {
	for _, g := range nodes {
		i := slices.IndexFunc(seeds, func(s nat.Server) bool { return s.Node == g.ID })
		if i < 0 {
			continue
		}
		for _, c := range g.Candidates {
			if a := c.Addr.Addr(); c.Transport == packet.UDP && c.Kind == message.Host && punch.Public(a) && a.Is4() != seeds[i].Addr.Addr().Unmap().Is4() {
				all = append(all, nat.Server{Node: g.ID, Name: g.Name, Addr: c.Addr})
			}
		}
	}
	return all
}

// openNodes are those of whoever advertises that its socket lets everybody in or
// that the router forwards a port.
func openNodes(nodes []gossip.Node) (all []nat.Server) {
	for _, g := range nodes {
		open := message.ParseNAT(g.NAT).Reachable()
		for _, c := range g.Candidates {
			if c.Transport == packet.UDP && punch.Public(c.Addr.Addr()) && (open || c.Kind == message.PortMapped) {
				all = append(all, nat.Server{Node: g.ID, Name: g.Name, Addr: c.Addr})
			}
		}
	}
	return all
}

// seedsBy are the seeds that are reached directly by one transport, and where.
func (n *Node) seedsBy(kind packet.Kind) (all []nat.Server) {
	for _, p := range n.peers.Peers() {
		if s := p.Snapshot(); s.Seed && s.State == peerlink.Up && s.Path == kind.String() {
			if a, err := netip.ParseAddrPort(s.Endpoint); err == nil {
				all = append(all, nat.Server{Node: p.ID(), Name: s.Name, Addr: a})
			}
		}
	}
	return all
}

// publish tells the mesh where this node may be reached.
func (n *Node) publish() {
	n.gossipBox.Ref().Offer(message.Publish{Advert: n.advert()})
}

// advert is what this node says of itself.
func (n *Node) advert() message.Advert {
	a := message.Advert{
		ID: n.hello.ID, Name: n.cfg.Name, Version: n.cfg.Version, Addresses: n.cfg.Addresses,
		Routes: n.cfg.Routes, Relay: n.hello.Relay,
	}
	r := n.prober.Report()
	a.Endpoints, a.Candidates = r.Endpoints(), r.Candidates[:min(len(r.Candidates), message.MaxCandidates)]
	if r.Behaviour.Known() {
		a.NAT = r.Behaviour.Text()
	}
	return a
}

// hostWatch is the actor that tells the prober of changes of the host's
// addresses and routes.
type hostWatch struct{ n *Node }

// settle is how long changes are collected: an interface that comes up makes many.
const settle = 500 * time.Millisecond

func (h hostWatch) Run(ctx context.Context) error {
	var told time.Time // when the prober hears of what is collected now
	var tell *time.Timer
	err := h.n.Changes(ctx, func() {
		if now := time.Now(); !now.Before(told) {
			told, tell = now.Add(settle), time.AfterFunc(settle, h.n.prober.NetworkChanged)
		}
	})
	if tell != nil {
		tell.Stop()
	}
	return err
}
