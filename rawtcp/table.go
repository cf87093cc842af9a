package rawtcp

import "net/netip"

// table is an immutable snapshot of the flows and listening addresses: what the
// receiving pump looks every packet up in.
type table struct {
	flows  map[tuple]*Flow
	listen []netip.AddrPort
}

// listens reports whether the local side of tu is an address that we accept on.
// A wildcard takes every address of its family, the IPv6 one both.
func (t *table) listens(tu *tuple) bool {
	for _, l := range t.listen {
		if l.Port() != tu.localPort {
			continue
		}
		switch a := l.Addr(); {
		case a == netip.IPv6Unspecified(),
			a == netip.IPv4Unspecified() && !tu.v6(),
			a.Unmap().WithZone("") == tu.localAddr():
			return true
		}
	}
	return false
}
