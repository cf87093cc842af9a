package routes

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

func TestAnnouncedPrefixIsJudgedWithAReason(t *testing.T) {
	for _, c := range []struct {
		what, accept, prefix string
		address              bool
		install              bool
		why                  string // the beginning, for what is used; a part, for what is not
	}{
		{"a plain LAN", "all", "192.168.7.0/24", false, true, ""},
		{"an IPv6 LAN", "all", "2001:db8:7::/48", false, true, ""},
		{"host bits are ignored", "all", "192.168.7.9/24", false, true, ""},
		{"accept none", "none", "192.168.7.0/24", false, false, "accept-routes is none"},
		{"not on the list", "10.0.0.0/8", "192.168.7.0/24", false, false, "accept-routes is 10.0.0.0/8"},
		{"within the list", "192.168.0.0/16", "192.168.7.0/24", false, true, ""},
		{"default route", "all", "0.0.0.0/0", false, false, "default route"},
		{"IPv6 default route", "all", "::/0", false, false, "default route"},
		{"default route within a list", "0.0.0.0/0", "0.0.0.0/0", false, true, ""},
		{"default route named", "all,0.0.0.0/0", "0.0.0.0/0", false, true, ""},
		{"IPv6 default route named", "all,::/0", "::/0", false, true, ""},
		{"half a default route", "all", "128.0.0.0/1", false, false, "so wide"},
		{"half a default route named", "all,128.0.0.0/1", "128.0.0.0/1", false, true, ""},
		{"all of IPv6 unicast", "all", "2000::/3", false, false, "so wide"},
		{"covers a seed", "all", "203.0.113.0/24", false, false, "covers 203.0.113.9"},
		{"is a seed", "all", "203.0.113.9/32", false, false, "covers 203.0.113.9"},
		{"covers an IPv6 seed", "all", "2001:db8:5::/48", false, false, "covers 2001:db8:5::9"},
		{"covers a seed, named", "203.0.113.0/24", "203.0.113.0/24", false, true, ""},
		{"beside a seed", "all", "203.0.114.0/24", false, true, ""},
		{"a connected network", "all", "172.16.5.0/24", false, false, "this host is in that network"},
		{"a connected network, named", "all,172.16.5.0/24", "172.16.5.0/24", false, false, "this host is in that network"},
		{"covers a connected network", "all", "172.16.0.0/12", false, false, "overlaps 172.16.5.0/24"},
		{"covers a connected network, named", "all,172.16.0.0/12", "172.16.0.0/12", false, true, ""},
		{"inside a connected network", "all", "172.16.5.128/25", false, false, "overlaps 172.16.5.0/24"},
		{"inside a connected network, named", "all,172.16.5.128/25", "172.16.5.128/25", false, true, ""},
		{"the overlay itself", "all", "10.0.0.0/24", false, false, "inside this node's overlay"},
		{"inside the overlay", "all,10.0.0.8/30", "10.0.0.8/30", false, false, "inside this node's overlay"},
		{"around the overlay", "all", "10.0.0.0/8", false, true, ""},
		{"what is announced here", "all", "192.168.1.0/24", false, false, "announces it itself"},
		{"inside what is announced here", "all", "192.168.1.64/26", false, true, ""},
		{"loopback", "all", "127.5.0.0/16", false, false, "never routed"},
		{"multicast", "all", "239.0.0.0/8", false, false, "never routed"},
		{"IPv6 multicast", "all,ff02::/16", "ff02::/16", false, false, "never routed"},
		{"link-local", "all", "fe80::/64", false, false, "never routed"},
		{"an overlay address", "all", "10.0.0.2/24", true, false, ""},
		{"an overlay address and accept none", "none", "10.0.0.2/24", true, false, ""},
		{"an IPv6 overlay address", "none", "fd00::2/64", true, false, ""},
		{"an address elsewhere", "all", "10.9.0.2/24", true, true, ""},
		{"an address elsewhere and accept none", "none", "10.9.0.2/24", true, false, "accept-routes is none"},
		{"a seed as address", "all", "203.0.113.9/24", true, false, "covers 203.0.113.9"},
		{"a neighbour on the LAN as address", "all", "172.16.5.1/24", true, false, "overlaps 172.16.5.0/24"},
		{"this node's address", "all", "10.0.0.1/24", true, false, "this node's own address"},
		{"this node's IPv6 address", "all", "fd00::1/64", true, false, "this node's own address"},
		{"the broadcast address", "all", "10.0.0.255/24", true, false, "not a host's address"},
		{"the network address", "all", "10.0.0.0/24", true, false, "not a host's address"},
	} {
		t.Run(c.what, func(t *testing.T) {
			table := NewTable(own(c.accept, "192.168.1.0/24"))
			table.Connected(pfxs("172.16.5.7/24"))
			table.Apply(message.Protect{Underlay: []netip.Addr{addr("203.0.113.9"), addr("2001:db8:5::9")}})
			p := pfx(c.prefix)
			m, want := advert(2, 1, ""), p.Masked()
			if c.address {
				m.Advert.Addresses, want = pfxs(c.prefix), netip.PrefixFrom(p.Addr(), p.Addr().BitLen())
			} else {
				m.Advert.Routes = pfxs(c.prefix)
			}
			if !table.Apply(m) {
				t.Fatal("the advert changed nothing")
			}
			d := find(t, table.Decide(start), want.String(), 2)
			if d.Install != c.install || d.Best != d.Usable || d.Usable != (c.why == "") || d.Address != c.address {
				t.Fatalf("%+v", d)
			}
			if c.why == "" && d.Why != "no link yet" || !strings.Contains(d.Why, c.why) {
				t.Fatalf("why: %q, want %q", d.Why, c.why)
			}
		})
	}
}

func TestAnotherNodeTakesOverAndGoesBackOnlyForAGoodReason(t *testing.T) {
	table, now := NewTable(own("all")), start
	lan := "192.168.7.0/24"
	best := func(after time.Duration, m ...message.ToRoutes) string {
		t.Helper()
		for _, m := range m {
			table.Apply(m)
		}
		now = now.Add(after)
		var at, why string
		for _, d := range table.Decide(now) {
			if d.Prefix == pfx(lan) && d.Best {
				at, why = at+d.Name, d.Why
			}
		}
		return at + " " + why
	}
	for i, step := range []struct{ got, want string }{
		{best(0, advert(3, 1, "", lan)), "nas no link yet"},
		{best(0, advert(2, 1, "", lan)), "nas best of 2: no link yet"}, // whoever has it keeps it
		{best(0, link(2, true, 50)), "office best of 2: 50.0 ms"},      // a link is better than none, at once
		{best(time.Hour, link(3, true, 49)), "office best of 2: 50.0 ms"},
		{best(0, link(3, true, 38)), "office best of 2: 50.0 ms"},       // not by a quarter
		{best(0, link(3, true, 30)), "nas best of 2: 30.0 ms"},          // clearly nearer
		{best(0, link(2, true, 10)), "nas best of 2: 30.0 ms"},          // but not twice in half a minute
		{best(29 * time.Second), "nas best of 2: 30.0 ms"},              //
		{best(time.Second), "office best of 2: 10.0 ms"},                //
		{best(0, link(2, false, 0)), "nas best of 2: 30.0 ms"},          // gone: at once
		{best(0, link(3, false, 0)), "nas best of 2: link down"},        //
		{best(0, message.Withdrawn{Node: node(3)}), "office link down"}, // the last one keeps it, so that nothing leaks out of the tunnel
		{best(0, message.Withdrawn{Node: node(2)}), " "},
	} {
		if step.got != step.want {
			t.Errorf("step %d: %q, want %q", i, step.got, step.want)
		}
	}
}

func TestEqualNodesAreToldApartByTheirID(t *testing.T) {
	table := NewTable(own("all"))
	for _, n := range []byte{4, 2, 3} {
		table.Apply(advert(n, 1, "", "192.168.7.0/24"))
		table.Apply(link(n, true, 20))
	}
	all := table.Decide(start)
	if !find(t, all, "192.168.7.0/24", 2).Best {
		t.Fatalf("%+v", all)
	}
	for _, n := range []byte{3, 4} {
		d := find(t, all, "192.168.7.0/24", n)
		if d.Best || d.Install || !d.Usable || d.Why != "standby (20.0 ms): office has it (20.0 ms)" {
			t.Fatalf("%+v", d)
		}
	}
}

func TestAddressBelongsToWhoeverHadItFirst(t *testing.T) {
	table := NewTable(own("all"))
	table.Apply(advert(3, 1, "10.0.0.9/24"))
	table.Decide(start)
	table.Apply(advert(2, 1, "10.0.0.9/24", "10.0.0.9/32"))
	table.Apply(link(2, true, 1))
	all := table.Decide(start.Add(time.Hour))
	first, second := find(t, all, "10.0.0.9/32", 3), find(t, all, "10.0.0.9/32", 2)
	if !first.Best || second.Best || second.Usable || second.Why != "nas holds this address" {
		t.Fatalf("first %+v, second %+v", first, second)
	}
	table.Apply(message.Withdrawn{Node: node(3)})
	if d := find(t, table.Decide(start.Add(2*time.Hour)), "10.0.0.9/32", 2); !d.Best {
		t.Fatalf("after the first left: %+v", d)
	}
}

func TestAnAnnouncedNetworkNeverTakesAnAddress(t *testing.T) {
	table := NewTable(own("all"))
	table.Apply(advert(2, 1, "", "10.9.0.7/32"))
	table.Apply(link(2, true, 1))
	table.Decide(start)
	table.Apply(advert(3, 1, "10.9.0.7/24"))
	all := table.Decide(start)
	if !find(t, all, "10.9.0.7/32", 3).Best || find(t, all, "10.9.0.7/32", 2).Usable {
		t.Fatalf("%+v", all)
	}
}

func TestLinkMakesAnAddressRoutableBeforeAnyAdvert(t *testing.T) {
	table := NewTable(own("all"))
	up := link(2, true, 5)
	up.Hello.Addresses = pfxs("10.0.0.2/24")
	if !table.Apply(up) || !find(t, table.Decide(start), "10.0.0.2/32", 2).Best {
		t.Fatal("the address is not routed")
	}
	table.Apply(advert(2, 1, "10.0.0.2/24"))
	table.Apply(message.Withdrawn{Node: node(2)})
	if !find(t, table.Decide(start), "10.0.0.2/32", 2).Best {
		t.Fatal("the address went with the advert although the link is up")
	}
	if !table.Apply(link(2, false, 0)) || len(table.Decide(start)) != 0 {
		t.Fatal("the address outlived both link and advert")
	}
}

func TestALeavingNodeTakesOnlyItsOwnRoutes(t *testing.T) {
	table := NewTable(own("all", "192.168.1.0/24"))
	table.Apply(advert(2, 1, "10.0.0.2/24", "192.168.2.0/24"))
	table.Apply(advert(3, 1, "10.0.0.3/24", "192.168.3.0/24"))
	left := advert(2, 2, "10.0.0.2/24", "192.168.2.0/24")
	left.Advert.Left = true
	table.Apply(left)
	all := table.Decide(start)
	if len(all) != 3 || !find(t, all, "192.168.3.0/24", 3).Install || !find(t, all, "10.0.0.3/32", 3).Best {
		t.Fatalf("%+v", all)
	}
}

func TestTableIgnoresWhatIsOldOrAboutItself(t *testing.T) {
	table := NewTable(own("all"))
	table.Apply(advert(2, 5, "10.0.0.2/24", "192.168.2.0/24"))
	for what, m := range map[string]message.ToRoutes{
		"an older advert":              advert(2, 4, "10.0.0.2/24"),
		"the same advert":              advert(2, 5, "10.0.0.2/24", "192.168.2.0/24"),
		"an advert of this node":       advert(1, 9, "10.0.0.1/24", "192.168.9.0/24"),
		"an advert of nobody":          message.Advertised{},
		"a link to this node":          link(1, true, 1),
		"a link of a stranger, down":   link(4, false, 0),
		"the leaving of a stranger":    message.Withdrawn{Node: node(4)},
		"no underlay address, as ever": message.Protect{},
	} {
		if table.Apply(m) {
			t.Errorf("%s changed something", what)
		}
	}
	if all := table.Decide(start); len(all) != 2 {
		t.Fatalf("%+v", all)
	}
}

func TestRememberedTableDecidesTheSame(t *testing.T) {
	table := NewTable(own("all"))
	for n, ms := range map[byte]uint32{2: 50, 3: 48, 4: 49} {
		table.Apply(advert(n, 1, "", "192.168.7.0/24"))
		table.Apply(link(n, true, ms))
		table.Decide(start)
	}
	before := table.Decide(start)
	next := NewTable(own("all"))
	next.Recall(table.Remember())
	after := next.Decide(start)
	for i := range before {
		if before[i] != after[i] {
			t.Fatalf("%+v became %+v", before[i], after[i])
		}
	}
}
