package packet

import "net/netip"

// Path is one way to one remote node: an established fake-TCP flow, a UDP
// address, or the way through a relay. Paths are compared by identity (==).
//
// All methods may be called by any goroutine. None blocks.
type Path interface {
	// Send puts the datagrams of t on the wire, in order, and is done with t
	// when it returns. It writes into the slots' prefixes and into t's headroom.
	// ErrFull: the burst was dropped, the path is still good. net.ErrClosed:
	// the path is gone for good. The caller never retries a burst.
	Send(t *Train) error
	// Prefix is the number of bytes to keep free before each datagram.
	Prefix() int
	// MaxDatagram is the largest datagram that fits one packet of this path, in
	// bytes, prefix and all lower headers already taken off.
	MaxDatagram() int
	// Kind says how the path travels.
	Kind() Kind
	// Local and Remote are the transport addresses; of a relayed path those of
	// the hop to the relay.
	Local() netip.AddrPort
	Remote() netip.AddrPort
	// Adopt says that an authenticated peer uses this path: transports drop
	// accepted paths that nobody adopts.
	Adopt()
	// Alive is false once the path is gone for good.
	Alive() bool
	// Close gives the path up, telling the other side if the transport can (FIN).
	Close()
}

// Watched is a [Path] that tells of changes: that it is gone for good, or that
// the host's addresses or routes have given its packets another way.
type Watched interface {
	// OnChange has f called, from a goroutine of the transport, whenever that
	// happens; f must not block. There is one f: a later one replaces it.
	OnChange(f func())
}

// Kind names a transport as `node peers` prints it.
type Kind uint8

// The kinds of path, in no order of preference.
const (
	RawTCP Kind = iota + 1
	UDP
	Relay
)

func (k Kind) String() string {
	switch k {
	case RawTCP:
		return "rawtcp"
	case UDP:
		return "udp"
	case Relay:
		return "relay"
	}
	return "-"
}

// Arrival is one received datagram. Data is a view into the transport's buffer:
// it may be changed in place, and is valid until the next call of Receive.
type Arrival struct {
	Data []byte
	Path Path
}

// Arrivals is what one call of Receive brought, in order of arrival.
type Arrivals []Arrival

// Receiver is the inbound half of a transport. It belongs to the one pump that
// calls Receive.
type Receiver interface {
	// Wake makes a Receive that waits, or the next one, return without datagrams.
	Wake()
	// Receive waits until at least one datagram is there and returns all that
	// is there without waiting again (bounded by the transport's buffers). The
	// slice and all Data are valid until the next call. net.ErrClosed after Close.
	// Junk never makes it fail.
	Receive() (Arrivals, error)
	// Close makes Receive return net.ErrClosed.
	Close() error
}

// Dialer is the outbound half of a transport.
type Dialer interface {
	// Dial starts a new path to remote and returns at once. done is called
	// exactly once, from a goroutine of the transport, and must not block: with
	// an established path, or with the reason why there is none. The transport
	// gives up by itself; cancel gives up earlier (done is still called, with
	// net.ErrClosed, unless it has been).
	Dial(remote netip.AddrPort, done func(Path, error)) (cancel func())
}
