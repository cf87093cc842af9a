package rawtcp

import (
	"context"
	"net/netip"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

// wire is where packets enter and leave this host, and what the host says of
// itself. [kernelWire] is the real one.
type wire interface {
	// lookup returns the live handle of the way to dst. With src the source
	// address is given; without it the handle tells the preferred one.
	lookup(src, dst netip.Addr) (hop, error)
	// send and sendPacket are those of [link.Sender].
	send(h hop, t *packet.Train, ipLen, tcpLen int) error
	sendPacket(h hop, pkt []byte) error
	// answer is [link.Sender.Answer]: one finished IP packet, checksum and all,
	// to a stranger for whom no handle is kept, back to where it came from.
	answer(to link.Origin, pkt []byte) error
	// receive, poll, descriptor and wake are those of [link.Tap].
	receive() ([]link.Packet, error)
	poll() ([]link.Packet, error)
	descriptor() (int, error)
	wake()
	// setPorts makes ports the set of local ports that are received here and
	// hidden from the kernel's TCP.
	setPorts(ports []uint16) error
	// reserve holds a local port; see [guard.Reserve].
	reserve(addr netip.AddrPort, listen bool) (reservation, error)
	// isLocal says whether addr is one of this host's, as of the last refresh.
	isLocal(addr netip.Addr) bool
	refresh()
	// run follows the kernel's routes and interfaces until ctx ends.
	run(ctx context.Context) error
	describe() (guard, receive string, reasons []string)
	// close makes receive return net.ErrClosed and removes every trace.
	close() error
}

// hop is the part of [link.NextHop] that we use.
type hop interface {
	Source() netip.Addr
	MTU() int
	Ready() bool
	Mode() string
	OnChange(func()) (cancel func())
}

// reservation is the part of guard.Reservation that we use.
type reservation interface {
	Port() uint16
	Close() error
}
