package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// errTooMany is returned where nobody adopts the paths that are asked for.
var errTooMany = errors.New("too many paths that nobody uses")

// Through implements [packet.Pather]. The source address is the one that the
// host prefers now; if it comes to prefer another, a later call returns another
// path. A path that nobody adopts and that carries nothing for a minute ends.
//
// It asks the kernel for the route, which takes some tens of microseconds.
func (t *Transport) Through(number packet.Socket, remote netip.AddrPort) (packet.Path, error) {
	p, err := t.through(number, remote)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (t *Transport) through(number packet.Socket, remote netip.AddrPort) (*Path, error) {
	addr := remote.Addr().Unmap()
	if t.closed.Load() {
		return nil, net.ErrClosed
	}
	if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() || remote.Port() == 0 {
		return nil, fmt.Errorf("path to %v: not the address of a host", remote)
	}
	s := (*t.sockets.Load())[socketID{number, addr.Is6()}]
	if s == nil {
		return nil, fmt.Errorf("path to %v: socket %d has no port in that address family", remote, number)
	}
	local, hop, err := t.router.source(addr)
	if err != nil {
		return nil, fmt.Errorf("path to %v: %w", remote, err)
	}
	if local, err = t.sourceOf(s, local); err != nil {
		return nil, fmt.Errorf("path to %v: %w", remote, err)
	}
	k := key{socket: number, local: local.As16(), remote: addr.As16(), port: remote.Port()}
	if addr.Is6() && addr.IsLinkLocalUnicast() {
		l, err := t.router.onLink(addr)
		if err != nil {
			return nil, fmt.Errorf("path to %v: %w", remote, err)
		}
		k.scope = uint32(l.Attrs().Index)
	}
	for {
		if v, ok := t.paths.Load(k); ok {
			p := v.(*Path)
			if p.Alive() {
				p.find()
				p.touch()
				return p, nil
			}
			t.paths.CompareAndDelete(k, p)
		}
		if t.asked.Add(1) > int32(t.cfg.MaxPaths) {
			t.asked.Add(-1)
			return nil, fmt.Errorf("path to %v: %w", remote, errTooMany)
		}
		p := newPath(t, s, k, 0)
		p.ours.Store(true)
		w, err := t.router.find(local, addr)
		if err != nil {
			t.asked.Add(-1)
			return nil, fmt.Errorf("path to %v: %w", remote, err)
		}
		w.preferred = hop
		p.way.Store(w)
		if t.keep(p) == p {
			return p, nil
		}
		t.asked.Add(-1) // another was faster; what it made is found next
	}
}

// sourceOf is the address to send from when the host prefers another.
func (t *Transport) sourceOf(s *socket, preferred netip.Addr) (netip.Addr, error) {
	if s.bound.IsValid() {
		return s.bound.WithZone(""), nil
	}
	if t.cfg.listens(preferred) {
		return preferred.WithZone(""), nil
	}
	for _, a := range t.cfg.Listen {
		if a.Is6() == s.v6 {
			return a.WithZone(""), nil
		}
	}
	return netip.Addr{}, errNoRoute
}

// keep puts p into the table unless its like is there, and returns which is. A
// path whose socket has been closed meanwhile ends at once.
func (t *Transport) keep(p *Path) *Path {
	if v, there := t.paths.LoadOrStore(p.key, p); there {
		return v.(*Path)
	}
	if p.socket.shut.Load() || t.closed.Load() {
		p.Close()
	}
	return p
}

// Forget implements [packet.Pather].
func (*Transport) Forget(p packet.Path) {
	if p := p.(*Path); p.state.CompareAndSwap(young, gone) {
		p.ended(young)
	}
}

// Dial implements [packet.Dialer]. The path lives until Close, as if adopted. The
// answer is under way when Dial returns: cancel does nothing.
func (t *Transport) Dial(remote netip.AddrPort, done func(packet.Path, error)) (cancel func()) {
	p, err := t.through(0, remote)
	if err != nil {
		go done(nil, err)
	} else {
		p.Adopt()
		go done(p, nil)
	}
	return func() {}
}
