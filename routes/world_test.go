package routes

import (
	"net/netip"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

func node(n byte) (id message.NodeID) {
	id[0], id[31] = n, n
	return id
}

var names = map[message.NodeID]string{node(1): "self", node(2): "office", node(3): "nas", node(4): "lab"}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func pfxs(all ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range all {
		ps = append(ps, pfx(s))
	}
	return ps
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// advert is what node n says of itself.
func advert(n byte, seq uint64, address string, routes ...string) message.Advertised {
	a := message.Advert{ID: node(n), Seq: seq, Name: names[node(n)], Routes: pfxs(routes...)}
	if address != "" {
		a.Addresses = pfxs(address)
	}
	return message.Advertised{Advert: a}
}

// link is node n's link, up with a cost in milliseconds or down.
func link(n byte, up bool, ms uint32) message.LinkState {
	return message.LinkState{Hello: message.Hello{ID: node(n), Name: names[node(n)]}, Up: up, Cost: ms * 1000}
}

// own is node 1 with 10.0.0.1/24 and fd00::1/64.
func own(accept string, local ...string) Own {
	p, err := ParsePolicy(accept)
	if err != nil {
		panic(err)
	}
	return Own{ID: node(1), Name: "self", Addresses: pfxs("10.0.0.1/24", "fd00::1/64"), Local: pfxs(local...), Accept: p}
}

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// find returns what was decided of a prefix of node n.
func find(t *testing.T, all []Decision, prefix string, n byte) Decision {
	t.Helper()
	for _, d := range all {
		if d.Prefix == pfx(prefix) && d.Node == node(n) {
			return d
		}
	}
	t.Fatalf("nothing was decided of %s from node %d", prefix, n)
	return Decision{}
}
