package rawtcp

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// holding is a local port from which several connections are opened, to
// different remotes. It implements [packet.Held].
//
// To a restarted attempt belongs a new holding: the NAT keeps the old port's
// connection, whose numbers the new one does not fit.
type holding struct {
	t        *Transport
	v6       bool
	port     reservation
	released atomic.Bool
	closed   atomic.Bool
	asked    atomic.Int32 // calls of Dial and Cross that the actor has not seen

	// Of the actor:
	err       error       // why nothing can be received on the port
	flows     int         // that hold it
	crossings []*crossing // under way
}

var (
	_ packet.Crosser = (*Transport)(nil)
	_ packet.Held    = (*holding)(nil)
	_ reservation    = (*holding)(nil)
)

// Hold implements [packet.Crosser]. The kernel picks the port at random from
// net.ipv4.ip_local_port_range.
func (t *Transport) Hold(v6 bool) (packet.Held, error) {
	any := netip.IPv4Unspecified()
	if v6 {
		any = netip.IPv6Unspecified()
	}
	port, err := t.wire.reserve(netip.AddrPortFrom(any, 0), false)
	if err != nil {
		return nil, fmt.Errorf("taking a local port: %w", err)
	}
	h := &holding{t: t, v6: v6, port: port}
	if !t.inbox.Ref().Offer(message{hold: h}) {
		_ = h.Close()
		return nil, fmt.Errorf("taking a local port: %w", errBusy)
	}
	if t.ended.Load() {
		_ = h.Close()
		return nil, net.ErrClosed
	}
	return h, nil
}

// Port implements [packet.Held].
func (h *holding) Port() uint16 { return h.port.Port() }

// Dial implements [packet.Held].
func (h *holding) Dial(remote netip.AddrPort, done func(packet.Path, error)) (cancel func()) {
	return h.ask(message{dial: &dial{remote: unmapped(remote), done: done, from: h}})
}

// Cross implements [packet.Held]. All Remotes are tried at the same time, at
// most [MaxRemotes]; those of the other address family and those to which there
// is a connection from this port are left out. What answers is not known to be
// the peer: any server of the network may.
//
// A SYN from the address of a remote is answered whatever its port: the peer's
// NAT may give the connection to us a port that nobody can foresee. There are at
// most [MaxUnforeseen] such connections, and none that begins after the first is
// established.
//
// Should another one of the connections be established too, because the peer
// took that one for the first, it shows up in [packet.Arrivals] like an accepted
// one with the first datagram, and expires if nobody claims it with Adopt.
func (h *holding) Cross(what packet.Crossing, done func(packet.Path, error)) (cancel func()) {
	x := &crossing{dial: dial{done: done, from: h}, what: what}
	x.what.Remotes = slices.Clone(what.Remotes)
	return h.ask(message{cross: x})
}

func (h *holding) ask(m message) (cancel func()) {
	if h.released.Load() {
		go m.refuse()
		return func() {}
	}
	h.asked.Add(1)
	cancel, ok := h.t.ask(m)
	if !ok {
		h.asked.Add(-1)
	}
	return cancel
}

// seen notes that the actor has dealt with a call of Dial or Cross.
func (c *control) seen(h *holding) {
	h.asked.Add(-1)
	c.letGo(h)
}

// Release implements [packet.Held]. Attempts under way go on; cancel ends them.
func (h *holding) Release() {
	h.released.Store(true)
	h.t.poke.Give()
}

// Close gives the port back to the host. A second one does nothing.
func (h *holding) Close() error {
	if h.closed.Swap(true) {
		return nil
	}
	return h.port.Close()
}

// hold makes a held port ours, and silent, before anything is sent from it.
func (c *control) hold(h *holding) {
	c.holdings[h.Port()] = h
	if h.err = c.setPorts(); h.err != nil {
		delete(c.holdings, h.Port())
		_ = h.Close()
	}
	c.letGo(h)
}

// letGo gives a released port back once no connection holds it.
func (c *control) letGo(h *holding) {
	if !h.released.Load() || h.flows > 0 || h.asked.Load() > 0 || c.holdings[h.Port()] != h {
		return
	}
	delete(c.holdings, h.Port())
	_ = c.setPorts()
	if err := h.Close(); err != nil {
		c.t.log.Warn("giving back a local port", "port", h.Port(), "reason", err)
	}
}

// usable says whether h can take one more connection to remote.
func (h *holding) usable(remote netip.Addr) error {
	switch {
	case h.err != nil:
		return h.err
	case h.closed.Load():
		return net.ErrClosed
	case remote.Is6() != h.v6:
		return fmt.Errorf("%v is not of the address family of local port %d", remote, h.Port())
	}
	return nil
}
