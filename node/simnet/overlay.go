package simnet

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Overlay is the inside of a mesh as gossip sees it when the tunnel itself is
// not under test: every node has an overlay address and reaches every other,
// except for crashes and partitions. It is a network of its own, beside [Net].
// All methods may be called by any goroutine.
type Overlay struct {
	seed  uint64
	clock schedule

	mu    sync.Mutex
	line  Link
	lines map[[2]netip.Addr]*channel
	nodes map[netip.Addr]*GossipTransport // nil: crashed
	group map[netip.Addr]int              // of the partition; nil: there is none
	reach func(from, to netip.Addr) bool
}

// NewOverlay returns an overlay without nodes, on which everything takes 10 ms.
func NewOverlay(seed uint64) *Overlay {
	return &Overlay{
		seed: seed, line: Link{Delay: 10 * time.Millisecond},
		lines: map[[2]netip.Addr]*channel{}, nodes: map[netip.Addr]*GossipTransport{},
	}
}

// Join gives a node its transport, to be set as memberlist.Config.Transport. A
// transport that had that address before is dead.
func (o *Overlay) Join(addr string, port uint16) *GossipTransport {
	t := newGossipTransport(o, netip.AddrPortFrom(netip.MustParseAddr(addr), port))
	o.Crash(addr)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.nodes[t.addr.Addr()] = t
	return t
}

// Crash takes a node away without a word to anybody.
func (o *Overlay) Crash(addr string) {
	o.mu.Lock()
	a := netip.MustParseAddr(addr)
	t := o.nodes[a]
	o.nodes[a] = nil
	o.mu.Unlock()
	if t != nil {
		t.stop()
	}
}

// SetLine replaces the properties of all lines. Streams feel the delay only, as
// TCP repairs the rest.
func (o *Overlay) SetLine(l Link) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.line = l
	for _, c := range o.lines {
		c.link = l
	}
}

// Partition splits the overlay: only nodes of the same group reach each other,
// and all those in no group.
func (o *Overlay) Partition(groups ...[]string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.group = map[netip.Addr]int{}
	for i, group := range groups {
		for _, addr := range group {
			o.group[netip.MustParseAddr(addr)] = i + 1
		}
	}
}

// Heal ends the partition.
func (o *Overlay) Heal() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.group = nil
}

// Reach makes f decide, besides, who reaches whom: say, those whose links are up
// on a [Net]. It is called with the overlay locked.
func (o *Overlay) Reach(f func(from, to netip.Addr) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reach = f
}

// reaches says whether what leaves from now gets to to; with the mutex held.
func (o *Overlay) reaches(from, to netip.Addr) bool {
	return o.nodes[from] != nil && o.nodes[to] != nil && o.group[from] == o.group[to] &&
		(o.reach == nil || o.reach(from, to))
}

func (o *Overlay) connected(a, b netip.Addr) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reaches(a, b)
}

func (o *Overlay) delay() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.line.Delay
}

// carry brings b to the node at to, if all goes well.
func (o *Overlay) carry(from *GossipTransport, to netip.Addr, b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := [2]netip.Addr{from.addr.Addr(), to}
	c := o.lines[key]
	if c == nil {
		h := fnv.New64a()
		fmt.Fprint(h, key)
		c = &channel{link: o.line, rng: rand.New(rand.NewPCG(o.seed, h.Sum64()))}
		o.lines[key] = c
	}
	f := c.pass(time.Now(), len(b)+20+8)
	for range f.copies {
		data := append([]byte(nil), b...)
		o.clock.at(f.at, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			if o.nodes[key[0]] == from && o.reaches(key[0], to) {
				o.nodes[to].deliver(data, from)
			}
		})
	}
}
