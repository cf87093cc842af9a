package portmap

import "net/netip"

// shared is the address space of carriers' NATs (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// reserved is what nobody uses (RFC 1112, 4), the broadcast address with it.
var reserved = netip.MustParsePrefix("240.0.0.0/4")

// public says whether an IPv4 address may be one that the whole internet
// reaches. The networks for documentation and benchmarks count as such:
// laboratories use them in that place.
func public(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast() &&
		!a.IsMulticast() && !shared.Contains(a) && !reserved.Contains(a)
}
