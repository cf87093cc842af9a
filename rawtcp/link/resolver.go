// Package link moves whole IP packets between this process and the network
// interfaces, beside the kernel's own TCP/IP stack: it finds the next hop of a
// destination and keeps it up to date ([Resolver], [NextHop]), sends segments
// and super-segments ([Sender]), and receives them ([Tap]). It knows packets
// and ports, but nothing of the state of a TCP connection.
package link

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/hashicorp/go-hclog"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ErrNoRoute is returned where there is no way to the destination at present.
var ErrNoRoute = errors.New("no route")

// Resolver finds next hops and keeps them up to date by watching the kernel's
// routes, neighbours, links and addresses. Its sockets belong to the network
// namespace of the thread that called [NewResolver].
type Resolver struct {
	log     hclog.Logger
	quiet   atomic.Bool                // see Quiet
	changed func()                     // see OnRoutes; nil: nobody asks
	handle  *netlink.Handle            // questions of which netlink knows the form
	socket  map[int]*nl.SocketHandle   // the other questions
	table   *LocalTable                // questions for our own addresses
	watcher *Watcher                   // what the kernel tells unasked
	hops    sync.Map                   // hopKey -> weak.Pointer[NextHop]
	known   sync.Map                   // interface index -> *device
	refuse  atomic.Pointer[[]string]   // interface names
	local   atomic.Pointer[localAddrs] // this host's own addresses
	ticket  atomic.Uint64              // orders questions, see hop.asked

	// Set by a Sender that is told to work in a slower mode.
	noGSO, noPacket atomic.Bool

	// Whoever asks holds it for reading, Close for writing.
	asking sync.RWMutex
	closed bool

	// A sender met an interface that went away.
	lost  atomic.Bool
	again chan struct{}
}

type hopKey struct{ src, dst netip.Addr }

// NewResolver opens the netlink sockets. [Resolver.Run] must run for handles to
// be kept up to date.
func NewResolver(log hclog.Logger) (*Resolver, error) {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	r := &Resolver{log: log, again: make(chan struct{}, 1)}
	r.refuse.Store(new([]string))
	r.local.Store(new(localAddrs))
	if err := r.open(); err != nil {
		r.Close()
		return nil, err
	}
	r.readLocal()
	return r, nil
}

func (r *Resolver) open() (err error) {
	if r.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open route netlink socket: %w", err)
	}
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open route netlink socket: %w", err)
	}
	r.socket = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}
	if r.table, err = NewLocalTable(); err != nil {
		return err
	}
	r.watcher, err = NewWatcher()
	return err
}

// Lookup returns the handle for dst. Handles are shared: the same one is
// returned as long as anybody holds it, and forgotten after. An error means that
// dst is no unicast address; if there is merely no route, the handle is not Ready.
func (r *Resolver) Lookup(dst netip.Addr) (*NextHop, error) {
	return r.LookupFrom(netip.Addr{}, dst)
}

// LookupFrom is Lookup for packets whose source address is fixed, so that
// source-based policy routing finds the right interface.
func (r *Resolver) LookupFrom(src, dst netip.Addr) (*NextHop, error) {
	key := hopKey{src.Unmap(), dst.Unmap()}
	if !key.dst.IsValid() || key.dst.IsUnspecified() || key.dst.IsMulticast() {
		return nil, fmt.Errorf("look up next hop: %v is not a unicast address", dst)
	}
	if key.src.IsValid() && key.src.Is4() != key.dst.Is4() {
		return nil, fmt.Errorf("look up next hop: %v and %v are of different families", src, dst)
	}
	for {
		if held, ok := r.hops.Load(key); ok {
			if n := held.(weak.Pointer[NextHop]).Value(); n != nil {
				return n, nil
			}
			r.hops.CompareAndDelete(key, held)
		}
		n := &NextHop{dst: key.dst, src: key.src, resolver: r}
		n.publish(r.ask(n))
		w := weak.Make(n)
		if _, taken := r.hops.LoadOrStore(key, w); taken {
			continue
		}
		runtime.AddCleanup(n, func(k hopKey) { r.hops.CompareAndDelete(k, w) }, key)
		// The kernel may have changed its mind before the handle was known to Run.
		n.publish(r.ask(n))
		return n, nil
	}
}

// Refuse keeps every next hop off the interface of that name, whatever the
// routes say: our own TUN device, so that the underlay never enters the tunnel.
// The interface need not exist yet.
func (r *Resolver) Refuse(ifname string) {
	for {
		old := r.refuse.Load()
		fresh := append(append([]string(nil), *old...), ifname)
		if r.refuse.CompareAndSwap(old, &fresh) {
			break
		}
	}
	r.resolveAll()
}

// Quiet has changes of routes logged for debugging only: another Resolver of this
// host tells of them.
func (r *Resolver) Quiet() { r.quiet.Store(true) }

// OnRoutes has changed called by [Resolver.Run] when it begins and after every
// change of routes, links or addresses, once all handles are right again: for who
// asks the kernel what handles do not tell. It must not block. There is one, given
// before Run.
func (r *Resolver) OnRoutes(changed func()) { r.changed = changed }

func (r *Resolver) refused(name string) bool {
	for _, n := range *r.refuse.Load() {
		if n == name {
			return true
		}
	}
	return false
}

// resolveAll asks for every handle that somebody holds.
func (r *Resolver) resolveAll() {
	for n := range r.held {
		r.resolve(n)
	}
}

// held yields every handle that somebody holds.
func (r *Resolver) held(yield func(*NextHop) bool) {
	r.hops.Range(func(_, w any) bool {
		if n := w.(weak.Pointer[NextHop]).Value(); n != nil {
			return yield(n)
		}
		return true
	})
}

func (r *Resolver) resolve(n *NextHop) {
	was := n.cur.Load()
	if !n.publish(r.ask(n)) {
		return
	}
	is := n.cur.Load()
	if was.dev != nil && is.dev != nil && was.dev.index == is.dev.index && was.source == is.source && was.ready == is.ready {
		return // the neighbour or the MTU: nothing an operator asks about
	}
	name, source := "-", "-"
	if is.dev != nil {
		name = is.dev.name
	}
	if is.source.IsValid() {
		source = is.source.String()
	}
	level := hclog.Info
	if r.quiet.Load() {
		level = hclog.Debug
	}
	r.log.Log(level, "underlay route changed", "remote", n.dst, "interface", name, "source", source, "up", is.ready)
}

// poke asks Run to look at all routes again. It never waits.
func (r *Resolver) poke() {
	r.lost.Store(true)
	select {
	case r.again <- struct{}{}:
	default:
	}
}

// Close releases the sockets, once Run has returned and the lookups under way have. Handles
// keep what they know; new ones are not Ready.
func (r *Resolver) Close() error {
	r.asking.Lock()
	defer r.asking.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	if r.handle != nil {
		r.handle.Close()
	}
	for _, s := range r.socket {
		s.Close()
	}
	if r.table != nil {
		r.table.Close()
	}
	if r.watcher != nil {
		return r.watcher.Close()
	}
	return nil
}
