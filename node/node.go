package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/gossip"
	"github.com/openbmx/lightweight-tunnel/node/config"
	"github.com/openbmx/lightweight-tunnel/node/control"
	"github.com/openbmx/lightweight-tunnel/node/pump"
	"github.com/openbmx/lightweight-tunnel/peerlink"
	"github.com/openbmx/lightweight-tunnel/peerlink/keys"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
	"github.com/openbmx/lightweight-tunnel/routes"
)

// Overlay is the seam towards the own kernel: a TUN device, or its like on a
// simulated network.
type Overlay interface {
	Name() string
	Queues() []Queue
	// USO says whether UDP super-packets may be written.
	USO() bool
	// Drops counts, by reason, the packets that the kernel did not take.
	Drops() map[string]uint64
}

// Queue is one of the overlay's packet queues.
type Queue interface {
	pump.Device
	// Sink returns a way to write for one more goroutine.
	Sink() pump.Sink
}

// Underlay is the seam towards the network: a transport for datagrams.
type Underlay interface {
	packet.Dialer
	packet.Receiver
	// Run keeps the transport going until ctx ends. It can be run again.
	Run(ctx context.Context) error
	Drops() map[string]uint64
	Describe() Transport
}

// Transport is what `node status` says of an [Underlay].
type Transport struct {
	Guard, Send, Receive string
	Listen               []netip.AddrPort
	Reasons              []string // why better ways are not in use
}

// Parts are what a [Node] is put together from. All of it stays its maker's to
// close, after Run has returned.
type Parts struct {
	Identity keys.Identity
	MeshKey  keys.MeshKey
	Book     *keys.RosterBook
	Overlay  Overlay
	Underlay Underlay
	// UDP and Cross are the ways past NATs; nil: not that way. What arrives there
	// comes out of the Underlay.
	UDP   Datagrams
	Cross packet.Crosser
	// PortMap asks the router for a port; nil: nobody is asked.
	PortMap PortMapping
	// Hosts returns the addresses of the host's interfaces, the overlay's left out;
	// nil: it has none worth telling. It must not block.
	Hosts func() []netip.Addr
	// Changes calls changed when addresses or default routes of the host change,
	// until ctx ends; nil: they never do. changed does not block.
	Changes func(ctx context.Context, changed func()) error
	// Host and Forwarding reach into the kernel's routing; nil: there is none.
	Host       routes.Host
	Forwarding *routes.Forwarding
	// Gossip makes memberlist's transport; nil: the kernel's network.
	Gossip func() (memberlist.Transport, error)
	Socket *control.Socket // nil: no control socket
	Ready  func(*Node)     // called once everything runs; may be nil
	// LimitRuntime bounds what Go's runtime takes of the machine's memory, in bytes;
	// nil: it is not bounded. It is called only if the configuration has a ceiling.
	LimitRuntime func(bytes int64)
}

// Node is one member of a mesh. Create it with [New]; Run it once.
type Node struct {
	Parts
	cfg     config.Config
	log     hclog.Logger
	hello   message.Hello
	started time.Time
	stop    context.CancelCauseFunc // set by Run

	keysBox   *actors.Mailbox[message.ToKeys]
	routesBox *actors.Mailbox[message.ToRoutes]
	gossipBox *actors.Mailbox[message.ToGossip]

	peers  *peerlink.Directory
	routes routes.Published
	board  *gossip.Board
	drops  pump.Drops
	mtu    atomic.Int32 // of the overlay's interface, once it was changed; bytes
	repair *pump.Repair
	pools
	budget  budget
	limited atomic.Int64 // what Go's runtime was told last
	prober  *nat.Prober
	root    *actors.Supervisor
}

// ErrLeft is the cause with which a node stops that was told to leave.
var ErrLeft = errors.New("the node left the mesh")

// New puts a node together and starts nothing.
func New(cfg config.Config, parts Parts, log hclog.Logger) (*Node, error) {
	n := &Node{
		Parts: parts, cfg: cfg, log: log, started: time.Now(), board: gossip.NewBoard(),
		repair: newRepair(cfg), budget: divide(cfg.Memory),
		keysBox:   actors.NewMailbox[message.ToKeys]("keys", 256),
		routesBox: actors.NewMailbox[message.ToRoutes]("routes", 1024),
		gossipBox: actors.NewMailbox[message.ToGossip]("gossip", 256),
	}
	n.pools = n.budget.pools()
	n.hello = message.Hello{
		ID: parts.Identity.ID(), Name: cfg.Name, Version: cfg.Version, Addresses: cfg.Addresses,
		Relay: cfg.MeshRouting && !cfg.Isolation, Started: n.started.UnixMilli(),
	}
	if err := n.newProber(); err != nil {
		return nil, fmt.Errorf("put the node together: %w", err)
	}
	private, _ := parts.Identity.Static()
	links := peerlink.Config{
		ID: n.hello.ID, Static: private, MeshKey: parts.MeshKey.Derive(keys.Links),
		Hello:  func() message.Hello { return n.hello },
		Dialer: parts.Underlay, Seeds: cfg.Seeds,
		MTU: cfg.MTU, Keepalive: cfg.Keepalive, SendQueue: cfg.SendQueue, Rekey: cfg.Rekey,
		Staged: n.staged, Relay: n.hello.Relay, ClientIsolation: cfg.Isolation, MaxHops: uint8(cfg.MaxHops),
		Log: log, Keys: n.keysBox.Ref(), Routes: n.routesBox.Ref(), Gossip: n.gossipBox.Ref(),
	}
	if cfg.IsSet("timeout") {
		links.Timeout = cfg.Timeout
	}
	n.direct(&links)
	look := links.Changed
	links.Changed = func() { look(); n.limitRuntime() }
	var err error
	if n.peers, err = peerlink.New(links); err != nil {
		return nil, fmt.Errorf("put the node together: %w", err)
	}
	n.root = actors.NewSupervisor("node", actors.Policy{
		MaxRestarts: 30, Window: time.Minute, Observe: n.observe,
		Backoff: actors.Backoff{Min: 20 * time.Millisecond, Max: 5 * time.Second},
	}, n.specs()...)
	return n, nil
}

// newRepair says to the pumps what the user wants done about losses.
func newRepair(cfg config.Config) *pump.Repair {
	mode := pump.RepairAuto
	switch cfg.FEC.Mode {
	case config.FECOff:
		mode = pump.RepairOff
	case config.FECFixed:
		mode = pump.RepairFixed
	}
	return pump.NewRepair(mode, cfg.FEC.Data, cfg.FEC.Parity, cfg.RecvQueue)
}

// Run keeps the node in the mesh until ctx ends, it is told to leave, or it
// cannot go on. Before it returns it says goodbye to the mesh, which takes well
// below a second. The error is nil after an orderly end.
func (n *Node) Run(ctx context.Context) error {
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	ctx, n.stop = context.WithCancelCause(ctx)
	defer n.stop(nil)
	n.limitRuntime()
	done := make(chan error, 1)
	go func() { done <- n.root.Run(running) }()
	if n.Ready != nil {
		n.Ready(n)
	}
	select {
	case err := <-done:
		return fmt.Errorf("the node cannot go on: %w", err)
	case <-ctx.Done():
	}
	n.log.Info("stopping", "reason", context.Cause(ctx))
	n.sayGoodbye()
	end()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, actors.ErrStopped) {
		return fmt.Errorf("stop the node: %w", err)
	}
	return nil
}

// Responsive says whether the node still does its work: no actor has let its
// mailbox run full. It is what a watchdog wants to know; any goroutine may ask.
func (n *Node) Responsive() bool {
	stuck := func(i actors.Info) bool { return i.Capacity > 0 && i.Depth == i.Capacity }
	var look func(actors.Info) bool
	look = func(i actors.Info) bool {
		return !stuck(i) && !slices.ContainsFunc(i.Children, func(c actors.Info) bool { return !look(c) })
	}
	return look(n.root.Tree())
}

// goodbyeTime bounds how long a stop waits for the mesh to hear of it.
const goodbyeTime = 400 * time.Millisecond

// sayGoodbye lets gossip tell the others that this node leaves, as long as links
// and pumps still run.
func (n *Node) sayGoodbye() {
	n.peers.StopDialing()
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTime)
	defer cancel()
	err, unasked := actors.Ask(ctx, n.gossipBox.Ref(), func(r actors.Reply[error]) message.ToGossip {
		return message.Leave{Reply: r}
	})
	if err = errors.Join(err, unasked); err != nil {
		n.log.Debug("the mesh may take us for dead for a while", "reason", err)
	}
}

// observe writes the life of the actors into the log.
func (n *Node) observe(e actors.Event) {
	switch e.Kind {
	case actors.Failed:
		n.log.Error("actor failed, restarting it", "actor", e.Name, "reason", e.Err, "restarts", e.Restarts, "delay", e.Delay)
		var p *actors.PanicError
		if errors.As(e.Err, &p) {
			n.log.Error("stack of the panic", "actor", e.Name, "stack", string(p.Stack))
		}
	case actors.GaveUp:
		n.log.Error("actor failed too often, giving up", "actor", e.Name, "reason", e.Err)
	case actors.Started:
		if e.Restarts > 0 && (e.Name == "node/routes" || e.Name == "node/links/peers") {
			n.gossipBox.Ref().Offer(message.Repeat{}) // what its predecessor had not yet taken in
		}
		n.log.Debug("actor started", "actor", e.Name, "restarts", e.Restarts)
	}
}

// overlayAddress is the node's first address of a family; invalid if it has none.
func (n *Node) overlayAddress(v6 bool) netip.Addr {
	i := slices.IndexFunc(n.cfg.Addresses, func(p netip.Prefix) bool { return p.Addr().Is6() == v6 })
	if i < 0 {
		return netip.Addr{}
	}
	return n.cfg.Addresses[i].Addr()
}
