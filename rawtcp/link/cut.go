package link

import "encoding/binary"

// cut is one piece of a super-segment: some of its segments, to be sent as a
// packet or a smaller super-segment of their own.
type cut struct {
	first  int  // number of the first segment
	offset int  // of its payload in the whole, in bytes
	size   int  // payload, in bytes
	last   bool // nothing follows
}

const (
	tcpFIN, tcpPSH, tcpCWR = 0x01, 0x08, 0x80
)

// headers writes the IP and TCP headers of the piece to dst, from those of the
// whole, just as the kernel's own segmentation does (tcp_gso_segment): IPv4 id
// and sequence number count up, PSH and FIN stay on the last segment and CWR on
// the first. The checksum field keeps a pseudo-header sum, now over the length
// of the piece; whole is that of the super-segment, TCP header and payload.
func (c cut) headers(dst, super []byte, ipLen, whole int) {
	copy(dst, super)
	ip, tcp := dst[:ipLen], dst[ipLen:len(super)]
	length := len(tcp) + c.size
	if ip[0]>>4 == 4 {
		binary.BigEndian.PutUint16(ip[2:], uint16(ipLen+length))
		binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+uint16(c.first))
		headerChecksum(ip)
	} else {
		binary.BigEndian.PutUint16(ip[4:], uint16(ipLen-40+length))
	}
	binary.BigEndian.PutUint32(tcp[4:], binary.BigEndian.Uint32(tcp[4:])+uint32(c.offset))
	if !c.last {
		tcp[13] &^= tcpPSH | tcpFIN
	}
	if c.first > 0 {
		tcp[13] &^= tcpCWR
	}
	pseudo := uint64(binary.BigEndian.Uint16(tcp[tcpChecksumOffset:]))
	pseudo += uint64(^uint16(whole)) + uint64(uint16(length))
	binary.BigEndian.PutUint16(tcp[tcpChecksumOffset:], fold(pseudo))
}
