package packet

import (
	"net/netip"
	"time"
)

// Poller is a [Receiver] that can be waited for together with others. Poll and
// Receive belong to the same pump.
type Poller interface {
	Receiver
	// Poll is Receive without waiting: no datagrams and no error if none are there.
	Poll() (Arrivals, error)
	// Descriptor is a file descriptor that is readable whenever Poll may bring
	// something, or [Receiver.Wake] was called, until the next Poll.
	Descriptor() (int, error)
}

// Socket names one of the local ports of a [Pather]. Zero is the one that the
// transport always has; the name means nothing but to the transport that gave it.
type Socket uint32

// Pather is a transport without connections, as UDP is: whatever address answers
// is a path. Dial is answered at once, with the path from socket zero. All
// methods may be called by any goroutine; none blocks.
type Pather interface {
	Dialer
	// Through returns the path from socket s to remote and says nothing on the
	// wire. For the same s and remote it is the same Path, as long as that lives.
	Through(s Socket, remote netip.AddrPort) (Path, error)
	// Sockets opens n more sockets, each on a port of its own chosen at random, and
	// of one address family. What arrives there comes out of Receive like all else.
	Sockets(n int, v6 bool) ([]Socket, error)
	// Release closes sockets but those that an adopted path uses: these are closed
	// with it.
	Release(sockets []Socket)
	// Forget closes a path that Through returned, unless it is adopted: others may
	// have asked for the same one.
	Forget(p Path)
	// Port is the local port of socket zero; 0: that family is not served.
	Port(v6 bool) uint16
}

// Hopper is a [Path] whose packets can be made to die on the way: they open the
// own NAT and are not seen by the other.
type Hopper interface {
	// SendHops is Send with so many hops to live (TTL, hop limit).
	SendHops(t *Train, hops uint8) error
}

// Crosser is a transport with connections that can open one to a node behind a
// NAT, which opens it at the same time.
type Crosser interface {
	Dialer
	// Hold takes a random local port of one family, until Release.
	Hold(v6 bool) (Held, error)
}

// Held is a local port from which several connections are opened, so that a NAT
// that maps alike for all destinations maps them to one port. All methods may be
// called by any goroutine; none blocks.
type Held interface {
	// Port is the local port.
	Port() uint16
	// Dial is [Dialer.Dial] from this port: whoever is dialled can say how the NAT
	// maps the port.
	Dial(remote netip.AddrPort, done func(Path, error)) (cancel func())
	// Cross opens a connection by simultaneous open (RFC 9293, 3.5) to whichever of
	// the remotes answers; the others are given up. While it runs, a few connections
	// that come from other ports of a remote's address are answered too: a NAT may
	// choose ports that nobody can foresee. done is called exactly once, as that of
	// Dial.
	Cross(c Crossing, done func(Path, error)) (cancel func())
	// Release gives the port up. Established connections keep it until they end.
	Release()
}

// Crossing says how to open a connection from both sides.
type Crossing struct {
	Remotes []netip.AddrPort // what the peer's NAT may map its port to
	// Hops, if not zero, is the number of hops to live of the SYNs that are sent in
	// the first Shy time: enough for the own NAT, too few for the peer's, which
	// might answer a SYN that it does not expect yet with a reset.
	Hops uint8
	Shy  time.Duration
	// Timeout is when to give up.
	Timeout time.Duration
}
