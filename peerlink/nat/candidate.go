package nat

import (
	"net/netip"
	"slices"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// Candidate is an endpoint under which a node may be reached, as adverts carry it.
type Candidate = message.Candidate

// maxHosts bounds the host candidates of one family.
const maxHosts = 6

// usable says whether a peer could reach the host at a: on the internet, or on a
// network that both share (RFC 1918, RFC 6598, ULA). Link-local addresses mean
// nothing without their interface.
func usable(a netip.Addr) bool {
	return a.IsValid() && a.IsGlobalUnicast() && a.Zone() == ""
}

// HostCandidates are the host's addresses with port, IPv4 first and in the given
// order within a family. What peers cannot reach is left out; port 0 leaves the
// family out.
func HostCandidates(hosts []netip.Addr, transport packet.Kind, port4, port6 uint16) []Candidate {
	var v4, v6 []Candidate
	for _, a := range hosts {
		a = a.Unmap()
		c := Candidate{Kind: message.Host, Transport: transport}
		switch {
		case !usable(a):
		case a.Is4() && port4 != 0 && len(v4) < maxHosts:
			c.Addr = netip.AddrPortFrom(a, port4)
			v4 = appendNew(v4, c)
		case a.Is6() && port6 != 0 && len(v6) < maxHosts:
			c.Addr = netip.AddrPortFrom(a, port6)
			v6 = appendNew(v6, c)
		}
	}
	return append(v4, v6...)
}

// appendNew appends c unless its endpoint is there already on that transport.
func appendNew(all []Candidate, c Candidate) []Candidate {
	if slices.ContainsFunc(all, func(o Candidate) bool { return o.Addr == c.Addr && o.Transport == c.Transport }) {
		return all
	}
	return append(all, c)
}
