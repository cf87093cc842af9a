package simnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/openbmx/lightweight-tunnel/node/tun"
)

// The protocol numbers of the packets that are built here.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// Flags of a TCP segment, for [TCP].
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// UDP returns an IP packet with a UDP datagram, all checksums right.
func UDP(src, dst netip.AddrPort, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b, src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return ipPacket(src.Addr(), dst.Addr(), protoUDP, append(b, payload...))
}

// TCP returns an IP packet with a TCP segment (header of 32 bytes: nop, nop and
// a zero timestamp), all checksums right.
func TCP(src, dst netip.AddrPort, seq, ack uint32, flags uint8, payload []byte) []byte {
	b := make([]byte, 32, 32+len(payload))
	binary.BigEndian.PutUint16(b, src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], ack)
	b[12], b[13] = 32/4<<4, flags
	binary.BigEndian.PutUint16(b[14:], 501) // window
	copy(b[20:], []byte{1, 1, 8, 10})
	return ipPacket(src.Addr(), dst.Addr(), protoTCP, append(b, payload...))
}

// Echo returns an IP packet with an ICMP or ICMPv6 echo request.
func Echo(src, dst netip.Addr, id, seq uint16, payload []byte) []byte {
	if src.Is4() {
		return icmp(src, dst, protoICMP, 8, id, seq, payload)
	}
	return icmp(src, dst, protoICMPv6, 128, id, seq, payload)
}

// EchoReply returns the answer that a host gives to an Echo of the same values
// from dst.
func EchoReply(src, dst netip.Addr, id, seq uint16, payload []byte) []byte {
	if src.Is4() {
		return icmp(src, dst, protoICMP, 0, id, seq, payload)
	}
	return icmp(src, dst, protoICMPv6, 129, id, seq, payload)
}

func icmp(src, dst netip.Addr, proto, kind uint8, id, seq uint16, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	b[0] = kind
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	return ipPacket(src, dst, proto, append(b, payload...))
}

// checksumAt is where a transport header holds its checksum; -1: unknown protocol.
func checksumAt(proto uint8) int {
	switch proto {
	case protoTCP:
		return 16
	case protoUDP:
		return 6
	case protoICMP, protoICMPv6:
		return 2
	}
	return -1
}

// ipPacket puts an IP header before body and fills in both checksums.
func ipPacket(src, dst netip.Addr, proto uint8, body []byte) []byte {
	var p []byte
	if src.Is4() {
		p = make([]byte, 20, 20+len(body))
		p[0], p[8], p[9] = 0x45, 64, proto
		p[6] = 0x40 // DF
		binary.BigEndian.PutUint16(p[2:], uint16(20+len(body)))
		copy(p[12:], src.AsSlice())
		copy(p[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(p[10:], ^sum(0, p))
	} else {
		p = make([]byte, 40, 40+len(body))
		p[0], p[6], p[7] = 0x60, proto, 64
		binary.BigEndian.PutUint16(p[4:], uint16(len(body)))
		copy(p[8:], src.AsSlice())
		copy(p[24:], dst.AsSlice())
	}
	start := len(p)
	p = append(p, body...)
	complete(p, start, checksumAt(proto), proto)
	return p
}

// complete writes the checksum of the transport header at start.
func complete(p []byte, start, at int, proto uint8) {
	field := p[start+at:]
	field[0], field[1] = 0, 0
	c := ^sum(uint32(pseudo(p, start, proto)), p[start:])
	if c == 0 && proto == protoUDP {
		c = 0xffff // zero would mean "none" (RFC 768)
	}
	binary.BigEndian.PutUint16(field, c)
}

// pseudo is the sum over the pseudo-header of the packet whose transport header
// begins at start, folded and not complemented: what stands in the checksum
// field of a packet whose checksum is left to the device.
func pseudo(p []byte, start int, proto uint8) uint16 {
	if proto == protoICMP {
		return 0
	}
	addrs := p[12:20]
	if p[0]>>4 == 6 {
		addrs = p[8:40]
	}
	return sum(uint32(proto)+uint32(len(p)-start), addrs)
}

// sum is the Internet checksum (RFC 1071) of b on top of start, not complemented.
func sum(start uint32, b []byte) uint16 {
	s := uint64(start)
	for ; len(b) >= 2; b = b[2:] {
		s += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// transportOf returns where the transport header of p begins and what it is.
// Extension headers are not looked through.
func transportOf(p []byte) (start int, proto uint8, err error) {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		start, proto = int(p[0]&15)*4, p[9]
		if got := int(binary.BigEndian.Uint16(p[2:])); got != len(p) || start < 20 || start > len(p) {
			return 0, 0, fmt.Errorf("IPv4 header of %d bytes says length %d, packet has %d", start, got, len(p))
		}
	case len(p) >= 40 && p[0]>>4 == 6:
		start, proto = 40, p[6]
		if got := 40 + int(binary.BigEndian.Uint16(p[4:])); got != len(p) {
			return 0, 0, fmt.Errorf("IPv6 header says length %d, packet has %d", got, len(p))
		}
	default:
		return 0, 0, errors.New("not an IP packet")
	}
	return start, proto, nil
}

// Check says what is wrong with an IP packet: its lengths, the checksum of the
// IPv4 header, that of TCP, UDP, ICMP or ICMPv6.
func Check(p []byte) error {
	start, proto, err := transportOf(p)
	if err != nil {
		return err
	}
	if p[0]>>4 == 4 && sum(0, p[:start]) != 0xffff {
		return errors.New("IPv4 header: bad checksum")
	}
	at := checksumAt(proto)
	if at < 0 {
		return nil
	}
	if len(p) < start+at+2 {
		return fmt.Errorf("protocol %d: header is cut off", proto)
	}
	if proto == protoUDP && p[start+at] == 0 && p[start+at+1] == 0 && p[0]>>4 == 4 {
		return nil // none
	}
	if sum(uint32(pseudo(p, start, proto)), p[start:]) != 0xffff {
		return fmt.Errorf("protocol %d: bad checksum", proto)
	}
	return nil
}

// Super turns a TCP or UDP packet of any length up to 65535 bytes into what the
// kernel hands to a TUN that offloads: its header says to cut the payload into
// pieces of size bytes, and the checksum field holds the pseudo-header sum only.
// A payload that fits one piece is not cut, only its checksum is left open.
// It panics on a packet of another protocol.
func Super(p []byte, size int) (tun.Header, []byte) {
	start, proto, err := transportOf(p)
	if err != nil {
		panic("simnet: " + err.Error())
	}
	p = append([]byte(nil), p...)
	at := checksumAt(proto)
	h := tun.Header{Flags: tun.NeedsChecksum, CsumStart: uint16(start), CsumOffset: uint16(at)}
	var payload int
	switch proto {
	case protoTCP:
		payload = start + int(p[start+12]>>4)*4
		h.GSOType = tun.GSOTCPv4
		if p[0]>>4 == 6 {
			h.GSOType = tun.GSOTCPv6
		}
	case protoUDP:
		payload = start + 8
		h.GSOType = tun.GSOUDP
	default:
		panic(fmt.Sprintf("simnet: protocol %d has no super-packets", proto))
	}
	h.HdrLen, h.GSOSize = uint16(payload), uint16(size)
	if len(p)-payload <= size {
		h.GSOType, h.HdrLen, h.GSOSize = tun.GSONone, 0, 0
	}
	binary.BigEndian.PutUint16(p[start+at:], pseudo(p, start, proto))
	return h, p
}
