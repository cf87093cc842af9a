package gossip

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
)

const (
	tick          = 500 * time.Millisecond // joins, and offers that failed
	rereadEvery   = time.Second            // members: absence counts after a second
	sweepEvery    = time.Minute
	settleDelay   = 20 * time.Millisecond // gathers a burst of news into one snapshot
	presumeFor    = 45 * time.Second      // what held before a restart of this actor holds so long
	maxCouriers   = 2
	courierFanout = 3
)

// Config is what a [Gossip] is made of.
type Config struct {
	Identity  ed25519.PrivateKey
	Self      message.Advert // what to publish until the first message.Publish; ID and Seq are not used
	Bind      netip.Addr     // overlay address
	Port      uint16         // 0: DefaultPort; all nodes of a mesh use one
	Device    string         // TUN device; empty: any
	SecretKey [32]byte       // encrypts memberlist's messages; derived from the mesh key
	MTU       int            // of the tunnel, in bytes; 0: DefaultMTU

	// NewTransport makes memberlist's transport, once for each run of the actor,
	// which shuts it down. nil: the kernel's UDP and TCP on Bind and Device.
	NewTransport func() (memberlist.Transport, error)

	// Admits says why a node is not to be told to routes and peers under what it
	// advertises; "" admits. It must not block. nil admits everybody.
	Admits func(message.Advert) string

	Mailbox *actors.Mailbox[message.ToGossip]
	Board   *Board // the same for every run
	Peers   actors.Ref[message.ToPeers]
	Routes  actors.Ref[message.ToRoutes]
	Keys    actors.Ref[message.ToKeys]
	Log     hclog.Logger
}

// Gossip is the actor that owns memberlist and the ledger. One Gossip runs once;
// a restart is a new one with the same Config and Board.
type Gossip struct {
	Config
	id       message.NodeID
	name     memberName
	ledger   *Ledger
	joiner   *joiner
	accord   accord
	routes   *outbox
	peers    *outbox
	keys     *outbox
	withheld map[message.NodeID]string // why a node is not admitted
	news     map[message.NodeID]bool   // something changed about them since the last settling
	logged   map[message.NodeID]State  // as the log has it

	inbox    *actors.Mailbox[event] // from the delegate
	bundles  *actors.Mailbox[event] // apart, as each may be large
	delegate *delegate
	list     *memberlist.Memberlist

	work     sync.WaitGroup // goroutines that wait for the network on behalf of the actor
	outcomes chan outcome   // of those; has room for all of them
	couriers int

	own      message.Advert // published last, or to be
	links    map[message.NodeID]message.LinkState
	jump     seqJump
	twin     bool // another member with this identity is there
	joined   bool // some join worked: the log said so
	leaving  bool
	settleAt <-chan time.Time // nil: nothing changed
	stale    bool             // the view lacks proofs of life, which are no news
}

// outcome is what a goroutine that waited for the network reports.
type outcome struct {
	join    join
	courier bool
	err     error
}

// New validates the configuration and starts nothing.
func New(c Config) (*Gossip, error) {
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	c.Bind = c.Bind.Unmap()
	switch {
	case len(c.Identity) != ed25519.PrivateKeySize:
		return nil, errors.New("gossip: needs the identity of this node")
	case !c.Bind.IsValid() || c.Bind.IsUnspecified():
		return nil, errors.New("gossip: needs the overlay address of this node")
	case c.MTU < 576:
		return nil, fmt.Errorf("gossip: a tunnel MTU of %d is too small, want 576 or more", c.MTU)
	case c.Mailbox == nil || c.Board == nil:
		return nil, errors.New("gossip: needs a mailbox and a board")
	}
	if c.NewTransport == nil {
		place, device := netip.AddrPortFrom(c.Bind, c.Port), c.Device
		c.NewTransport = func() (memberlist.Transport, error) { return newNetTransport(place, device) }
	}
	id := message.NodeID(c.Identity.Public().(ed25519.PublicKey))
	g := &Gossip{
		Config: c, id: id, own: cloneAdvert(c.Self), ledger: NewLedger(id),
		links: make(map[message.NodeID]message.LinkState), withheld: make(map[message.NodeID]string),
		news: make(map[message.NodeID]bool), logged: make(map[message.NodeID]State),
		inbox: actors.NewMailbox[event]("gossip/notes", 256), bundles: actors.NewMailbox[event]("gossip/bundles", 4),
		outcomes: make(chan outcome, maxJoining+maxCouriers),
	}
	g.routes, g.peers, g.keys = newOutbox(g.tellRoutes), newOutbox(g.tellPeers), newOutbox(g.tellKeys)
	return g, nil
}

// Run takes part in gossip until ctx ends. It does not say good-bye by itself:
// that is what message.Leave is for.
func (g *Gossip) Run(ctx context.Context) error {
	if err := g.start(time.Now()); err != nil {
		return err
	}
	defer g.stop()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	reread, sweep := time.Now().Add(rereadEvery), time.Now().Add(sweepEvery)
	for {
		select {
		case <-ctx.Done():
			return nil
		case msg := <-g.Mailbox.C():
			g.take(time.Now(), msg)
		case e := <-g.inbox.C():
			g.hear(time.Now(), e)
		case e := <-g.bundles.C():
			g.hear(time.Now(), e)
		case <-g.delegate.members.C():
			g.reread(time.Now())
		case o := <-g.outcomes:
			g.finish(time.Now(), o)
		case <-g.settleAt:
			g.settle(time.Now())
		case now := <-ticker.C:
			if now.After(reread) {
				reread = now.Add(rereadEvery)
				g.reread(now)
				g.reconsider()
			}
			if now.After(sweep) {
				sweep = now.Add(sweepEvery)
				g.changed(g.ledger.Sweep(now)...)
			}
			if floor, due := g.jump.due(now); due {
				g.publish(now, g.own, floor)
			}
			if g.stale {
				g.changed()
			}
			g.settleLater()
			g.join(now)
		}
	}
}

// start binds memberlist and goes on where the run before stood.
func (g *Gossip) start(now time.Time) error {
	transport, err := g.NewTransport()
	if err != nil {
		return fmt.Errorf("start gossip: %w", err)
	}
	ip, port, err := transport.FinalAdvertiseAddr("", 0)
	if err != nil {
		_ = transport.Shutdown()
		return fmt.Errorf("start gossip: %w", err)
	}
	addr, _ := netip.AddrFromSlice(ip)
	g.name = memberName{g.id, netip.AddrPortFrom(addr.Unmap(), uint16(port))}
	g.delegate = &delegate{
		self:  g.name,
		meta:  memberMeta{run: now.UnixMilli(), version: g.own.Version}.seal(g.Identity, g.name),
		board: g.Board, inbox: g.inbox.Ref(), bundles: g.bundles.Ref(), members: actors.NewPoke(),
		verified: make(map[string]string), done: make(chan struct{}),
	}
	inbox := g.inbox.Ref()
	w := &memberLog{log: g.Log, suspect: func(member string) { inbox.Offer(memberMute{member}) }}
	conf := memberConfig(g.name, g.MTU, g.SecretKey, transport, g.delegate, w)
	// memberlist asks only once there are members, which is after Create.
	d := g.delegate
	d.queue = &memberlist.TransmitLimitedQueue{RetransmitMult: conf.RetransmitMult, NumNodes: func() int { return max(int(d.count.Load()), 1) }}

	g.joiner = newJoiner(now)
	g.restore(now)
	g.settle(now) // so that the first push/pull has something to tell
	if g.list, err = memberlist.Create(conf); err != nil {
		_ = transport.Shutdown()
		return fmt.Errorf("start gossip on %s: %w", g.name.place, err)
	}
	g.Log.Debug("gossip listens", "address", g.name.place, "device", g.Device)
	return nil
}

// restore takes up what the board remembers of an earlier run, and publishes.
func (g *Gossip) restore(now time.Time) {
	m := g.Board.memory.Load()
	var floor uint64
	for _, sealed := range m.sealed {
		if h, err := g.ledger.Hear(now, sealed); err == nil && h.Verdict == OwnAhead {
			floor = max(floor, h.Seq)
		}
	}
	for id := range m.here {
		g.ledger.Presume(now, id, now.Add(presumeFor))
		// So that those who are gone by then are withdrawn.
		g.routes.told[id], g.peers.told[id] = told{here: true}, told{here: true}
		g.logged[id] = Alive
	}
	g.changed(g.ledger.IDs()...)
	if m.own != nil {
		g.own = *m.own
	}
	for _, l := range m.links {
		g.link(now, l)
	}
	g.publish(now, g.own, floor)
}

func (g *Gossip) stop() {
	g.snapshot(time.Now())
	close(g.delegate.done)
	_ = g.list.Shutdown() // it has nothing to say of what is not its transport
	g.work.Wait()         // they end with the transport
}

// join tries to join through whoever is due.
func (g *Gossip) join(now time.Time) {
	if g.leaving {
		return
	}
	tries := g.joiner.due(now, crowdOf{g})
	if g.joiner.room() {
		if t, ok := g.accord.due(now, int(g.delegate.count.Load()), crowdOf{g}); ok {
			g.joiner.busy++
			tries = append(tries, t)
		}
	}
	for _, t := range tries {
		list := g.list
		g.work.Go(func() {
			_, err := list.Join([]string{t.place.String()})
			g.outcomes <- outcome{join: t, err: err}
		})
	}
}

// finish takes the report of a goroutine.
func (g *Gossip) finish(now time.Time, o outcome) {
	if o.courier {
		g.couriers--
		return
	}
	g.joiner.done(now, o.join, o.err)
	switch {
	case o.err != nil:
		g.Log.Debug("join failed, will try again", "peer", o.join.id.Brief(), "address", o.join.place, "reason", o.err)
	case !g.joined && !o.join.member:
		g.joined = true
		g.Log.Info("joined the mesh", "peer", o.join.id.Brief(), "address", o.join.place)
	}
	g.reread(now)
	g.join(now)
}

// placeOf is where the gossip of a node with these addresses listens, if it can
// be reached from here.
func (g *Gossip) placeOf(addresses []netip.Prefix) (netip.AddrPort, bool) {
	for _, p := range addresses {
		if p.Addr().Is4() == g.Bind.Is4() {
			return netip.AddrPortFrom(p.Addr(), g.Port), true
		}
	}
	return netip.AddrPort{}, false
}
