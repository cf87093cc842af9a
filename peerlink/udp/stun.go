package udp

import "encoding/binary"

// LooksLikeSTUN tells a STUN message from other datagrams (RFC 8489, section 5):
// two zero bits, a length that is right and a multiple of four, and the magic
// cookie. One in 2^50 random datagrams passes.
//
//	 0                   1                   2                   3
//	|0 0|     type (14)             |          length (16)          |
//	|                     magic cookie 2112a442                     |
//	|                     transaction id (96)                       |
func LooksLikeSTUN(b []byte) bool {
	const (
		header = 20
		cookie = 0x2112a442
	)
	if len(b) < header || b[0]&0xc0 != 0 || binary.BigEndian.Uint32(b[4:]) != cookie {
		return false
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	return length%4 == 0 && length == len(b)-header
}
