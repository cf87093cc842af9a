package rawtcp

import "encoding/binary"

// sum16 adds b to a running ones' complement sum (RFC 1071), not folded.
func sum16(sum uint32, b []byte) uint32 {
	wide := uint64(sum)
	for ; len(b) >= 4; b = b[4:] {
		wide += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		wide += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		wide += uint64(b[0]) << 8
	}
	for wide > 0xffffffff {
		wide = wide>>32 + wide&0xffffffff
	}
	return uint32(wide>>16) + uint32(wide&0xffff)
}

// fold reduces a running sum to 16 bits, not inverted.
func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// pseudoSum is the part of TCP's pseudo-header sum that never changes in a
// connection: addresses and protocol. Add the length and fold.
func (t *tuple) pseudoSum() uint32 {
	const tcp = 6
	if t.v6() {
		return sum16(sum16(tcp, t.local[:]), t.remote[:])
	}
	return sum16(sum16(tcp, t.local[12:]), t.remote[12:])
}

// finishChecksum turns the pseudo-header sum that stands in pkt's TCP checksum
// field into the checksum of the whole segment. pkt is one IP packet made here.
func finishChecksum(pkt []byte) {
	ip := ip4Len
	if pkt[0]>>4 == 6 {
		ip = ip6Len
	}
	tcp := pkt[ip:]
	binary.BigEndian.PutUint16(tcp[16:], ^fold(sum16(0, tcp)))
}
