package pump

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers that pumps look into.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// inner is what a pump needs to know of an IP packet that travels through the
// tunnel. l4 is 0 where there is no transport header to look at: a fragment, an
// unknown protocol, IPv6 extension headers.
type inner struct {
	v6    bool
	proto uint8
	l4    int // offset of the TCP or UDP header
	head  int // bytes of IP and transport header together; 0 if l4 is 0
	src   netip.Addr
	dst   netip.Addr
}

// parseInner reads the headers of p. It fails on what no IP stack would take.
func parseInner(p []byte) (in inner, ok bool) {
	if len(p) < 20 {
		return in, false
	}
	switch p[0] >> 4 {
	case 4:
		ihl := int(p[0]&15) * 4
		if ihl < 20 || ihl > len(p) {
			return in, false
		}
		in.src, in.dst = netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
		in.proto = p[9]
		if binary.BigEndian.Uint16(p[6:])&0x3fff == 0 { // neither MF nor an offset
			in.l4 = ihl
		}
	case 6:
		if len(p) < 40 {
			return in, false
		}
		in.v6 = true
		in.src, in.dst = netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))
		in.proto, in.l4 = p[6], 40
	default:
		return in, false
	}
	in.head = in.headers(p)
	if in.head == 0 {
		in.l4 = 0
	}
	return in, true
}

// headers is the length of IP and transport header, 0 if there is none whole.
func (in *inner) headers(p []byte) int {
	if in.l4 == 0 {
		return 0
	}
	switch {
	case in.proto == protoTCP && len(p) >= in.l4+20:
		if n := in.l4 + int(p[in.l4+12]>>4)*4; n >= in.l4+20 && n <= len(p) {
			return n
		}
	case in.proto == protoUDP && len(p) >= in.l4+8:
		return in.l4 + 8
	}
	return 0
}

// checksumOffset is where a transport header keeps its checksum.
func (in *inner) checksumOffset() int {
	if in.proto == protoTCP {
		return 16
	}
	return 6
}

// sum adds the 16-bit big-endian words of b to acc (RFC 1071), unfolded.
func sum(b []byte, acc uint64) uint64 {
	for len(b) >= 8 {
		v := binary.BigEndian.Uint64(b)
		acc += v>>32 + v&0xffffffff
		b = b[8:]
	}
	for len(b) >= 2 {
		acc += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		acc += uint64(b[0]) << 8
	}
	return acc
}

// fold reduces a sum to 16 bits.
func fold(acc uint64) uint16 {
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}

// pseudoSum is the unfolded pseudo-header sum for the transport part of p
// (RFC 9293 3.1, RFC 8200 8.1).
func (in *inner) pseudoSum(p []byte) uint64 {
	acc := uint64(in.proto) + uint64(len(p)-in.l4)
	if in.v6 {
		return sum(p[8:40], acc)
	}
	return sum(p[12:20], acc)
}

// setLength writes the packet's length into its IP header and mends what
// depends on it there.
func (in *inner) setLength(p []byte) {
	if in.v6 {
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
		return
	}
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], ^fold(sum(p[:int(p[0]&15)*4], 0)))
}
