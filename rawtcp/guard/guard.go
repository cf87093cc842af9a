// Package guard keeps the kernel's own TCP away from the ports on which we
// speak TCP ourselves: without it the kernel would answer every segment of a
// connection it does not know with a reset.
//
// It drops TCP packets to a set of local ports at the ingress of every
// interface, behind the packet taps and before the kernel's IP layer. Packets
// that are merely forwarded are left alone, whatever their port.
package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

// Mode names a way to drop packets.
type Mode string

// The modes. Auto takes the best one that works here.
const (
	Auto     Mode = "auto"
	TCX      Mode = "tcx"      // eBPF, kernel 6.6
	TC       Mode = "tc"       // eBPF as a filter of the clsact qdisc, kernel 4.18
	NFT      Mode = "nft"      // nftables, family netdev
	IPTables Mode = "iptables" // iptables and ip6tables
)

// Options say how a [Guard] works.
type Options struct {
	Log  hclog.Logger // nil: none
	Mode Mode         // "": Auto
	XDP  bool         // eBPF may be used at all
	// Owner tells the guards of several nodes on one host apart: the name of the
	// TUN interface, say. One owner has one guard at a time. "": the process id.
	Owner string
	// Exclude are interfaces that are never guarded: our own TUN device.
	Exclude []string
}

// backend is one way to drop packets. Its methods are called by one goroutine at
// a time.
type backend interface {
	name() string
	// attach guards an interface; it is called once for each.
	attach(index int, name string) error
	// detach forgets an interface that has gone.
	detach(index int)
	// set replaces the ports.
	set(ports []uint16) error
	// local replaces this host's own addresses, where the backend must be told.
	local(prefixes []localPrefix) error
	// close removes everything.
	close() error
}

// Guard drops incoming TCP packets for a set of local ports after the packet
// taps took their copy and before the kernel's TCP sees them. Its methods may be
// called by any goroutine.
type Guard struct {
	log     hclog.Logger
	opts    Options
	owner   *owner
	handle  *netlink.Handle
	table   *link.LocalTable
	watcher *link.Watcher
	reasons []string

	// The kernel's state is changed by one goroutine at a time. Nothing on the
	// data path waits here.
	mu       sync.Mutex
	backend  backend
	attached map[int]string // interface index -> name
	closed   bool
}

// New finds the best way that works here, in the network namespace of the
// calling thread, and installs it with an empty set of ports on all interfaces.
// What a killed process left behind is removed.
func New(opts Options) (*Guard, error) {
	if opts.Log == nil {
		opts.Log = hclog.NewNullLogger()
	}
	if opts.Mode == "" {
		opts.Mode = Auto
	}
	g := &Guard{log: opts.Log, opts: opts, attached: map[int]string{}}
	if err := g.open(); err != nil {
		g.Close()
		return nil, err
	}
	g.removeLeftovers()
	if err := g.choose(); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

func (g *Guard) open() (err error) {
	if g.owner, err = claim(g.opts.Owner); err != nil {
		return err
	}
	if g.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open route netlink socket: %w", err)
	}
	if g.table, err = link.NewLocalTable(); err != nil {
		return err
	}
	g.watcher, err = link.NewWatcher()
	return err
}

// candidate is a backend that may work.
type candidate struct {
	mode Mode
	make func() (backend, error)
}

func (g *Guard) candidates() []candidate {
	return []candidate{
		{TCX, func() (backend, error) { return newTCX() }},
		{TC, func() (backend, error) { return newClsact(g.handle, g.owner.name) }},
		{NFT, func() (backend, error) { return newNFT(g.owner.name) }},
		{IPTables, func() (backend, error) { return newIPTables(g.owner.name, g.opts.Exclude) }},
	}
}

// choose installs the first candidate that works.
func (g *Guard) choose() error {
	for _, c := range g.candidates() {
		switch {
		case g.opts.Mode != Auto && g.opts.Mode != c.mode:
			continue
		case !g.opts.XDP && (c.mode == TCX || c.mode == TC):
			g.reasons = append(g.reasons, string(c.mode)+": eBPF is switched off")
			continue
		}
		err := g.install(c)
		if err == nil {
			g.log.Info("the kernel's TCP is kept away from our ports", "by", g.backend.name())
			return nil
		}
		g.reasons = append(g.reasons, fmt.Sprintf("%s: %v", c.mode, err))
		g.log.Debug("cannot guard ports this way", "by", c.mode, "reason", err)
	}
	if len(g.reasons) == 0 {
		return fmt.Errorf("guard ports: unknown mode %q: use auto, tcx, tc, nft or iptables", g.opts.Mode)
	}
	return fmt.Errorf("guard ports: nothing works here: %q", g.reasons)
}

// install tries a candidate; one that cannot guard any interface does not work.
func (g *Guard) install(c candidate) error {
	b, err := c.make()
	if err != nil {
		return err
	}
	g.backend, g.attached = b, map[int]string{}
	err = g.refresh(true)
	if err == nil && len(g.attached) == 0 {
		err = errors.New("no interface could be guarded")
	}
	if err != nil {
		g.backend = nil
		return errors.Join(err, b.close())
	}
	return nil
}

// refresh guards what is new and forgets what is gone. With strict the first
// interface that cannot be guarded is an error.
func (g *Guard) refresh(strict bool) error {
	prefixes, err := g.table.Read()
	if err != nil {
		return err
	}
	if err := g.backend.local(mapped(prefixes)); err != nil {
		return err
	}
	links, err := g.handle.LinkList()
	if err != nil && len(links) == 0 {
		return fmt.Errorf("list interfaces: %w", err)
	}
	present := map[int]bool{}
	for _, l := range links {
		a := l.Attrs()
		present[a.Index] = true
		if a.RawFlags&unix.IFF_UP == 0 {
			continue
		}
		if err := g.attach(a.Index, a.Name); err != nil {
			if strict {
				return err
			}
			g.log.Warn("cannot keep the kernel's TCP away on an interface", "interface", a.Name, "reason", err)
		}
	}
	for index := range g.attached {
		if !present[index] {
			g.backend.detach(index)
			delete(g.attached, index)
		}
	}
	return nil
}

func (g *Guard) attach(index int, name string) error {
	if _, done := g.attached[index]; done || slices.Contains(g.opts.Exclude, name) {
		return nil
	}
	if err := g.backend.attach(index, name); err != nil {
		if _, gone := g.handle.LinkByIndex(index); gone != nil {
			return nil
		}
		return fmt.Errorf("guard interface %s: %w", name, err)
	}
	g.attached[index] = name
	return nil
}

var errClosed = errors.New("guard is closed")

// Set replaces the ports.
func (g *Guard) Set(ports []uint16) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errClosed
	}
	if err := g.backend.set(slices.Compact(slices.Sorted(slices.Values(ports)))); err != nil {
		return fmt.Errorf("guard ports %v: %w", ports, err)
	}
	return nil
}

// AttachInterface guards one more interface at once, without waiting for Run to
// notice it; a second time does nothing.
func (g *Guard) AttachInterface(ifindex int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errClosed
	}
	l, err := g.handle.LinkByIndex(ifindex)
	if err != nil {
		return fmt.Errorf("guard interface %d: %w", ifindex, err)
	}
	return g.attach(ifindex, l.Attrs().Name)
}

// Run guards interfaces and addresses as they appear, until ctx ends. It returns
// nil then.
func (g *Guard) Run(ctx context.Context) error {
	refresh := func(c link.Change) {
		if !c.Links && !c.Local {
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.closed {
			return
		}
		if err := g.refresh(false); err != nil {
			g.log.Warn("cannot follow a change of interfaces", "reason", err)
		}
	}
	refresh(link.Change{Links: true}) // what changed before
	return g.watcher.Watch(ctx, nil, nil, refresh)
}

// Name is the way in use: "tcx", "tc", "nft netdev" or "iptables".
func (g *Guard) Name() string { return g.backend.name() }

// Reasons says, for each better way, why it is not in use.
func (g *Guard) Reasons() []string { return g.reasons }

// Close removes everything that New and later calls installed. Run must have
// returned.
func (g *Guard) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errClosed
	}
	g.closed = true
	var err error
	if g.backend != nil {
		err = g.backend.close()
	}
	if g.watcher != nil {
		g.watcher.Close()
	}
	if g.table != nil {
		g.table.Close()
	}
	if g.handle != nil {
		g.handle.Close()
	}
	if g.owner != nil {
		g.owner.release()
	}
	return err
}
