package simnet

import (
	"math/rand/v2"
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
	// Timeout is how long a mapping, and a hole in the filter, outlives its last
	// outbound packet. 0: 5 days, Linux' value for established TCP.
	Timeout time.Duration
	// Hairpin lets inside hosts reach each other by the outside address.
	Hairpin bool
}

// natTable is the state of a router. It is pure: time is an argument and
// randomness its own.
type natTable struct {
	NATConfig
	rng      *rand.Rand
	byInner  map[natKey]*mapping
	byPort   map[natKey]*mapping // of the outside; the key's remote is not set
	lastPort uint16
}

type natKey struct {
	local, remote netip.AddrPort // remote only where the mapping depends on it
}

// mapping is a port of the outside that leads to an endpoint of the inside.
type mapping struct {
	inner, outer netip.AddrPort
	forward      bool // set by hand: never expires, lets everybody in
	used         time.Time
	sentTo       map[netip.AddrPort]time.Time
}

func newNATTable(cfg NATConfig, rng *rand.Rand) *natTable {
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * 24 * time.Hour
	}
	return &natTable{NATConfig: cfg, rng: rng, byInner: map[natKey]*mapping{}, byPort: map[natKey]*mapping{}}
}

// out notes a packet from the inside and returns the source that it gets.
// outside is the router's address of that family.
func (t *natTable) out(now time.Time, src, dst netip.AddrPort, outside netip.Addr) netip.AddrPort {
	key := natKey{local: src}
	if t.Kind == Symmetric {
		key.remote = dst
	}
	m := t.byInner[key]
	if m == nil && t.Kind == Symmetric {
		// A port forward serves every destination.
		if f := t.byInner[natKey{local: src}]; f != nil && f.forward {
			m = f
		}
	}
	if m == nil || t.expired(m, now) {
		if m != nil && t.byPort[natKey{local: m.outer}] == m {
			delete(t.byPort, natKey{local: m.outer})
		}
		m = &mapping{inner: src, outer: t.choose(now, src, outside), sentTo: map[netip.AddrPort]time.Time{}}
		t.byInner[key] = m
		t.byPort[natKey{local: m.outer}] = m
	}
	m.used = now
	m.sentTo[dst] = now
	return m.outer
}

// in returns where a packet from the outside goes, or that it is let go no further.
func (t *natTable) in(now time.Time, src, dst netip.AddrPort) (netip.AddrPort, bool) {
	if t.Kind == NoNAT {
		return dst, true
	}
	m := t.byPort[natKey{local: dst}]
	if m == nil || t.expired(m, now) {
		return netip.AddrPort{}, false
	}
	if m.forward || t.Kind == FullCone {
		return m.inner, true
	}
	if t.Kind == Restricted {
		for to, at := range m.sentTo {
			if to.Addr() == src.Addr() && now.Sub(at) <= t.Timeout {
				return m.inner, true
			}
		}
		return netip.AddrPort{}, false
	}
	at, ok := m.sentTo[src]
	return m.inner, ok && now.Sub(at) <= t.Timeout
}

// expired says whether m has been silent for too long.
func (t *natTable) expired(m *mapping, now time.Time) bool {
	return !m.forward && now.Sub(m.used) > t.Timeout
}

// choose picks the outside endpoint of a new mapping: the same port if it is
// free, as most routers do, but for a symmetric one.
func (t *natTable) choose(now time.Time, src netip.AddrPort, outside netip.Addr) netip.AddrPort {
	if !t.Kind.translates() {
		return src
	}
	port := src.Port()
	switch {
	case t.Kind == Symmetric && t.Step != 0:
		if t.lastPort == 0 {
			t.lastPort = t.random()
		}
		port = t.lastPort + uint16(t.Step)
	case t.Kind == Symmetric:
		port = t.random()
	}
	for {
		outer := netip.AddrPortFrom(outside, port)
		if m := t.byPort[natKey{local: outer}]; port >= 1024 && (m == nil || t.expired(m, now)) {
			t.lastPort = port
			return outer
		}
		if t.Kind == Symmetric && t.Step != 0 {
			port += uint16(t.Step)
		} else {
			port = t.random()
		}
	}
}

func (t *natTable) random() uint16 { return uint16(1024 + t.rng.IntN(65536-1024)) }

// forward opens outer to everybody, leading to inner.
func (t *natTable) forward(outer, inner netip.AddrPort) {
	m := &mapping{inner: inner, outer: outer, forward: true, sentTo: map[netip.AddrPort]time.Time{}}
	t.byInner[natKey{local: inner}] = m
	t.byPort[natKey{local: outer}] = m
}

// forget drops all that was learnt; forwards stay.
func (t *natTable) forget() {
	for _, table := range []map[natKey]*mapping{t.byInner, t.byPort} {
		for key, m := range table {
			if !m.forward {
				delete(table, key)
			}
		}
	}
}
