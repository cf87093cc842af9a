package peerlink

import (
	"net/netip"
	"slices"
	"sync/atomic"
)

// claims are the overlay addresses of a peer that the key manager found to be
// the peer's. They stand before the peer can send anything, which the routes
// do not: they hear of a link only when it is up. Its zero value is empty.
type claims struct {
	now atomic.Pointer[[]netip.Prefix]
}

func (c *claims) set(addresses []netip.Prefix) { c.now.Store(&addresses) }

// Claims says whether src is an address under which the peer was admitted, by
// its newest handshake. Any goroutine may ask.
func (p *Peer) Claims(src netip.Addr) bool {
	now := p.claims.now.Load()
	return now != nil && slices.ContainsFunc(*now, func(a netip.Prefix) bool { return a.Addr() == src })
}
