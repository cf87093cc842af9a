package rawtcp

import (
	"encoding/binary"
	"net/netip"
)

// tuple names a connection from this host's point of view. It is a fixed array
// inside, IPv4 as mapped addresses, because it is the key of the table that is
// looked up for every packet.
type tuple struct {
	local, remote         [16]byte
	localPort, remotePort uint16
}

func newTuple(local, remote netip.AddrPort) tuple {
	return tuple{local.Addr().As16(), remote.Addr().As16(), local.Port(), remote.Port()}
}

func (t *tuple) v6() bool { return !netip.AddrFrom16(t.local).Is4In6() }

func (t *tuple) localAddr() netip.Addr { return netip.AddrFrom16(t.local).Unmap() }

func (t *tuple) remoteAddr() netip.Addr { return netip.AddrFrom16(t.remote).Unmap() }

func (t *tuple) localAddrPort() netip.AddrPort {
	return netip.AddrPortFrom(t.localAddr(), t.localPort)
}

func (t *tuple) remoteAddrPort() netip.AddrPort {
	return netip.AddrPortFrom(t.remoteAddr(), t.remotePort)
}

// bytes lays t out for hashing, with room for one more number.
func (t *tuple) bytes(extra uint32) [40]byte {
	var b [40]byte
	copy(b[0:], t.local[:])
	copy(b[16:], t.remote[:])
	binary.BigEndian.PutUint16(b[32:], t.localPort)
	binary.BigEndian.PutUint16(b[34:], t.remotePort)
	binary.BigEndian.PutUint32(b[36:], extra)
	return b
}
