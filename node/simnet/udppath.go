package simnet

import (
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// udpPath is the way from a socket to a remote address: a packet.Path and a
// packet.Hopper. It stays when the host moves.
type udpPath struct {
	s      *socket
	remote netip.AddrPort
	mtu    int // the host's when the path was made

	alive, adopted atomic.Bool
	local          atomic.Pointer[netip.AddrPort]
	watcher        atomic.Pointer[func()]
}

var (
	_ packet.Path    = (*udpPath)(nil)
	_ packet.Hopper  = (*udpPath)(nil)
	_ packet.Watched = (*udpPath)(nil)
)

func (p *udpPath) Send(t *packet.Train) error { return p.SendHops(t, allHops) }

// SendHops implements packet.Hopper.
func (p *udpPath) SendHops(t *packet.Train, hops uint8) error {
	h := p.s.u.host
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	local := *p.local.Load()
	switch {
	case !p.alive.Load():
		return net.ErrClosed
	case h.busy:
		h.net.drop("interface is full")
		return packet.ErrFull
	case !local.Addr().IsValid():
		h.net.drop("host has no address of that family")
		return packet.ErrFull
	case hops == 0:
		h.net.drop(ranOut)
		return nil
	}
	for i := range t.Len() {
		h.net.send(h, wirePacket{src: local, dst: p.remote, kind: wireUDP, hops: hops,
			payload: append([]byte(nil), t.Datagram(i)...)})
	}
	return nil
}

func (p *udpPath) Prefix() int            { return 0 }
func (p *udpPath) MaxDatagram() int       { return p.mtu - udpOverhead(p.remote.Addr()) }
func (p *udpPath) Kind() packet.Kind      { return packet.UDP }
func (p *udpPath) Local() netip.AddrPort  { return *p.local.Load() }
func (p *udpPath) Remote() netip.AddrPort { return p.remote }
func (p *udpPath) Adopt()                 { p.adopted.Store(true) } // nothing expires here
func (p *udpPath) Alive() bool            { return p.alive.Load() }

// OnChange implements packet.Watched.
func (p *udpPath) OnChange(changed func()) { p.watcher.Store(&changed) }

// Close implements packet.Path: what still comes from there is another path.
func (p *udpPath) Close() {
	p.s.u.host.net.mu.Lock()
	defer p.s.u.host.net.mu.Unlock()
	p.end()
	p.s.tidy()
}

func (p *udpPath) end() {
	if !p.alive.Swap(false) {
		return
	}
	delete(p.s.paths, p.remote)
	p.tell()
}

func (p *udpPath) tell() {
	if w := p.watcher.Load(); w != nil {
		(*w)()
	}
}

// locate finds out from which address packets leave now; none: the zero address.
func (p *udpPath) locate() {
	a, _ := p.s.u.host.family(p.s.key.v6)
	local := netip.AddrPortFrom(a, p.s.key.port)
	p.local.Store(&local)
}
