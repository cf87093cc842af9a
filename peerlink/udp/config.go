package udp

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// Config says how a [Transport] works. The zero value is usable: any port, all
// addresses.
type Config struct {
	// Port is the local port of socket zero, in both families; 0: one chosen at
	// random that both can have.
	Port uint16
	// Listen are the addresses to receive on and send from; nil: all, as is ::. A
	// family without an address here is not served.
	Listen []netip.Addr
	Log    hclog.Logger // nil: none
	// RoutesElsewhere says that another transport of this host tells the log of
	// changed routes: this one does so at the level of debugging only.
	RoutesElsewhere bool
	// ExcludeInterfaces are never sent through nor received from: our own TUN
	// devices. They need not exist yet.
	ExcludeInterfaces []string
	// STUN, if not nil, is called by the receiving goroutine with each datagram
	// that looks like a STUN message (see [LooksLikeSTUN]), which is valid during
	// the call. It must not block. False: the datagram goes on as any other.
	STUN func(message []byte, p packet.Path) bool
	// MaxPaths bounds the paths that nobody has adopted: so many of strangers, and
	// as many of our own. 0: 4096.
	MaxPaths int
	// ReceiveBuffer and SendBuffer bound what waits in the kernel for each socket,
	// in bytes; 0: 4 MiB and 1 MiB.
	ReceiveBuffer, SendBuffer int
	// NoGSO, NoGRO and NoBatch force the slower ways that are otherwise taken
	// where the kernel or an interface lacks the faster one.
	NoGSO, NoGRO, NoBatch bool
}

func (c *Config) complete() error {
	for i, a := range c.Listen {
		c.Listen[i] = a.Unmap()
		if !a.IsValid() || a.IsMulticast() {
			return fmt.Errorf("listen %v: an address of this host is needed", a)
		}
	}
	if slices.Contains(c.Listen, netip.IPv6Unspecified()) {
		c.Listen = nil
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	if c.MaxPaths == 0 {
		c.MaxPaths = 4096
	}
	if c.ReceiveBuffer == 0 {
		c.ReceiveBuffer = 4 << 20
	}
	if c.SendBuffer == 0 {
		c.SendBuffer = 1 << 20
	}
	return nil
}

// listens says whether addr is one that we receive on.
func (c *Config) listens(addr netip.Addr) bool {
	for _, a := range c.Listen {
		if a == addr || a == netip.IPv4Unspecified() && addr.Is4() {
			return true
		}
	}
	return len(c.Listen) == 0
}

// bind is the address to bind a socket of one family to. Several addresses need
// the wildcard: what comes to others is dropped by the pump.
func (c *Config) bind(v6 bool) (addr netip.Addr, serve bool) {
	wild := netip.IPv4Unspecified()
	if v6 {
		wild = netip.IPv6Unspecified()
	}
	if len(c.Listen) == 0 {
		return wild, true
	}
	n := 0
	for _, a := range c.Listen {
		if a.Is6() == v6 {
			addr = a
			n++
		}
	}
	if n > 1 {
		return wild, true
	}
	return addr, n == 1
}
