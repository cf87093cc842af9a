package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/gossip"
	"github.com/openbmx/lightweight-tunnel/node/config"
	"github.com/openbmx/lightweight-tunnel/node/control"
	"github.com/openbmx/lightweight-tunnel/peerlink"
)

// source answers the control socket. It only reads snapshots and sends messages.
type source struct{ n *Node }

var _ control.Source = source{}

// Peers joins what gossip sees with what the links know. A node that only one
// of them knows is shown too.
func (s source) Peers() control.PeersView {
	view := control.PeersView{Self: s.self(), Peers: []control.PeerView{}}
	links := map[message.NodeID]peerlink.Snapshot{}
	for _, p := range s.n.peers.Peers() {
		links[p.ID()] = p.Snapshot()
	}
	now := time.Now()
	for _, g := range s.n.board.View().Nodes {
		l, linked := links[g.ID]
		delete(links, g.ID)
		view.Peers = append(view.Peers, seenByGossip(g, l, linked, now))
	}
	for _, l := range links {
		view.Peers = append(view.Peers, seenByLink(l, now))
	}
	slices.SortFunc(view.Peers, func(a, b control.PeerView) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return view
}

func seenByGossip(g gossip.Node, l peerlink.Snapshot, linked bool, now time.Time) control.PeerView {
	p := control.PeerView{
		Name: g.Name, ID: g.ID.String(), Addresses: hosts(g.Addresses), State: string(g.State),
		LastSeenS: max(now.Sub(g.LastSeen).Seconds(), 0), Version: g.Version, NAT: natWord(g.NAT),
		Routes: texts(g.Routes), Seed: l.Seed, Link: control.LinkView{State: control.Down},
	}
	if linked {
		p.Link = linkView(l, now)
		if l.LastReceived.After(g.LastSeen) {
			p.LastSeenS = max(now.Sub(l.LastReceived).Seconds(), 0)
		}
	}
	if g.Withheld != "" && p.Link.Error == "" {
		p.Link.Error = g.Withheld
	}
	return p
}

// seenByLink is a node of which gossip has not heard: alive as long as it
// answers.
func seenByLink(l peerlink.Snapshot, now time.Time) control.PeerView {
	p := control.PeerView{
		Name: l.Name, ID: l.ID.String(), Addresses: hosts(l.Hello.Addresses), State: control.Suspect,
		Version: l.Hello.Version, Routes: []string{}, Seed: l.Seed, Link: linkView(l, now),
	}
	if l.State == peerlink.Up {
		p.State = control.Alive
	}
	if !l.LastReceived.IsZero() {
		p.LastSeenS = max(now.Sub(l.LastReceived).Seconds(), 0)
	}
	return p
}

func linkView(l peerlink.Snapshot, now time.Time) control.LinkView {
	v := control.LinkView{
		State: l.State.String(), Path: l.Path, Endpoint: l.Endpoint, Via: l.Via, MTU: l.MTU,
		RxBytes: l.RxBytes, TxBytes: l.TxBytes, RxPackets: l.RxPackets, TxPackets: l.TxPackets,
		WhyNotDirect: l.WhyNotDirect, Error: l.Problem,
		FECData: l.Repair.Data, FECParity: l.Repair.Parity, FECDepth: l.Repair.Depth, RecvQueuePeak: l.Waited,
	}
	if l.RTT > 0 {
		v.RTTMs = ptr(float64(l.RTT.Microseconds()) / 1000)
		v.LossPct = ptr(l.Loss * 100)
		v.ResidualLossPct = ptr(l.Repair.Residual * 100)
	}
	if !l.Handshake.IsZero() {
		v.HandshakeAgeS = ptr(now.Sub(l.Handshake).Seconds())
	}
	return v
}

func (s source) self() control.SelfView {
	n := s.n
	listen := []string{}
	for _, a := range n.Underlay.Describe().Listen {
		listen = append(listen, a.String())
	}
	return control.SelfView{
		Name: n.cfg.Name, ID: n.hello.ID.String(), Addresses: texts(n.cfg.Addresses), Listen: listen,
		NAT: s.nat().Kind, Version: n.cfg.Version, Interface: n.Overlay.Name(), MTU: n.MTU(), UptimeS: time.Since(n.started).Seconds(),
	}
}

// Status is the health of this node: what an operator should mend, and the tree
// of its actors.
func (s source) Status() control.StatusView {
	n := s.n
	t := n.Underlay.Describe()
	self, peers, rows := s.self(), s.Peers().Peers, n.routes.View()
	v := control.StatusView{
		Problems: slices.Clone(rows.Problems), MemoryBytes: memoryInUse(), Drops: s.drops(),
		Self: self, Mesh: control.CountMesh(peers), Listen: self.Listen,
		Guard: t.Guard, Send: t.Send, Receive: t.Receive, Kernel: kernelRelease(), NAT: s.nat(), UDP: []string{},
		NotInEffect: append([]string{}, config.NotInEffect(n.cfg)...),
	}
	if n.UDP != nil {
		u := n.UDP.Describe()
		v.Send, v.Receive = strings.TrimPrefix(v.Send+", "+u.Send, ", "), strings.TrimPrefix(v.Receive+", "+u.Receive, ", ")
		for _, a := range u.Listen {
			v.UDP = append(v.UDP, a.String())
		}
	}
	if len(t.Reasons) > 0 {
		v.Guard += " (" + strings.Join(t.Reasons, "; ") + ")"
	}
	v.Mesh.RoutesAll = len(rows.Routes)
	for _, r := range rows.Routes {
		if r.Installed {
			v.Mesh.RoutesIn++
		}
	}
	for _, p := range peers {
		if p.Link.Error != "" {
			v.Problems = append(v.Problems, fmt.Sprintf("%s: %s", p.Name, p.Link.Error))
		}
	}
	if seeds := n.peers.Seeds(); len(seeds) > 0 && !slices.ContainsFunc(peers, func(p control.PeerView) bool { return p.Seed && p.Link.State == control.Up }) {
		for _, seed := range seeds {
			v.Problems = append(v.Problems, fmt.Sprintf("no seed is reached: %s: %s", seed, cmp.Or(n.peers.SeedTrouble(seed), "no answer yet")))
		}
	}
	tree := actorView(n.root.Tree())
	v.Actors = tree.Children
	v.Problems = append(v.Problems, unwell(tree.Children, "")...)
	v.Healthy = len(v.Problems) == 0
	return v
}

func actorView(i actors.Info) control.ActorView {
	v := control.ActorView{
		Name: i.Name, State: i.State.String(), Restarts: uint64(i.Restarts), MailboxDepth: i.Depth,
		MailboxCapacity: i.Capacity, Dropped: i.Dropped, Children: []control.ActorView{},
	}
	if i.LastError != nil {
		v.LastError = i.LastError.Error()
	}
	for _, c := range i.Children {
		v.Children = append(v.Children, actorView(c))
	}
	return v
}

// unwell names the actors that wait for a restart.
func unwell(tree []control.ActorView, above string) (problems []string) {
	for _, a := range tree {
		name := above + a.Name
		if a.State == actors.StateBackoff.String() || a.State == actors.StateFailed.String() {
			problems = append(problems, fmt.Sprintf("actor %s is down: %s", name, a.LastError))
		}
		problems = append(problems, unwell(a.Children, name+"/")...)
	}
	return problems
}

func (s source) drops() map[string]uint64 {
	all := map[string]uint64{}
	s.n.drops.Each(func(reason string, n uint64) { all[reason] += n })
	if shed := s.n.peers.Shed(); shed != 0 {
		all["memory_ceiling"] = shed
	}
	sources := []map[string]uint64{s.n.Underlay.Drops(), s.n.Overlay.Drops()}
	if s.n.UDP != nil {
		sources = append(sources, s.n.UDP.Drops())
	}
	for _, more := range sources {
		for reason, n := range more {
			if n != 0 {
				all[reason] += n
			}
		}
	}
	return all
}

// Routes is who announces what and what became of it.
func (s source) Routes() control.RoutesView {
	v := control.RoutesView{Routes: []control.RouteView{}}
	for _, r := range s.n.routes.View().Routes {
		v.Routes = append(v.Routes, control.RouteView{
			Prefix: r.Prefix, Node: r.Node, Installed: r.Installed, Metric: r.Metric, Why: r.Why,
		})
	}
	return v
}

// pingInterval is the pause between two pings.
const pingInterval = time.Second

// Ping measures round trips to a peer, one after the other.
func (s source) Ping(ctx context.Context, peer string, count int, emit func(control.PingReply)) error {
	id, err := s.find(peer)
	if err != nil {
		return err
	}
	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	for seq := 1; ; seq++ {
		answer := make(chan peerlink.PingResult, 1)
		s.n.peers.Ping(ctx, id, func(r peerlink.PingResult) { answer <- r })
		r := <-answer
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		reply := control.PingReply{Seq: seq, RTTMs: float64(r.RTT.Microseconds()) / 1000, Path: r.Path, Endpoint: r.Endpoint, Via: r.Via}
		if r.Err != nil {
			reply.Lost, reply.Reason = true, r.Err.Error()
		}
		emit(reply)
		if seq == count {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// find resolves what a user calls a node: name, start of the id, or address.
func (s source) find(text string) (message.NodeID, error) {
	var found []message.NodeID
	addr, _ := netip.ParseAddr(text)
	match := func(id message.NodeID, name string, addresses []netip.Prefix) {
		named := name == text || len(text) >= 6 && strings.HasPrefix(id.String(), strings.ToLower(text))
		holds := addr.IsValid() && slices.ContainsFunc(addresses, func(p netip.Prefix) bool { return p.Addr() == addr })
		if (named || holds) && !slices.Contains(found, id) {
			found = append(found, id)
		}
	}
	for _, g := range s.n.board.View().Nodes {
		match(g.ID, g.Name, g.Addresses)
	}
	for _, p := range s.n.peers.Peers() {
		l := p.Snapshot()
		match(p.ID(), l.Name, l.Hello.Addresses)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return message.NodeID{}, fmt.Errorf("no node is called %q (name, id or overlay address; see `node peers`): %w", text, control.ErrNotFound)
	}
	return message.NodeID{}, fmt.Errorf("%d nodes are called %q: give an address or an id", len(found), text)
}

// Join connects through one more seed for as long as the node runs.
func (s source) Join(ctx context.Context, hostport string) error {
	if err := peerlink.CheckSeed(hostport); err != nil {
		return err
	}
	err, unasked := actors.Ask(ctx, s.n.peers.Ref(), func(r actors.Reply[error]) message.ToPeers {
		return message.JoinSeed{Seed: hostport, Reply: r}
	})
	return errors.Join(err, unasked)
}

// Leave stops the node; Run says goodbye.
func (s source) Leave(context.Context) error {
	s.n.stop(ErrLeft)
	return nil
}

// Fail makes an actor panic.
func (s source) Fail(actor string) error {
	err := s.n.root.Inject(actor, errors.New("failure asked for through the control socket"))
	if errors.Is(err, actors.ErrUnknown) {
		return fmt.Errorf("%w: %w", control.ErrNotFound, err)
	}
	return err
}

// memoryInUse is what the Go runtime holds of the machine's memory.
func memoryInUse() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64() - sample[1].Value.Uint64()
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

func hosts(ps []netip.Prefix) []string {
	out := []string{}
	for _, p := range ps {
		out = append(out, p.Addr().String())
	}
	return out
}

func texts[T fmt.Stringer](values []T) []string {
	out := []string{}
	for _, v := range values {
		out = append(out, v.String())
	}
	return out
}

func ptr[T any](v T) *T { return &v }
