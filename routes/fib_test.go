package routes

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// oracle answers as a FIB must, by looking at everything.
type oracle struct {
	own     Own
	decided []Decision
}

// longest is where dst leads: ok says that some prefix matches, and the node is
// zero if the longest one is nobody's.
func (o oracle) longest(dst netip.Addr) (to target, ok bool) {
	bits := -1
	see := func(p netip.Prefix, t target) {
		if p.Contains(dst) && p.Bits() > bits {
			bits, to, ok = p.Bits(), t, true
		}
	}
	for _, p := range nowhere {
		see(p, target{})
	}
	for _, p := range o.own.Local {
		see(p.Masked(), target{})
	}
	for _, p := range o.own.Addresses {
		see(p.Masked(), target{})
		see(netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), target{})
	}
	for _, d := range o.decided {
		if d.Best {
			see(d.Prefix, target{d.Node, d.Address})
		}
	}
	return to, ok
}

func (o oracle) allowed(node message.NodeID, src netip.Addr) bool {
	to, ok := o.longest(src)
	if !ok || to.node.IsZero() || to.address && to.node != node {
		return false
	}
	for _, d := range o.decided {
		if d.Node == node && d.Usable && d.Prefix.Contains(src) {
			return true
		}
	}
	return false
}

func TestFIBAnswersAsALinearSearchDoes(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		randomAddr := func() netip.Addr {
			if random.IntN(2) == 0 { // crowded, so that prefixes nest and collide
				return netip.AddrFrom4([4]byte{10, byte(random.IntN(3)), byte(random.IntN(3)), byte(random.IntN(6))})
			}
			return netip.AddrFrom16([16]byte{0: 0xfd, 2: byte(random.IntN(3)), 15: byte(random.IntN(6))})
		}
		me := own("all,0.0.0.0/0", "10.2.0.0/16")
		table := NewTable(me)
		for n := byte(2); n < 12; n++ {
			m := advert(n, 1, "")
			for range random.IntN(3) {
				a := randomAddr()
				m.Advert.Addresses = append(m.Advert.Addresses, netip.PrefixFrom(a, a.BitLen()*3/4))
			}
			for range random.IntN(6) {
				a := randomAddr()
				m.Advert.Routes = append(m.Advert.Routes, netip.PrefixFrom(a, random.IntN(a.BitLen()+1)))
			}
			if random.IntN(4) == 0 {
				m.Advert.Routes = append(m.Advert.Routes, pfx("0.0.0.0/0"))
			}
			table.Apply(m)
			table.Apply(link(n, random.IntN(3) > 0, uint32(random.IntN(90))))
		}
		decided := table.Decide(start)
		fib, slow := newFIB(me, decided), oracle{me, decided}
		for range 400 {
			dst := randomAddr()
			to, ok := slow.longest(dst)
			wantOK := ok && !to.node.IsZero()
			got, gotOK := fib.Lookup(dst)
			if gotOK != wantOK || gotOK && got != to.node {
				t.Fatalf("seed %d: %s leads to %s %v, want %s %v", seed, dst, got.Brief(), gotOK, to.node.Brief(), wantOK)
			}
			n := node(byte(1 + random.IntN(12)))
			if got, want := fib.Allowed(n, dst), slow.allowed(n, dst); got != want {
				t.Fatalf("seed %d: %s from %s allowed %v, want %v", seed, dst, n.Brief(), got, want)
			}
		}
	}
}

func TestFIBKeepsWhatIsOwnAndWhatIsNobodysOutOfTheMesh(t *testing.T) {
	me := own("all,0.0.0.0/0,::/0", "192.168.1.0/24")
	table := NewTable(me)
	table.Apply(advert(2, 1, "10.0.0.2/24", "0.0.0.0/0", "::/0"))
	fib := newFIB(me, table.Decide(start))
	for dst, want := range map[string]bool{
		"8.8.8.8": true, "2001:db8::1": true, "10.0.0.2": true, "10.0.1.1": true,
		"10.0.0.1": false, "10.0.0.77": false, "10.0.0.255": false, "192.168.1.9": false, "255.255.255.255": false,
		"224.0.0.251": false, "127.0.0.1": false, "169.254.1.1": false, "0.0.0.0": false,
		"fd00::1": false, "fd00::77": false, "ff02::1": false, "fe80::1": false, "::1": false, "::": false, "::ffff:8.8.8.8": false,
	} {
		if n, ok := fib.Lookup(addr(dst)); ok != want || ok && n != node(2) {
			t.Errorf("packets to %s: %s %v", dst, n.Brief(), ok)
		}
		if got := fib.Allowed(node(2), addr(dst)); got != want {
			t.Errorf("packets from %s: %v", dst, got)
		}
	}
	if fib.Allowed(node(3), addr("8.8.8.8")) || fib.Allowed(message.NodeID{}, addr("10.0.0.77")) {
		t.Error("a node is believed that announced nothing")
	}
	if _, ok := fib.Lookup(netip.Addr{}); ok || fib.Allowed(node(2), netip.Addr{}) {
		t.Error("no address leads somewhere")
	}
	var none *FIB
	if _, ok := none.Lookup(addr("10.0.0.2")); ok || none.Allowed(node(2), addr("10.0.0.2")) || none.Size() != 0 {
		t.Error("a nil FIB knows somebody")
	}
}

func TestFIBBelievesEveryAnnouncerOfANetworkButNobodyInAnothersAddress(t *testing.T) {
	me := own("all")
	table := NewTable(me)
	table.Apply(advert(2, 1, "10.0.0.2/24", "192.168.7.0/24"))
	table.Apply(advert(3, 1, "10.0.0.3/24", "192.168.7.0/24", "10.0.0.0/8"))
	fib := newFIB(me, table.Decide(start))
	for _, c := range []struct {
		n    byte
		src  string
		want bool
	}{
		{2, "192.168.7.5", true}, {3, "192.168.7.5", true}, {4, "192.168.7.5", false},
		{2, "10.0.0.2", true}, {3, "10.0.0.2", false}, {2, "10.0.0.3", false},
		{3, "10.9.9.9", true}, {2, "10.9.9.9", false}, {3, "10.0.0.99", false}, {3, "10.0.0.1", false},
	} {
		if got := fib.Allowed(node(c.n), addr(c.src)); got != c.want {
			t.Errorf("%s from node %d: %v", c.src, c.n, got)
		}
	}
}

// crowd is a FIB of many nodes, each with an address and a network.
func crowd(n int) *FIB {
	me := own("all")
	table := NewTable(me)
	for i := range n {
		var id message.NodeID
		id[0], id[1], id[2] = 1, byte(i>>8), byte(i)
		table.Apply(message.Advertised{Advert: message.Advert{ID: id, Name: "n",
			Addresses: pfxs(fmt.Sprintf("10.%d.%d.2/16", 1+i>>8, i&255), fmt.Sprintf("fd00::%x/64", i+2)),
			Routes:    pfxs(fmt.Sprintf("172.%d.%d.0/24", 16+i>>8, i&255))}})
	}
	return newFIB(me, table.Decide(start))
}

func TestFIBAllocatesNothing(t *testing.T) {
	fib := crowd(1000)
	if fib.Size() != 3000 {
		t.Fatalf("%d prefixes", fib.Size())
	}
	in, in6, out := addr("172.17.5.9"), addr("fd00::77"), addr("8.8.8.8")
	from, _ := fib.Lookup(in)
	if n := testing.AllocsPerRun(100, func() {
		for _, a := range []netip.Addr{in, in6, out} {
			fib.Lookup(a)
			fib.Allowed(from, a)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkFIB(b *testing.B) {
	fib, in := crowd(1000), addr("172.17.5.9")
	from, _ := fib.Lookup(in)
	b.Run("lookup", func(b *testing.B) {
		for b.Loop() {
			fib.Lookup(in)
		}
	})
	b.Run("allowed", func(b *testing.B) {
		for b.Loop() {
			fib.Allowed(from, in)
		}
	})
	b.Run("build", func(b *testing.B) {
		for b.Loop() {
			crowd(100)
		}
	})
}
