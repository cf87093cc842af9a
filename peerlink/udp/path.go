package udp

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// Path is one of our sockets, one address of ours and one of somebody else: a
// [packet.Path]. It ends when the host loses the address, when its socket is
// released, when nobody adopts it, or with Close.
//
// All methods may be called by any goroutine. Send and MaxDatagram allocate
// nothing; Adopt asks the kernel for the route.
type Path struct {
	transport *Transport
	socket    *socket
	key       key
	local     netip.AddrPort
	remote    netip.AddrPort
	name      unix.RawSockaddrInet6 // or an IPv4 one in its place
	nameLen   uint32
	from      int // the interface that its first datagram came through; 0: none did

	way     atomic.Pointer[way] // nil: not asked for yet
	state   atomic.Uint32       // young, adopted, gone
	ours    atomic.Bool         // counted in the transport's asked
	used    atomic.Bool         // since the table of strangers was last short of room
	seen    atomic.Uint32       // the transport's beat when it was last used
	refused atomic.Uint64       // 1 + the way's generation at which segmentation was refused
	moved   atomic.Bool         // its way has changed, which Run has not looked at
	was     heading             // of Run: the way as the watcher knows it
	missing int                 // of Run: beats for which the host has not had the address

	watcher atomic.Pointer[func()] // see OnChange
	unwatch atomic.Pointer[func()] // ends the watch of the way
}

const (
	young uint32 = iota
	adopted
	gone
)

var (
	_ packet.Path    = (*Path)(nil)
	_ packet.Watched = (*Path)(nil)
	_ packet.Hopper  = (*Path)(nil)
)

// key is what makes two paths the same. IPv4 addresses are mapped into IPv6.
type key struct {
	socket        packet.Socket
	local, remote [16]byte
	scope         uint32 // the link of a link-local remote
	port          uint16
}

// newPath makes a path of k, arrived through an interface or not (0).
func newPath(t *Transport, s *socket, k key, from int) *Path {
	local, remote := netip.AddrFrom16(k.local).Unmap(), netip.AddrFrom16(k.remote).Unmap()
	if k.scope != 0 {
		remote = remote.WithZone(strconv.Itoa(int(k.scope)))
	}
	p := &Path{
		transport: t, socket: s, key: k, from: from,
		local: netip.AddrPortFrom(local, s.port), remote: netip.AddrPortFrom(remote, k.port),
	}
	if s.v6 {
		p.name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: bigEndian(k.port), Addr: k.remote, Scope_id: k.scope}
		p.nameLen = unix.SizeofSockaddrInet6
	} else {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&p.name)) = unix.RawSockaddrInet4{
			Family: unix.AF_INET, Port: bigEndian(k.port), Addr: remote.As4(),
		}
		p.nameLen = unix.SizeofSockaddrInet4
	}
	p.seen.Store(t.beat.Load())
	return p
}

func bigEndian(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// touch notes that the path is in use. It writes only if it must, so that pumps
// on several cores do not fight for the cache line.
func (p *Path) touch() {
	if beat := p.transport.beat.Load(); p.seen.Load() != beat {
		p.seen.Store(beat)
	}
	if !p.used.Load() {
		p.used.Store(true)
	}
}

// out says where packets go now, or why they do not. While there are too many
// strangers to look at the routes for each, they are answered through the
// interface that brought them; but not over IPv6, which takes that for a hint.
func (p *Path) out() (w *way, to heading) {
	if w = p.way.Load(); w != nil {
		return w, w.out()
	}
	if p.transport.lookups.allow(p.transport.now()) {
		if w = p.find(); w == nil {
			return nil, heading{why: dropNoRoute}
		}
		return w, w.out()
	}
	if p.socket.v6 {
		return nil, heading{why: dropBusy}
	}
	return nil, heading{p.from, p.local.Addr(), noDrop}
}

// find asks for the way, once.
func (p *Path) find() *way {
	if w := p.way.Load(); w != nil {
		return w
	}
	w, err := p.transport.router.find(p.local.Addr(), p.remote.Addr())
	if err != nil {
		return nil
	}
	p.way.CompareAndSwap(nil, w)
	return p.way.Load()
}

// Adopt implements [packet.Path]. The path then lives until Close, or until the
// host loses its address.
func (p *Path) Adopt() {
	p.socket.adopted.Add(1)
	if !p.state.CompareAndSwap(young, adopted) {
		p.socket.disown(p.transport)
		return
	}
	if p.ours.Swap(false) {
		p.transport.asked.Add(-1)
	}
	w := p.find()
	if w == nil || w.hop == nil {
		return
	}
	cancel := w.hop.OnChange(func() {
		p.moved.Store(true)
		p.transport.poke.Give()
	})
	p.unwatch.Store(&cancel)
	p.moved.Store(true) // it may have changed before
	p.transport.poke.Give()
	if !p.Alive() {
		p.unhook()
	}
}

func (p *Path) unhook() {
	if cancel := p.unwatch.Swap(nil); cancel != nil {
		(*cancel)()
	}
}

// OnChange implements [packet.Watched].
func (p *Path) OnChange(f func()) { p.watcher.Store(&f) }

func (p *Path) changed() {
	if w := p.watcher.Load(); w != nil {
		(*w)()
	}
}

// reconsider looks at what a changed route means, and says whether the host has
// the path's address. It belongs to Run.
func (p *Path) reconsider() (here bool) {
	t := p.transport
	here = t.router.resolver.IsLocal(p.local.Addr())
	now := heading{why: dropNoRoute}
	if w := p.way.Load(); here && w != nil {
		t.router.check(w, p.remote.Addr())
		now = w.out()
		now.source = netip.Addr{} // who chooses it makes no difference
	}
	if was := p.was; now != was {
		p.was = now
		if was != (heading{}) {
			p.changed()
		}
	}
	return here
}

// Prefix implements [packet.Path].
func (p *Path) Prefix() int { return 0 }

const (
	headers4 = 20 + 8
	headers6 = 40 + 8
	// leastMTU is what is assumed of a link that nobody has looked at: the least
	// that IPv6 allows.
	leastMTU = 1280
)

// MaxDatagram implements [packet.Path]. It follows the MTU of the interface and
// of the route. A path of a stranger, before anything is sent, has the least that
// is usual.
func (p *Path) MaxDatagram() int {
	mtu := leastMTU
	if w := p.way.Load(); w != nil {
		mtu = w.linkMTU()
	}
	return p.fits(mtu)
}

// fits is the largest datagram in a packet of mtu bytes.
func (p *Path) fits(mtu int) int {
	if p.socket.v6 {
		return min(max(mtu-headers6, 0), packet.MaxTrain)
	}
	return min(max(mtu-headers4, 0), packet.MaxTrain)
}

// Kind implements [packet.Path].
func (p *Path) Kind() packet.Kind { return packet.UDP }

// Local implements [packet.Path].
func (p *Path) Local() netip.AddrPort { return p.local }

// Remote implements [packet.Path].
func (p *Path) Remote() netip.AddrPort { return p.remote }

// Alive implements [packet.Path].
func (p *Path) Alive() bool { return p.state.Load() != gone }

// Close implements [packet.Path]. The other side is told nothing; what it sends
// makes a new path.
func (p *Path) Close() {
	if was := p.state.Swap(gone); was != gone {
		p.ended(was)
	}
}

// ended takes the path, which was young or adopted, out of the table.
func (p *Path) ended(was uint32) {
	t := p.transport
	t.paths.CompareAndDelete(p.key, p)
	t.removals.Add(1)
	if p.ours.Swap(false) {
		t.asked.Add(-1)
	}
	p.unhook()
	p.changed()
	if was == adopted {
		p.socket.disown(t)
	}
}

func (p *Path) String() string { return p.local.String() + ">" + p.remote.String() }
