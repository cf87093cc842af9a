package nat

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// world is an internet of UDP in the virtual time of a bubble: hosts, some of them
// behind a router.
type world struct {
	t        *testing.T
	mu       sync.Mutex
	rng      *rand.Rand
	loss     float64
	lostEach int // every so many-th datagram is lost; 0: none
	carried  int
	latency  time.Duration
	hosts    map[netip.Addr]*host
	servers  map[netip.AddrPort]func(data []byte, from netip.AddrPort) // public ones
	routers  map[netip.Addr]*router
	masker   *wire.Masker
	outer    wire.Outer
	tap      func(data []byte, from, to netip.AddrPort)
}

func newWorld(t *testing.T) *world {
	keys := wire.DeriveKeys([32]byte{1})
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(1, 2)), latency: 20 * time.Millisecond,
		hosts: map[netip.Addr]*host{}, servers: map[netip.AddrPort]func([]byte, netip.AddrPort){}, routers: map[netip.Addr]*router{},
		masker: wire.NewMasker(keys.Mask),
	}
	w.outer = wire.NewOuter(keys.Outer, w.masker)
	return w
}

// router is one NAT. The zero kinds pass addresses through.
type router struct {
	address   netip.Addr
	mapping   Dependence // Direct: a firewall
	filtering Dependence
	step      int
	preserves bool
	hairpin   bool
	blocked   bool          // UDP
	forwarded uint16        // a port at which everybody gets in
	life      time.Duration // of a hole through which nothing goes out; 0: for ever

	next   uint16
	byKey  map[string]*hole
	byPort map[uint16]*hole
}

type hole struct {
	inside, outside netip.AddrPort
	sent            []netip.AddrPort
	used            time.Time
}

func (r *router) forgot(h *hole) bool { return r.life > 0 && time.Since(h.used) > r.life }

func (w *world) router(r router) *router {
	r.address = netip.MustParseAddr("198.51.100.7")
	r.next = 40000
	w.routers[r.address] = &r
	r.reboot()
	return &r
}

func (r *router) reboot() { r.byKey, r.byPort = map[string]*hole{}, map[uint16]*hole{} }

func (r *router) out(w *world, from, to netip.AddrPort) netip.AddrPort {
	key := from.String()
	switch r.mapping {
	case AddressDependent:
		key += to.Addr().String()
	case AddressAndPortDependent:
		key += to.String()
	}
	h := r.byKey[key]
	if h == nil || r.forgot(h) {
		h = &hole{inside: from, outside: netip.AddrPortFrom(r.address, r.port(w, from.Port()))}
		if r.mapping == Direct {
			h.outside = from
		}
		r.byKey[key], r.byPort[h.outside.Port()] = h, h
	}
	h.sent, h.used = append(h.sent, to), time.Now()
	return h.outside
}

func (r *router) port(w *world, local uint16) uint16 {
	switch {
	case r.preserves:
		return local
	case r.step != 0:
		r.next += uint16(r.step)
		return r.next
	}
	return uint16(1024 + w.rng.IntN(64000))
}

func (r *router) in(from, to netip.AddrPort) (netip.AddrPort, bool) {
	h := r.byPort[to.Port()]
	if h == nil || r.forgot(h) {
		return netip.AddrPort{}, false
	}
	return h.inside, r.filtering == EndpointIndependent || to.Port() == r.forwarded || slices.ContainsFunc(h.sent, func(s netip.AddrPort) bool {
		return s == from || s.Addr() == from.Addr() && r.filtering == AddressDependent
	})
}

// host is a host with a UDP transport, and the packet.Pather of it.
type host struct {
	w       *world
	address netip.Addr
	router  *router
	receive func(data []byte, path packet.Path)

	mu      sync.Mutex
	next    packet.Socket
	sockets map[packet.Socket]uint16
	ports   map[uint16]packet.Socket
	paths   map[pathKey]*path
	sent    int
	opened  int
	broken  bool // cannot open sockets
	dialled atomic.Int64
	dials   atomic.Int64 // those that are under way too
	closed  atomic.Int64
}

type pathKey struct {
	socket packet.Socket
	remote netip.AddrPort
	kind   packet.Kind
}

type path struct {
	h *host
	pathKey
}

func (w *world) host(address string, r *router) *host {
	h := &host{
		w: w, router: r, address: netip.MustParseAddr(address),
		sockets: map[packet.Socket]uint16{0: 9000}, ports: map[uint16]packet.Socket{9000: 0}, paths: map[pathKey]*path{},
	}
	return h
}

func (h *host) endpoint() netip.AddrPort { return netip.AddrPortFrom(h.address, 9000) }

func (h *host) Through(s packet.Socket, remote netip.AddrPort) (packet.Path, error) {
	return h.through(pathKey{s, remote, packet.UDP})
}

func (h *host) through(key pathKey) (packet.Path, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.sockets[key.socket]; !ok || key.remote.Addr().Is4() != h.address.Is4() {
		return nil, errors.New("no such socket")
	}
	if h.paths[key] == nil {
		h.paths[key] = &path{h: h, pathKey: key}
	}
	return h.paths[key], nil
}

func (h *host) Sockets(n int, v6 bool) (all []packet.Socket, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if v6 == h.address.Is4() || h.broken {
		return nil, errors.New("family is not served")
	}
	for range n {
		h.next++
		h.opened++
		port := uint16(20000 + h.next)
		h.sockets[h.next], h.ports[port] = port, h.next
		all = append(all, h.next)
	}
	return all, nil
}

func (h *host) Release(all []packet.Socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range all {
		delete(h.ports, h.sockets[s])
		delete(h.sockets, s)
	}
}

func (h *host) Forget(packet.Path) {}

func (h *host) Port(v6 bool) uint16 {
	if v6 == h.address.Is4() {
		return 0
	}
	return 9000
}

func (h *host) Dial(remote netip.AddrPort, done func(packet.Path, error)) func() {
	done(h.Through(0, remote))
	return func() {}
}

// open is the number of sockets besides socket zero.
func (h *host) open() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.sockets) - 1
}

// arrive takes a datagram for one of the host's ports.
func (h *host) arrive(kind packet.Kind, data []byte, from, to netip.AddrPort) {
	h.mu.Lock()
	s, ok := h.ports[to.Port()]
	h.mu.Unlock()
	if !ok || to.Addr() != h.address || h.receive == nil {
		return
	}
	p, err := h.through(pathKey{s, from, kind})
	if err == nil {
		h.receive(data, p)
	}
}

func (p *path) Send(t *packet.Train) error {
	for i := range t.Len() {
		p.h.w.send(p.h, p.kind, slices.Clone(t.Datagram(i)), p.Local(), p.remote)
	}
	return nil
}
func (p *path) Prefix() int            { return 0 }
func (p *path) MaxDatagram() int       { return 1400 }
func (p *path) Kind() packet.Kind      { return p.kind }
func (p *path) Remote() netip.AddrPort { return p.remote }
func (p *path) Adopt()                 {}
func (p *path) Alive() bool            { return true }
func (p *path) Close()                 { p.h.closed.Add(1) }
func (p *path) Local() netip.AddrPort {
	p.h.mu.Lock()
	defer p.h.mu.Unlock()
	return netip.AddrPortFrom(p.h.address, p.h.sockets[p.socket])
}

// send carries a datagram through the sender's router, the internet, and the
// receiver's router.
func (w *world) send(h *host, kind packet.Kind, data []byte, from, to netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h.sent++
	if r := h.router; r != nil {
		if r.blocked && kind == packet.UDP {
			return
		}
		from = r.out(w, from, to)
		if to.Addr() == r.address && !r.hairpin {
			return
		}
	}
	if w.rng.Float64() < w.loss {
		return
	}
	if w.carried++; w.lostEach > 0 && w.carried%w.lostEach == 0 {
		return
	}
	if w.tap != nil {
		w.tap(data, from, to)
	}
	time.AfterFunc(w.latency, func() { w.deliver(kind, data, from, to) })
}

// inject puts a datagram on the internet, as anybody can.
func (w *world) inject(data []byte, from, to netip.AddrPort) {
	time.AfterFunc(w.latency, func() { w.deliver(packet.UDP, slices.Clone(data), from, to) })
}

func (w *world) deliver(kind packet.Kind, data []byte, from, to netip.AddrPort) {
	w.mu.Lock()
	h, server := w.hosts[to.Addr()], w.servers[to]
	r := w.routers[to.Addr()]
	if h != nil {
		r = h.router
	}
	if r != nil {
		inside, ok := r.in(from, to)
		h = w.hosts[inside.Addr()]
		if !ok || r.mapping != Direct && to.Addr() != r.address {
			h = nil
		}
		to = inside
	}
	w.mu.Unlock()
	switch {
	case h != nil:
		h.arrive(kind, data, from, to)
	case server != nil:
		server(data, from)
	}
}

// serve runs a public server with one address, or with two addresses and two ports
// as RFC 5780 wants it.
func (w *world) serve(endpoints ...string) {
	for i, e := range endpoints {
		self := at(e)
		w.servers[self] = func(data []byte, from netip.AddrPort) {
			m, err := ParseMessage(data)
			if err != nil || m.Class != Request {
				w.t.Errorf("a public server got %x: %v", data, err)
				return
			}
			answer, source := Message{Class: Success, ID: m.ID, Mapped: from}, self
			if len(endpoints) == 4 {
				// 0: first address and port, 1: other port, 2: other address, 3: both
				answer.Other = at(endpoints[i^3])
				other := i
				if m.Change&ChangePort != 0 {
					other ^= 1
				}
				if m.Change&ChangeAddress != 0 {
					other ^= 2
				}
				source = at(endpoints[other])
			}
			w.inject(answer.Append(nil), source, from)
		}
	}
}

// Hold and Dial make the host a packet.Crosser: of connections there is only that
// they take a round trip.
func (h *host) Hold(v6 bool) (packet.Held, error) {
	all, err := h.Sockets(1, v6)
	if err != nil {
		return nil, err
	}
	return held{h, all[0]}, nil
}

type held struct {
	h *host
	s packet.Socket
}

func (d held) Port() uint16 {
	d.h.mu.Lock()
	defer d.h.mu.Unlock()
	return d.h.sockets[d.s]
}
func (d held) Release() { d.h.Release([]packet.Socket{d.s}) }
func (d held) Cross(packet.Crossing, func(packet.Path, error)) func() {
	panic("nobody crosses here")
}
func (d held) Dial(remote netip.AddrPort, done func(packet.Path, error)) func() {
	w := d.h.w
	// One after the other, as the SYNs are that the router maps.
	after := time.Duration(d.h.dials.Add(1)) * time.Microsecond
	time.AfterFunc(2*w.latency+after, func() {
		w.mu.Lock()
		there := w.hosts[remote.Addr()] != nil
		w.mu.Unlock()
		if !there {
			done(nil, errors.New("nobody answers"))
			return
		}
		d.h.dialled.Add(1)
		done(d.h.through(pathKey{d.s, remote, packet.RawTCP}))
	})
	return func() {}
}
