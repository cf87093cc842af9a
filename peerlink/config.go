package peerlink

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
	"github.com/openbmx/lightweight-tunnel/peerlink/punch"
)

// Defaults of the fields of [Config] that may be left at zero.
const (
	DefaultKeepalive = 5 * time.Second
	DefaultTimeout   = 3 * time.Second
	// DefaultWarm is just often enough to keep the mapping of a NAT: many forget UDP
	// after 30 s (RFC 4787, 4.3, wants two minutes).
	DefaultWarm       = 25 * time.Second
	DefaultRekey      = 2 * time.Minute
	DefaultSendQueue  = 5000
	DefaultQueueBytes = 4 << 20
	DefaultMaxPeers   = 4096
	DefaultMaxHops    = 3
)

// Config is what a [Directory] needs. The values are not changed later.
type Config struct {
	ID      message.NodeID
	Static  [32]byte // X25519 private key that belongs to ID, see noise.StaticKey
	MeshKey [32]byte
	// Hello returns what this node says of itself in handshakes. It is called by
	// any actor of this package and must not block; ID is filled in from above.
	Hello  func() message.Hello
	Dialer packet.Dialer
	Seeds  []string // HOST:PORT each
	// Keepalive is how long a link may be silent, in either direction, before it is
	// probed; traffic counts. Timeout is how long nothing may arrive until others
	// are told that the peer is gone; a path that is silent under traffic is left
	// after that time or 3 s, whichever is less.
	Keepalive time.Duration
	Timeout   time.Duration
	// Warm is how often one side asks on a direct path that stands by, unused.
	Warm time.Duration
	// Refresh is how often something must go out on a UDP path at least, so that the
	// NAT keeps its mapping. Any link calls it; it must not block. 0, or nil: not known.
	Refresh func() time.Duration
	// Rekey is how old keys become until the side that began their handshake wants
	// new ones; the other wants them a little later.
	Rekey time.Duration
	// MTU is the largest packet that the overlay carries, in bytes: larger sizes of
	// paths are not looked for. 0: no bound but the interfaces'.
	MTU int
	// SendQueue (packets) and QueueBytes bound what is staged per peer while
	// there is no key or no path. The oldest is dropped.
	SendQueue  int
	QueueBytes int
	// Staged bounds what is staged for all peers together; nil: nothing does.
	Staged *packet.Budget
	// Relay: forward for others. ClientIsolation: do not, whatever Relay says.
	Relay           bool
	ClientIsolation bool
	MaxHops         uint8 // relays that one datagram may pass
	MaxPeers        int   // links kept at the same time

	// P2P: look for direct paths to peers that are reached through a relay. Without
	// Candidates, or with neither UDP nor Cross, there are none.
	P2P bool
	// P2PTimeout bounds one try; 0: punch.DefaultTimeout.
	P2PTimeout time.Duration
	// NATDetection: foresee and search the ports that a symmetric NAT gives out.
	NATDetection bool
	// Transport restricts direct paths to packet.UDP or packet.RawTCP; 0: both.
	Transport packet.Kind
	UDP       packet.Pather  // nil: no paths over UDP
	Cross     packet.Crosser // nil: no fake TCP through NATs
	// Candidates returns where this node may be reached now. It is called by any
	// actor of this package and must not block.
	Candidates func() punch.Offer
	// SeenAs asks the node at the other end of path as what it sees this end. done
	// is called at most once, by any goroutine, and must not block. False: it is
	// not. Nil: nobody can be asked.
	SeenAs func(path packet.Path, done func(mapped netip.AddrPort, err error)) bool

	// Changed, if not nil, is called when a link comes up or goes down. It must not
	// block.
	Changed func()

	Log    hclog.Logger
	Keys   actors.Ref[message.ToKeys]
	Routes actors.Ref[message.ToRoutes]
	Gossip actors.Ref[message.ToGossip]
	STUN   actors.Ref[nat.ToProber] // who answers STUN; zero: nobody
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.ID.IsZero():
		return c, errors.New("peerlink: config lacks ID")
	case c.Hello == nil:
		return c, errors.New("peerlink: config lacks Hello")
	case c.Dialer == nil:
		return c, errors.New("peerlink: config lacks Dialer")
	case c.Keepalive < 0 || c.Timeout < 0 || c.Warm < 0 || c.Rekey < 0 || c.SendQueue < 0 || c.QueueBytes < 0 || c.MaxPeers < 0:
		return c, errors.New("peerlink: config has a negative bound")
	}
	for _, seed := range c.Seeds {
		if err := CheckSeed(seed); err != nil {
			return c, err
		}
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	if c.Refresh == nil {
		c.Refresh = func() time.Duration { return 0 }
	}
	setDefault(&c.Keepalive, DefaultKeepalive)
	setDefault(&c.Warm, DefaultWarm)
	setDefault(&c.Rekey, DefaultRekey)
	setDefault(&c.Timeout, DefaultTimeout)
	setDefault(&c.SendQueue, DefaultSendQueue)
	setDefault(&c.QueueBytes, DefaultQueueBytes)
	setDefault(&c.MaxPeers, DefaultMaxPeers)
	setDefault(&c.MaxHops, DefaultMaxHops)
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// CheckSeed says what is wrong with a seed's HOST:PORT, if anything.
func CheckSeed(seed string) error {
	host, port, err := net.SplitHostPort(seed)
	if err != nil {
		return fmt.Errorf("seed %q: want HOST:PORT: %w", seed, err)
	}
	if host == "" || port == "" {
		return fmt.Errorf("seed %q: want HOST:PORT, both given", seed)
	}
	return nil
}
