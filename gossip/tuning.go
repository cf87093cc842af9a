package gossip

import (
	"log"
	"time"

	"github.com/hashicorp/memberlist"
)

// DefaultPort is where gossip listens on the overlay address, UDP and TCP.
const DefaultPort = 7946

// DefaultMTU is the smallest MTU that a tunnel may have with IPv6 inside
// (RFC 8200, section 5).
const DefaultMTU = 1280

// packetOverhead is what stands in a packet besides memberlist's own bytes: the
// IPv6 and UDP headers, its checksum (which it does not count), and some room.
const packetOverhead = 40 + 8 + 5 + 11

const (
	streamTimeout = 10 * time.Second
	gossipTick    = 200 * time.Millisecond
)

// memberConfig tunes memberlist for links of 1 to 800 ms with loss, some of them
// relayed and made only when they are needed. In a small mesh, a node that is gone
// is missed by a probe after about 2 s and given up 8 to 16 s after that; in one
// of fifty it is 8 s, and 14 to 27 s.
func memberConfig(name memberName, mtu int, secret [32]byte, t memberlist.Transport, d *delegate, w *memberLog) *memberlist.Config {
	c := memberlist.DefaultWANConfig()
	c.Name = name.String()
	c.Transport = t
	c.BindAddr, c.AdvertiseAddr = name.place.Addr().String(), name.place.Addr().String()
	c.BindPort, c.AdvertisePort = int(name.place.Port()), int(name.place.Port())
	c.SecretKey = secret[:]
	c.Delegate, c.Events, c.Alive, c.Ping = d, d, d, d
	c.Logger = log.New(w, "", 0)

	c.ProbeInterval = probeInterval // longer in a large mesh: see delegate.rest
	c.ProbeTimeout = time.Second
	c.SuspicionMult = 4
	c.SuspicionMaxTimeoutMult = 2
	c.GossipInterval = gossipTick
	c.GossipNodes = 3
	// Twice the usual: with 4, one in some hundred broadcasts misses some node
	// of a small mesh even without loss, and is repaired by push/pull only.
	c.RetransmitMult = 8
	c.GossipToTheDeadTime = time.Minute
	c.PushPullInterval = 0 // see accord
	c.TCPTimeout = streamTimeout
	c.UDPBufferSize = mtu - packetOverhead
	// Signatures and keys do not compress, and trying costs small machines.
	c.EnableCompression = false
	return c
}
