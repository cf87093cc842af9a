package pump

import (
	"encoding/binary"
	"net/netip"
)

const (
	icmpQuoteV4 = 548  // RFC 1812 4.3.2.3: as much as fits 576 bytes
	icmpQuoteV6 = 1232 // RFC 4443 3.2: as much as fits 1280 bytes
)

// refusal is what an ICMP error tells the sender of a packet.
type refusal uint8

const (
	refuseTooBig      refusal = iota // RFC 1191, RFC 8201: the next packet may have mtu bytes
	refuseUnreachable                // no such node, or none that can be reached now
)

// appendICMPError appends to dst the ICMP error that answers packet p from self,
// or nothing where an error must not be sent: about another error, a later
// fragment, a broadcast or multicast (RFC 1122 3.2.2, RFC 4443 2.4).
func appendICMPError(dst []byte, why refusal, mtu int, p []byte, in *inner, self netip.Addr) []byte {
	if in.dst.IsMulticast() || in.src.IsUnspecified() || in.src.IsMulticast() || in.src == in.dst {
		return dst
	}
	if in.v6 {
		return appendICMPv6(dst, why, mtu, p, in, self)
	}
	return appendICMPv4(dst, why, mtu, p, in, self)
}

func appendICMPv4(dst []byte, why refusal, mtu int, p []byte, in *inner, self netip.Addr) []byte {
	ihl := int(p[0]&15) * 4
	if binary.BigEndian.Uint16(p[6:])&0x1fff != 0 {
		return dst
	}
	if in.proto == protoICMP && (len(p) <= ihl || (p[ihl] != 0 && p[ihl] != 8)) {
		return dst
	}
	if !self.Is4() {
		self = in.dst
	}
	quote := p[:min(len(p), icmpQuoteV4)]
	start := len(dst)
	dst = append(dst, 0x45, 0xc0, 0, 0, 0, 0, 0, 0, 64, protoICMP, 0, 0)
	dst = append(dst, self.AsSlice()...)
	dst = append(dst, in.src.AsSlice()...)
	code, next := byte(1), 0 // host unreachable
	if why == refuseTooBig {
		code, next = 4, mtu
	}
	dst = append(dst, 3, code, 0, 0, 0, 0, byte(next>>8), byte(next))
	dst = append(dst, quote...)
	msg := dst[start:]
	(&inner{}).setLength(msg)
	binary.BigEndian.PutUint16(msg[22:], ^fold(sum(msg[20:], 0)))
	return dst
}

func appendICMPv6(dst []byte, why refusal, mtu int, p []byte, in *inner, self netip.Addr) []byte {
	if in.proto == protoICMPv6 && (len(p) < 41 || p[40] < 128) {
		return dst
	}
	if !self.Is6() {
		self = in.dst
	}
	quote := p[:min(len(p), icmpQuoteV6-48)]
	start := len(dst)
	dst = append(dst, 0x60, 0, 0, 0, 0, 0, protoICMPv6, 64)
	dst = append(dst, self.AsSlice()...)
	dst = append(dst, in.src.AsSlice()...)
	if why == refuseTooBig {
		dst = append(dst, 2, 0, 0, 0)
		dst = binary.BigEndian.AppendUint32(dst, uint32(mtu))
	} else {
		dst = append(dst, 1, 3, 0, 0, 0, 0, 0, 0) // address unreachable
	}
	dst = append(dst, quote...)
	msg := dst[start:]
	out := inner{v6: true, proto: protoICMPv6, l4: 40}
	out.setLength(msg)
	binary.BigEndian.PutUint16(msg[42:], ^fold(sum(msg[40:], out.pseudoSum(msg))))
	return dst
}

// mayFragment says whether routers may cut p: IPv4 without DF.
func mayFragment(p []byte, in *inner) bool { return !in.v6 && p[6]&0x40 == 0 }

// fragmenter cuts an IPv4 packet that fits no datagram and has no DF bit
// (RFC 791 3.2). Pieces are made in a buffer of the caller's.
type fragmenter struct {
	p   []byte
	ihl int
	per int // payload bytes of each fragment, a multiple of 8
	off int // payload already handed out
}

// newFragmenter prepares for packets of up to limit bytes; the transport
// checksum of p is finished. ok is false where limit leaves no room.
func newFragmenter(p []byte, limit int) (f fragmenter, ok bool) {
	f = fragmenter{p: p, ihl: int(p[0]&15) * 4}
	f.per = (limit - f.ihl) &^ 7
	return f, f.per >= 8
}

// next appends the next fragment to dst, or returns nil after the last.
func (f *fragmenter) next(dst []byte) []byte {
	payload := f.p[f.ihl:]
	if f.off >= len(payload) {
		return nil
	}
	end := min(f.off+f.per, len(payload))
	start := len(dst)
	dst = append(dst, f.p[:f.ihl]...)
	dst = append(dst, payload[f.off:end]...)
	piece := dst[start:]
	was := binary.BigEndian.Uint16(f.p[6:])
	word := was&0xe000 | (was&0x1fff + uint16(f.off/8))
	if end < len(payload) {
		word |= 0x2000 // more fragments
	}
	binary.BigEndian.PutUint16(piece[6:], word)
	(&inner{}).setLength(piece)
	f.off = end
	return dst
}
