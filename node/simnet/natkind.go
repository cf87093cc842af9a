package simnet

import (
	"net/netip"
	"time"
)

// NATKind says how a router maps and filters; the names are those of RFC 3489,
// the behaviours those of RFC 4787 in parentheses.
type NATKind uint8

const (
	// NoNAT passes everything, addresses unchanged.
	NoNAT NATKind = iota
	// Firewall leaves addresses unchanged and lets only answers in.
	Firewall
	// FullCone maps independently of the destination and lets everybody in
	// (endpoint-independent filtering).
	FullCone
	// Restricted maps alike and lets in those addresses that were sent to
	// (address-dependent filtering).
	Restricted
	// PortRestricted maps alike and lets in those addresses and ports that were
	// sent to (address- and port-dependent filtering). A Linux home router.
	PortRestricted
	// Symmetric maps each destination to a port of its own, and filters like
	// PortRestricted.
	Symmetric
)

func (k NATKind) translates() bool { return k >= FullCone }

// NATConfig describes a router.
type NATConfig struct {
	Kind NATKind
	// Step is the distance between the ports that a Symmetric router gives out
	// one after the other; 0: it chooses at random.
	Step int
	// Timeout is how long a mapping for TCP, and a hole in the filter, outlives its
	// last outbound packet. 0: 5 days, Linux' value for established connections.
	Timeout time.Duration
	// UDPTimeout and UDPStream are the same for UDP: before and after something has
	// come back. 0: 30 s and 120 s, those of Linux.
	UDPTimeout, UDPStream time.Duration
	// Hairpin lets inside hosts reach each other by the outside address.
	Hairpin bool
	// Routed6 has IPv6 addresses left unchanged and filtered like Firewall, whatever
	// Kind does with IPv4.
	Routed6 bool
	// Unasked is what happens to what nobody inside asked for.
	Unasked Unasked
	// NoUDP drops all UDP.
	NoUDP bool
	// UDPRate drops what is above this, in bits per second in each direction; 0: no
	// limit.
	UDPRate int64
}

// Unasked is what a router does with a packet from outside that it has no mapping
// for, or whose sender its filter does not know.
type Unasked uint8

const (
	// DropUnasked is silence.
	DropUnasked Unasked = iota
	// ResetUnasked answers TCP with a reset.
	ResetUnasked
	// TakeUnasked is a router without an input filter: it takes the packet for one to
	// itself, answers TCP with a reset, and remembers. What an inside host sends the
	// other way while it does cannot have the port that it would have had: the tuple
	// is stolen.
	TakeUnasked
)

// kind is how a packet to or from that address is treated.
func (c *NATConfig) kind(a netip.Addr) NATKind {
	if c.Routed6 && a.Is6() && c.Kind != NoNAT {
		return Firewall
	}
	return c.Kind
}
