package keys

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

func nodeID(n int) message.NodeID { return message.NodeID{0xee, byte(n >> 8), byte(n)} }

func prefixes(texts ...string) (ps []netip.Prefix) {
	for _, t := range texts {
		ps = append(ps, netip.MustParsePrefix(t))
	}
	return ps
}

func hello(n int, name string, addresses ...string) message.Hello {
	return message.Hello{ID: nodeID(n), Name: name, Version: "1", Addresses: prefixes(addresses...)}
}

var self = Self{ID: nodeID(1), Name: "fra-seed", Addresses: prefixes("10.0.0.1/24", "fd00::1/64")}

func mustAdmit(t *testing.T, r Roster, now time.Time, h message.Hello) Roster {
	t.Helper()
	next, refusal := r.Admit(now, self, h)
	if refusal != "" {
		t.Fatalf("%s refused: %s", h.Name, refusal)
	}
	return next
}

func TestRosterRefusesInWordsThatNameTheHolder(t *testing.T) {
	r := mustAdmit(t, Roster{}, day, hello(2, "office", "10.0.0.9/24", "fd00::9/64"))
	for _, c := range []struct {
		name string
		h    message.Hello
		want string // "" admits
	}{
		{"its holder again", hello(2, "office", "10.0.0.9/24", "fd00::9/64"), ""},
		{"a free address", hello(3, "nas", "10.0.0.12/24"), ""},
		{"the same name elsewhere", hello(3, "office", "10.0.0.12/24"), ""},
		{"a taken address", hello(3, "nas", "10.0.0.9/24"), "address 10.0.0.9 is taken by office (ee00020000) since 2026-03-01 12:00 UTC: choose another --address"},
		{"a taken address, by its own name", hello(3, "office", "10.0.0.9/24"), "choose another --address; if office has lost its identity, restore its identity.json from a backup, " +
			"or let fra-seed forget the old one: stop the node there, remove roster.json from its state directory, start it again"},
		{"taken, other prefix length", hello(3, "nas", "10.0.0.9/32"), "taken by office"},
		{"one of two taken", hello(3, "nas", "10.0.0.12/24", "fd00::9/64"), "address fd00::9 is taken by office"},
		{"this node's own address", hello(3, "nas", "10.0.0.1/24"), "address 10.0.0.1 is the own address of fra-seed (ee00010000)"},
		{"this node's own identity", hello(1, "twin", "10.0.0.77/24"), "two nodes run with copies of one state directory"},
		{"no address", hello(3, "nas"), "no overlay address"},
		{"a network", hello(3, "nas", "10.0.0.0/24"), "not of a host"},
		{"a broadcast address", hello(3, "nas", "10.0.0.255/24"), "broadcast"},
		{"both hosts of a /31", hello(3, "nas", "10.0.0.30/31"), ""},
		{"everything", hello(3, "nas", "0.0.0.0/0"), "names no host"},
		{"loopback", hello(3, "nas", "127.0.0.1/8"), "loopback"},
		{"multicast", hello(3, "nas", "ff02::1/64"), "multicast"},
	} {
		next, refusal := r.Admit(day.Add(time.Minute), self, c.h)
		if (c.want == "") != (refusal == "") || !strings.Contains(refusal, c.want) {
			t.Errorf("%s: %q, want %q", c.name, refusal, c.want)
		}
		if refusal != "" && !next.Same(r) {
			t.Errorf("%s: a refusal changed the roster", c.name)
		}
	}
}

func TestRosterNodeThatChangesItsAddressFreesTheOldOne(t *testing.T) {
	r := mustAdmit(t, Roster{}, day, hello(2, "office", "10.0.0.9/24"))
	later := day.Add(48 * time.Hour)
	r2 := mustAdmit(t, r, later, hello(2, "office", "10.0.0.10/24"))
	if e, ok := r2.Holder(netip.MustParseAddr("10.0.0.10")); !ok || !e.Since.Equal(later) {
		t.Fatalf("%+v", e)
	}
	mustAdmit(t, r2, later, hello(3, "nas", "10.0.0.9/24"))
	if e, _ := r.Holder(netip.MustParseAddr("10.0.0.9")); e.Name != "office" || r.Len() != 1 {
		t.Fatal("the older roster value was changed")
	}
}

func TestRosterChangesOnlyWhenThereIsSomethingToRemember(t *testing.T) {
	h := hello(2, "office", "10.0.0.9/24")
	r := mustAdmit(t, Roster{}, day, h)
	if next := mustAdmit(t, r, day.Add(59*time.Minute), h); !next.Same(r) {
		t.Fatal("a handshake a minute must not cost a write each")
	}
	next := mustAdmit(t, r, day.Add(61*time.Minute), h)
	e, _ := next.Node(h.ID)
	if next.Same(r) || !e.Since.Equal(day) || !e.Seen.After(day) {
		t.Fatalf("%+v", e)
	}
	h.Name = "office-2"
	if next = mustAdmit(t, r, day, h); next.Same(r) {
		t.Fatal("a new name is to be remembered")
	}
}

func TestRosterForgetsOnlyWhenTold(t *testing.T) {
	r := mustAdmit(t, Roster{}, day, hello(2, "office", "10.0.0.9/24"))
	years := day.AddDate(5, 0, 0)
	if _, refusal := r.Admit(years, self, hello(3, "nas", "10.0.0.9/24")); refusal == "" {
		t.Fatal("age alone frees no address")
	}
	mustAdmit(t, r.Forget(nodeID(2)), years, hello(3, "nas", "10.0.0.9/24"))
	if !r.Forget(nodeID(9)).Same(r) {
		t.Fatal("forgetting a stranger changes nothing")
	}
}

func TestRosterBindsWhatGossipWitnessed(t *testing.T) {
	advert := message.Advert{ID: nodeID(2), Name: "office", Addresses: prefixes("10.0.0.9/24")}
	r, refusal := Roster{}.Witness(day, self, advert)
	if refusal != "" || r.Len() != 1 {
		t.Fatalf("%q", refusal)
	}
	if _, refusal := r.Admit(day, self, hello(3, "thief", "10.0.0.9/24")); !strings.Contains(refusal, "taken by office") {
		t.Fatalf("%q", refusal)
	}
	advert.ID = nodeID(3)
	if _, refusal := r.Witness(day, self, advert); !strings.Contains(refusal, "taken by office") {
		t.Fatalf("%q", refusal)
	}
	advert.Left = true
	if next, refusal := r.Witness(day, self, advert); refusal != "" || !next.Same(r) {
		t.Fatal("a node that left binds nothing")
	}
}

func TestRosterIsBounded(t *testing.T) {
	r := newRoster(maxRoster)
	for n := range maxRoster {
		r.put(Entry{ID: nodeID(n + 2), Name: "n", Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), 32)}})
	}
	if _, refusal := r.Admit(day, self, hello(60000, "one-more", "10.0.0.9/24")); !strings.Contains(refusal, "full") {
		t.Fatalf("%q", refusal)
	}
	if _, refusal := r.Admit(day, self, hello(2, "n", "10.0.0.9/24")); refusal != "" {
		t.Fatalf("a known node was refused: %q", refusal)
	}
}

// Whatever is admitted in whatever order: no address has two holders, each
// holder has the address, and nobody loses an address to another.
func TestRosterNeverBindsAnAddressTwice(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var r Roster
	for step := range 5000 {
		var addresses []string
		for range 1 + rng.IntN(3) {
			addresses = append(addresses, fmt.Sprintf("10.0.0.%d/24", 2+rng.IntN(30)))
		}
		h := hello(2+rng.IntN(12), "n", addresses...)
		var next Roster
		if rng.IntN(20) == 0 {
			next = r.Forget(h.ID)
		} else {
			next, _ = r.Admit(day.Add(time.Duration(step)*time.Minute), self, h)
			for _, e := range r.Entries() {
				if e.ID == h.ID {
					continue
				}
				if now, ok := next.Node(e.ID); !ok || !sameAddresses(now, e) {
					t.Fatalf("step %d: %s took from %s", step, h.ID.Brief(), e.ID.Brief())
				}
			}
		}
		r = next
		seen := map[netip.Addr]bool{}
		for _, e := range r.Entries() {
			for _, p := range e.Addresses {
				if holder, ok := r.Holder(p.Addr()); !ok || holder.ID != e.ID {
					t.Fatalf("step %d: %s is not held by %s", step, p, e.ID.Brief())
				}
				seen[p.Addr()] = true
			}
		}
		if held := len(r.holder); held != len(seen) {
			t.Fatalf("step %d: %d bindings for %d addresses", step, held, len(seen))
		}
	}
}

func sameAddresses(a, b Entry) bool { return fmt.Sprint(a.Addresses) == fmt.Sprint(b.Addresses) }

func someRoster(t testing.TB) Roster {
	var r Roster
	for n := 2; n < 6; n++ {
		var refusal string
		r, refusal = r.Admit(day, self, hello(n, fmt.Sprintf("n%d", n), fmt.Sprintf("10.0.0.%d/24", n), fmt.Sprintf("fd00::%d/64", n)))
		if refusal != "" {
			t.Fatal(refusal)
		}
	}
	return r
}

func TestRosterFileKeepsEverything(t *testing.T) {
	dir := openDir(t, t.TempDir())
	book, err := OpenRosterBook(dir)
	if err != nil || book.Roster().Len() != 0 {
		t.Fatalf("first start: %v", err)
	}
	r := someRoster(t)
	book.now.Store(&r)
	if err := book.save(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenRosterBook(dir)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := encodeRoster(r)
	b, _ := encodeRoster(again.Roster())
	if string(a) != string(b) || again.Roster().Len() != 4 {
		t.Fatalf("%s\n%s", a, b)
	}
}

func TestDamagedRosterFileStopsTheStart(t *testing.T) {
	dir := openDir(t, t.TempDir())
	whole, err := encodeRoster(someRoster(t))
	if err != nil {
		t.Fatal(err)
	}
	text := string(whole)
	bad := []string{
		strings.Replace(text, "10.0.0.3/24", "10.0.0.2/24", 1),
		strings.Replace(text, `"n3"`, `"n 3"`, 1),
		strings.Replace(text, `"version": 1`, `"version": 9`, 1),
		strings.Replace(text, "10.0.0.3/24", "127.0.0.1/8", 1),
		strings.Replace(text, nodeID(3).String(), nodeID(2).String(), 1),
	}
	for n := range len(text) - 1 {
		bad = append(bad, text[:n])
	}
	for _, data := range bad {
		if err := os.WriteFile(dir.Path(rosterFile), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenRosterBook(dir); err == nil || !strings.Contains(err.Error(), dir.Path(rosterFile)) {
			t.Fatalf("%q: %v", data, err)
		}
	}
}

func FuzzParseRoster(f *testing.F) {
	whole, err := encodeRoster(someRoster(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"version":1,"nodes":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRoster(data)
		if err != nil {
			return
		}
		again, err := encodeRoster(r)
		if err != nil {
			t.Skip() // a year that JSON cannot hold
		}
		if back, err := parseRoster(again); err != nil || back.Len() != r.Len() {
			t.Fatalf("%v", err)
		}
	})
}

func TestCensusCountsOnlyThePresent(t *testing.T) {
	var c Census
	if why := c.Admit(day, nodeID(2), 1); why != "" {
		t.Fatal(why)
	}
	if why := c.Admit(day.Add(time.Minute), nodeID(3), 1); !strings.Contains(why, "mesh full") {
		t.Fatalf("%q", why)
	}
	if why := c.Admit(day.Add(4*time.Minute), nodeID(2), 1); why != "" {
		t.Fatalf("its next handshake: %s", why)
	}
	if why := c.Admit(day.Add(8*time.Minute), nodeID(3), 1); why == "" {
		t.Fatal("the first is still there")
	}
	if why := c.Admit(day.Add(10*time.Minute), nodeID(3), 1); why != "" {
		t.Fatalf("the first is gone: %s", why)
	}
	for n := range 1000 {
		if why := c.Admit(day, nodeID(n+10), 0); why != "" {
			t.Fatalf("0 is no limit: %s", why)
		}
	}
}
