package guard

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Leftover is a rule whose guard was killed. The next guard that starts in this
// network namespace removes it.
type Leftover struct {
	What   string // in words
	Remove string // the command that takes away its effect by hand
}

// Leftovers lists what guards left behind whose process is gone, in the network
// namespace of the calling thread, and changes nothing. Without CAP_NET_ADMIN
// some of it cannot be seen. It may run the program iptables, which can be held
// up for seconds by another one that runs.
func Leftovers() ([]Leftover, error) {
	dead := (&owner{}).dead
	var all []Leftover
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open route netlink socket: %w", err)
	}
	defer handle.Close()
	links, err := deadFilters(handle, dead)
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		name := l.Attrs().Name
		all = append(all, Leftover{"tc filter on " + name, "tc qdisc del dev " + name + " clsact"})
	}
	if conn, err := nftables.New(); err == nil {
		for _, t := range deadTables(conn, dead) {
			all = append(all, Leftover{"nft table netdev " + t.Name, "nft delete table netdev " + t.Name})
		}
	}
	for _, c := range deadChains(dead) {
		all = append(all, Leftover{
			fmt.Sprintf("%s chain %s in table %s", c.program, c.chain, c.place.table),
			fmt.Sprintf("%s -t %s -F %s", c.program, c.place.table, c.chain),
		})
	}
	return all, nil
}

// removeLeftovers removes what guards left behind whose process is gone. What
// cannot be removed is reported and does not hinder.
func (g *Guard) removeLeftovers() {
	for _, l := range []struct {
		what   string
		remove func() error
	}{
		{"tc filters", func() error { return removeDeadFilters(g.handle, g.owner.dead) }},
		{"nft tables", func() error { return removeDeadTables(g.owner.dead) }},
		{"iptables chains", func() error { return removeDeadChains(g.owner.dead) }},
	} {
		if err := l.remove(); err != nil {
			g.log.Warn("cannot remove what a former process left behind", "what", l.what, "reason", err)
		}
	}
}
