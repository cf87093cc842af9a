package simnet

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// UDPTransport is the half of a [Transport] without connections: a packet.Pather. What
// arrives on its sockets comes out of the transport's Receive, together with the
// flows'; its own Receive, Wake and Close are those of the transport.
type UDPTransport struct {
	*Transport

	// Guarded by the net's mutex.
	sockets map[packet.Socket]*socket
	zero    [2]*socket    // IPv4, IPv6
	named   packet.Socket // the latest
}

// socket is a local port of one family.
type socket struct {
	u        *UDPTransport
	key      socketKey
	name     packet.Socket
	paths    map[netip.AddrPort]*udpPath
	released bool // but an adopted path uses it
}

type socketKey struct {
	port uint16
	v6   bool
}

var (
	_ packet.Pather   = (*UDPTransport)(nil)
	_ packet.Receiver = (*UDPTransport)(nil)
)

// UDP returns the transport's UDP half, always the same. Its socket zero has the
// transport's port, a random one if that is 0, in both families.
func (t *Transport) UDP() *UDPTransport {
	h := t.host
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if t.udp != nil {
		return t.udp
	}
	t.udp = &UDPTransport{Transport: t, sockets: map[packet.Socket]*socket{}}
	if t.closed.Load() {
		return t.udp
	}
	port := t.port
	for port == 0 || h.sockets[socketKey{port, false}] != nil || h.sockets[socketKey{port, true}] != nil {
		port = h.ephemeral()
	}
	for i, v6 := range []bool{false, true} {
		t.udp.zero[i] = t.udp.open(socketKey{port, v6}, 0)
	}
	return t.udp
}

func (u *UDPTransport) open(key socketKey, name packet.Socket) *socket {
	s := &socket{u: u, key: key, name: name, paths: map[netip.AddrPort]*udpPath{}}
	u.host.sockets[key] = s
	if name != 0 {
		u.sockets[name] = s
	}
	return s
}

// Dial implements packet.Dialer: done gets the path at once.
func (u *UDPTransport) Dial(remote netip.AddrPort, done func(packet.Path, error)) (cancel func()) {
	p, err := u.Through(0, remote)
	u.host.net.clock.at(time.Now(), func() { done(p, err) })
	return func() {}
}

// Through implements packet.Pather. The error wraps syscall.ENETUNREACH if the
// host has no address of that family, syscall.EBADF if there is no such socket of
// that family.
func (u *UDPTransport) Through(name packet.Socket, remote netip.AddrPort) (packet.Path, error) {
	u.host.net.mu.Lock()
	defer u.host.net.mu.Unlock()
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	v6 := remote.Addr().Is6()
	s := u.sockets[name]
	if name == 0 {
		s = u.zero[0]
		if v6 {
			s = u.zero[1]
		}
	}
	switch {
	case u.closed.Load():
		return nil, net.ErrClosed
	case s == nil || s.released || s.key.v6 != v6:
		return nil, fmt.Errorf("path to %s from socket %d: %w", remote, name, syscall.EBADF)
	}
	if _, ok := u.host.family(v6); !ok {
		return nil, fmt.Errorf("path to %s: %w", remote, syscall.ENETUNREACH)
	}
	return s.path(remote), nil
}

// Sockets implements packet.Pather.
func (u *UDPTransport) Sockets(n int, v6 bool) ([]packet.Socket, error) {
	u.host.net.mu.Lock()
	defer u.host.net.mu.Unlock()
	if u.closed.Load() {
		return nil, net.ErrClosed
	}
	if _, ok := u.host.family(v6); !ok {
		return nil, fmt.Errorf("open %d sockets on %s: %w", n, u.host.name, syscall.EAFNOSUPPORT)
	}
	names := make([]packet.Socket, n)
	for i := range names {
		key := socketKey{u.host.ephemeral(), v6}
		for u.host.sockets[key] != nil {
			key.port = u.host.ephemeral()
		}
		u.named++
		names[i] = u.named
		u.open(key, u.named)
	}
	return names, nil
}

// Release implements packet.Pather.
func (u *UDPTransport) Release(names []packet.Socket) {
	u.host.net.mu.Lock()
	defer u.host.net.mu.Unlock()
	for _, name := range names {
		s := u.sockets[name]
		if s == nil {
			continue
		}
		s.released = true
		for _, p := range s.sorted() {
			if !p.adopted.Load() {
				p.end()
			}
		}
		s.tidy()
	}
}

// Forget implements packet.Pather.
func (u *UDPTransport) Forget(p packet.Path) {
	if p := p.(*udpPath); !p.adopted.Load() {
		p.Close()
	}
}

// Port implements packet.Pather.
func (u *UDPTransport) Port(v6 bool) uint16 {
	u.host.net.mu.Lock()
	defer u.host.net.mu.Unlock()
	if _, ok := u.host.family(v6); !ok || u.zero[0] == nil || u.closed.Load() {
		return 0
	}
	return u.zero[0].key.port
}

// all are the open sockets, in an order that is the same in every run.
func (u *UDPTransport) all() []*socket {
	var all []*socket
	for _, s := range u.zero {
		if s != nil {
			all = append(all, s)
		}
	}
	for name := packet.Socket(1); name <= u.named; name++ {
		if s := u.sockets[name]; s != nil {
			all = append(all, s)
		}
	}
	return all
}

func (u *UDPTransport) close() {
	for _, s := range u.all() {
		for _, p := range s.sorted() {
			p.end()
		}
		s.close()
	}
}

// moved tells the paths that the host has other addresses.
func (u *UDPTransport) moved() {
	for _, s := range u.all() {
		for _, p := range s.sorted() {
			p.locate()
			p.tell()
		}
	}
}

func (s *socket) close() {
	delete(s.u.host.sockets, s.key)
	delete(s.u.sockets, s.name)
}

// tidy closes a released socket that nobody needs any more.
func (s *socket) tidy() {
	if s.released && len(s.paths) == 0 {
		s.close()
	}
}

// path returns the path to remote, a new one if there is none.
func (s *socket) path(remote netip.AddrPort) *udpPath {
	p := s.paths[remote]
	if p == nil {
		p = &udpPath{s: s, remote: remote, mtu: s.u.host.mtu}
		p.alive.Store(true)
		p.locate()
		s.paths[remote] = p
	}
	return p
}

func (s *socket) receive(p wirePacket) {
	// To a socket that was given up only those can come who are still wanted.
	if s.released && s.paths[p.src] == nil {
		s.u.host.net.drop("no socket")
		return
	}
	s.u.push(s.path(p.src), p.payload)
}

// sorted are the paths, in an order that is the same in every run.
func (s *socket) sorted() []*udpPath {
	paths := make([]*udpPath, 0, len(s.paths))
	for _, p := range s.paths {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, func(a, b *udpPath) int { return a.remote.Compare(b.remote) })
	return paths
}
