package routes

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// Decision is what became of one prefix of one node.
type Decision struct {
	Prefix  netip.Prefix // masked; an overlay address has its full length
	Node    message.NodeID
	Name    string // of the node
	Address bool   // Prefix is an overlay address of the node, not a network behind it
	Usable  bool   // packets from Prefix are believed when this node sends them
	Best    bool   // packets to Prefix go to this node
	Install bool   // the kernel needs a route for Prefix
	Cost    uint32 // microseconds of round trip; 0 while there is no link
	Why     string // in words

	link linkRank
}

// Between two nodes that announce the same prefix, traffic moves to the other one only if
// that is nearer by a quarter and by two milliseconds, and not twice in half a minute: a
// TCP connection through a site's firewall does not survive the change. When the
// present one cannot be reached the change is immediate.
const (
	clearlyBetter = 2000 // microseconds
	dwell         = 30 * time.Second
)

// Decide says what becomes of everything that was announced, sorted by prefix
// and node, this node's own prefixes included. It remembers whom it chose.
func (t *Table) Decide(now time.Time) []Decision {
	all := t.candidates()
	slices.SortFunc(all, func(a, b Decision) int {
		return cmp.Or(a.Prefix.Compare(b.Prefix), compareIDs(a.Node, b.Node))
	})
	chosen := make(map[netip.Prefix]holder, len(t.holders))
	for rest := all; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Prefix == rest[0].Prefix {
			n++
		}
		t.choose(rest[:n], chosen, now)
		rest = rest[n:]
	}
	t.holders = chosen
	return all
}

// candidates lists what each node announces, judged alone.
func (t *Table) candidates() []Decision {
	var all []Decision
	for _, p := range t.local {
		all = append(all, Decision{Prefix: p, Node: t.self, Name: t.name, Why: "announced by this node"})
	}
	for id, n := range t.nodes {
		seen := make(map[netip.Prefix]bool)
		add := func(p netip.Prefix, address bool) {
			if seen[p] {
				return // once is enough, and addresses come first
			}
			seen[p] = true
			d := Decision{Prefix: p, Node: id, Name: n.title(id), Address: address, Cost: n.cost, link: n.link}
			if d.Why = t.objection(d); d.Why == "" {
				d.Usable = true
				d.Install = !(address && t.inOverlay(p))
			}
			all = append(all, d)
		}
		for _, addresses := range [][]netip.Prefix{n.hello.Addresses, n.advert.Addresses} {
			for _, a := range addresses {
				add(netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), true)
			}
		}
		for _, p := range n.advert.Routes {
			add(p.Masked(), false)
		}
	}
	return all
}

// choose gives the prefix of all ds to one of them.
func (t *Table) choose(ds []Decision, chosen map[netip.Prefix]holder, now time.Time) {
	prefix, present := ds[0].Prefix, t.holders[ds[0].Prefix]
	var best, held *Decision
	usable := 0
	for i := range ds {
		d := &ds[i]
		if !d.Usable {
			continue
		}
		usable++
		if d.Node == present.node {
			held = d
		}
		if best == nil || before(*d, *best) {
			best = d
		}
	}
	if best == nil {
		return
	}
	since := now
	if held != nil && (best == held || keeps(*held, *best, now.Sub(present.since))) {
		best, since = held, present.since
	}
	best.Best = true
	chosen[prefix] = holder{node: best.Node, since: since}
	best.Why = best.reached()
	if usable > 1 {
		best.Why = fmt.Sprintf("best of %d: %s", usable, best.Why)
	}
	for i := range ds {
		d := &ds[i]
		if !d.Usable || d.Best {
			continue
		}
		d.Install = false
		if best.Address {
			// An address is one node's. Were the other believed, it could
			// speak in that node's name.
			d.Usable = false
			d.Why = fmt.Sprintf("%s holds this address", best.Name)
			continue
		}
		d.Why = fmt.Sprintf("standby (%s): %s has it (%s)", d.reached(), best.Name, best.reached())
	}
}

// before orders nodes that announce the same prefix: the node whose own address it is,
// then by link, by cost, and by id so that the order is always the same.
func before(a, b Decision) bool {
	switch {
	case a.Address != b.Address:
		return a.Address
	case a.link != b.link:
		return a.link < b.link
	case a.Cost != b.Cost:
		return a.Cost < b.Cost
	}
	return compareIDs(a.Node, b.Node) < 0
}

// keeps says whether the node that holds a prefix goes on holding it although
// another one comes before it.
func keeps(held, other Decision, age time.Duration) bool {
	switch {
	case held.Address != other.Address:
		return held.Address
	case held.Address:
		return true // the first to have taken an address, for as long as it is there
	case held.link != other.link:
		return held.link < other.link
	}
	return age < dwell || int64(held.Cost)-int64(other.Cost) < clearlyBetter || other.Cost > held.Cost/4*3
}

// reached says in words how the node can be reached.
func (d Decision) reached() string {
	switch d.link {
	case linkUp:
		return fmt.Sprintf("%d.%d ms", d.Cost/1000, d.Cost%1000/100)
	case linkUntried:
		return "no link yet"
	}
	return "link down"
}

func compareIDs(a, b message.NodeID) int { return slices.Compare(a[:], b[:]) }
