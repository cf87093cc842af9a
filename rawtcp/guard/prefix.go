package guard

import (
	"encoding/binary"
	"net/netip"
)

// localPrefix is a key of the eBPF program's trie of this host's own addresses
// (struct bpf_lpm_trie_key): IPv4 addresses stand in their IPv6-mapped form.
type localPrefix struct {
	Bits [4]byte // in host byte order
	Addr [16]byte
}

func mapped(prefixes []netip.Prefix) []localPrefix {
	keys := make([]localPrefix, 0, len(prefixes))
	for _, p := range prefixes {
		k := localPrefix{Addr: p.Addr().As16()}
		bits := p.Bits()
		if p.Addr().Is4() {
			bits += 96
		}
		binary.NativeEndian.PutUint32(k.Bits[:], uint32(bits))
		keys = append(keys, k)
	}
	return keys
}
