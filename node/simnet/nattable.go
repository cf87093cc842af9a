package simnet

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// natTable is what a router remembers of one protocol. It is pure: time is an
// argument and randomness its own.
type natTable struct {
	NATConfig
	idle, stream time.Duration // what outlives the last packet out, before and after an answer
	theft        time.Duration // how long a stolen tuple stays so
	rng          *rand.Rand
	byInner      map[natKey]*mapping
	byPort       map[natKey]*mapping // of the outside; the key's remote is not set
	stolen       map[natKey]time.Time
	lastPort     uint16
}

type natKey struct {
	local, remote netip.AddrPort // remote only where it depends on it
}

// mapping is a port of the outside that leads to an endpoint of the inside.
type mapping struct {
	inner, outer netip.AddrPort
	forward      bool // set by hand: never expires, lets everybody in
	answered     bool // something has come in
	used         time.Time
	sentTo       map[netip.AddrPort]*hole
}

// hole lets in what comes from where something was sent.
type hole struct {
	at       time.Time
	answered bool
}

// newNATTable returns the table of TCP.
func newNATTable(cfg NATConfig, rng *rand.Rand) *natTable {
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * 24 * time.Hour
	}
	return &natTable{NATConfig: cfg, idle: cfg.Timeout, stream: cfg.Timeout, theft: closeTimeout, rng: rng,
		byInner: map[natKey]*mapping{}, byPort: map[natKey]*mapping{}, stolen: map[natKey]time.Time{}}
}

// newUDPTable returns the table of UDP.
func newUDPTable(cfg NATConfig, rng *rand.Rand) *natTable {
	t := newNATTable(cfg, rng)
	if t.idle = cfg.UDPTimeout; t.idle == 0 {
		t.idle = 30 * time.Second
	}
	if t.stream = cfg.UDPStream; t.stream == 0 {
		t.stream = 120 * time.Second
	}
	t.theft = t.idle
	return t
}

// out notes a packet from the inside and returns the source that it gets.
// outside is the router's address of that family.
func (t *natTable) out(now time.Time, src, dst netip.AddrPort, outside netip.Addr) netip.AddrPort {
	common, own := natKey{local: src}, natKey{local: src, remote: dst}
	m, key := t.byInner[own], own
	if m == nil || t.expired(m, now) {
		// Shared by all destinations; of a symmetric router only a port forward is.
		shared := t.byInner[common]
		switch {
		case t.kind(src.Addr()) == Symmetric && (shared == nil || !shared.forward):
		case shared != nil && t.isStolen(now, shared.outer, dst):
		default:
			m, key = shared, common
		}
	}
	if m == nil || t.expired(m, now) {
		if m != nil && t.byPort[natKey{local: m.outer}] == m {
			delete(t.byPort, natKey{local: m.outer})
		}
		m = &mapping{inner: src, outer: t.choose(now, src, dst, outside), sentTo: map[netip.AddrPort]*hole{}}
		t.byInner[key] = m
		t.byPort[natKey{local: m.outer}] = m
	}
	m.used = now
	if h := m.sentTo[dst]; h != nil && t.open(h, now) {
		h.at = now
	} else {
		m.sentTo[dst] = &hole{at: now}
	}
	return m.outer
}

// in returns where a packet from the outside goes, or that it is let go no further.
func (t *natTable) in(now time.Time, src, dst netip.AddrPort) (netip.AddrPort, bool) {
	kind := t.kind(dst.Addr())
	if kind == NoNAT {
		return dst, true
	}
	m := t.byPort[natKey{local: dst}]
	if m == nil || t.expired(m, now) {
		return netip.AddrPort{}, false
	}
	h := m.sentTo[src]
	ok := h != nil && t.open(h, now)
	if ok {
		h.answered = true
	}
	switch {
	case m.forward || kind == FullCone:
		ok = true
	case kind == Restricted && !ok:
		for to, h := range m.sentTo {
			ok = ok || to.Addr() == src.Addr() && t.open(h, now)
		}
	}
	m.answered = m.answered || ok
	return m.inner, ok
}

// asked says whether in lets in what has been sent to, and nothing else.
func (t *natTable) asked(dst netip.AddrPort) bool {
	m, kind := t.byPort[natKey{local: dst}], t.kind(dst.Addr())
	return (kind == Firewall || kind >= PortRestricted) && (m == nil || !m.forward)
}

// open says whether h still lets in.
func (t *natTable) open(h *hole, now time.Time) bool {
	if h.answered {
		return now.Sub(h.at) <= t.stream
	}
	return now.Sub(h.at) <= t.idle
}

// expired says whether m has been silent for too long.
func (t *natTable) expired(m *mapping, now time.Time) bool {
	if m.forward {
		return false
	}
	if m.answered {
		return now.Sub(m.used) > t.stream
	}
	return now.Sub(m.used) > t.idle
}

// steal notes a packet from outside that the router took for its own.
func (t *natTable) steal(now time.Time, src, dst netip.AddrPort) {
	t.stolen[natKey{local: dst, remote: src}] = now
}

func (t *natTable) isStolen(now time.Time, outer, remote netip.AddrPort) bool {
	at, ok := t.stolen[natKey{local: outer, remote: remote}]
	return ok && now.Sub(at) <= t.theft
}

// choose picks the outside endpoint of a new mapping: the same port if it is
// free, as most routers do, but for a symmetric one.
func (t *natTable) choose(now time.Time, src, dst netip.AddrPort, outside netip.Addr) netip.AddrPort {
	kind := t.kind(src.Addr())
	if !kind.translates() {
		return src
	}
	port := src.Port()
	switch {
	case kind == Symmetric && t.Step != 0:
		if t.lastPort == 0 {
			t.lastPort = t.random()
		}
		port = t.lastPort + uint16(t.Step)
	case kind == Symmetric:
		port = t.random()
	}
	for {
		outer := netip.AddrPortFrom(outside, port)
		m := t.byPort[natKey{local: outer}]
		if port >= 1024 && (m == nil || t.expired(m, now)) && !t.isStolen(now, outer, dst) {
			t.lastPort = port
			return outer
		}
		if kind == Symmetric && t.Step != 0 {
			port += uint16(t.Step)
		} else {
			port = t.random()
		}
	}
}

func (t *natTable) random() uint16 { return uint16(1024 + t.rng.IntN(65536-1024)) }

// forward opens outer to everybody, leading to inner.
func (t *natTable) forward(outer, inner netip.AddrPort) {
	m := &mapping{inner: inner, outer: outer, forward: true, sentTo: map[netip.AddrPort]*hole{}}
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
	clear(t.stolen)
}
