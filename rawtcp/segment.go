package rawtcp

import (
	"encoding/binary"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

// segment is one TCP segment, or several that were merged, as it arrived. The
// payload is a view into the packet it was parsed from.
type segment struct {
	tuple   tuple // ours: local is where it was sent to
	v6      bool
	flags   uint8
	window  uint16
	seq     uint32
	ack     uint32
	opts    options
	payload []byte
	from    link.Origin // not of the wire
}

// TCP flags.
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

const (
	ip4Len = 20
	ip6Len = 40
	tcpLen = 20
)

// mapped4 is what stands before an IPv4 address in a tuple.
var mapped4 = [12]byte{10: 0xff, 11: 0xff}

// parse reads the IP packet pkt into g. It returns false for everything that is
// not a whole, unfragmented TCP segment. Checksums are not looked at: what a
// tap delivers may legitimately have none yet (RFC-conforming ones are made on
// the way out of the machine), and datagrams are authenticated above.
func (g *segment) parse(pkt []byte) bool {
	if len(pkt) < ip4Len {
		return false
	}
	var tcp []byte
	switch pkt[0] >> 4 {
	case 4:
		ihl := int(pkt[0]&15) * 4
		total := int(binary.BigEndian.Uint16(pkt[2:]))
		if total == 0 {
			total = len(pkt) // BIG TCP
		}
		const moreOrOffset = 0x3fff
		if ihl < ip4Len || total > len(pkt) || total < ihl+tcpLen || pkt[9] != 6 ||
			binary.BigEndian.Uint16(pkt[6:])&moreOrOffset != 0 {
			return false
		}
		g.v6 = false
		copy(g.tuple.local[:], mapped4[:])
		copy(g.tuple.remote[:], mapped4[:])
		copy(g.tuple.remote[12:], pkt[12:16])
		copy(g.tuple.local[12:], pkt[16:20])
		tcp = pkt[ihl:total]
	case 6:
		if len(pkt) < ip6Len+tcpLen || pkt[6] != 6 {
			return false
		}
		total := ip6Len + int(binary.BigEndian.Uint16(pkt[4:]))
		if total == ip6Len {
			total = len(pkt)
		}
		if total > len(pkt) || total < ip6Len+tcpLen {
			return false
		}
		g.v6 = true
		copy(g.tuple.remote[:], pkt[8:24])
		copy(g.tuple.local[:], pkt[24:40])
		if [12]byte(pkt[8:]) == mapped4 || [12]byte(pkt[24:]) == mapped4 {
			return false // would be taken for IPv4
		}
		tcp = pkt[ip6Len:total]
	default:
		return false
	}
	head := int(tcp[12]>>4) * 4
	if head < tcpLen || head > len(tcp) {
		return false
	}
	g.tuple.remotePort = binary.BigEndian.Uint16(tcp)
	g.tuple.localPort = binary.BigEndian.Uint16(tcp[2:])
	g.seq = binary.BigEndian.Uint32(tcp[4:])
	g.ack = binary.BigEndian.Uint32(tcp[8:])
	g.flags = tcp[13]
	g.window = binary.BigEndian.Uint16(tcp[14:])
	g.payload = tcp[head:]
	return parseOptions(tcp[tcpLen:head], &g.opts)
}

// has reports whether all the flags in mask are set.
func (g *segment) has(mask uint8) bool { return g.flags&mask == mask }

// header is what goes in front of a payload on the way out.
type header struct {
	tuple  *tuple
	pseudo uint32 // tuple.pseudoSum()
	label  uint32 // IPv6 flow label
	ttl    uint8
	id     uint16 // IPv4
	flags  uint8
	window uint16
	seq    uint32
	ack    uint32
	opts   options
}

// maxHeader is the longest header that put writes.
const maxHeader = ip6Len + tcpLen + maxOptions

// size is the number of bytes that put will write.
func (h *header) size() (ip, tcp int) {
	ip, tcp = ip4Len, tcpLen
	if h.tuple.v6() {
		ip = ip6Len
	}
	o := &h.opts
	if o.mss != 0 {
		tcp += 4
	}
	switch {
	case o.stamps:
		tcp += stampLen
	case o.sack:
		tcp += 4
	}
	if o.wscale >= 0 {
		tcp += 4
	}
	return ip, tcp
}

// put writes IP and TCP header for n bytes of payload into b, which has exactly
// the size of both. The TCP checksum field gets the folded pseudo-header sum
// over all n bytes, as checksum and segmentation offload want it. No allocation.
func (h *header) put(b []byte, n int) {
	ip, tcp := ip4Len, len(b)-ip4Len
	if h.tuple.v6() {
		ip, tcp = ip6Len, len(b)-ip6Len
		binary.BigEndian.PutUint32(b, 6<<28|h.label)
		binary.BigEndian.PutUint16(b[4:], uint16(tcp+n))
		b[6], b[7] = 6, h.ttl
		copy(b[8:], h.tuple.local[:])
		copy(b[24:], h.tuple.remote[:])
	} else {
		const dontFragment = 0x4000
		b[0], b[1] = 0x45, 0
		binary.BigEndian.PutUint16(b[2:], uint16(ip+tcp+n))
		binary.BigEndian.PutUint16(b[4:], h.id)
		binary.BigEndian.PutUint16(b[6:], dontFragment)
		b[8], b[9], b[10], b[11] = h.ttl, 6, 0, 0
		copy(b[12:], h.tuple.local[12:])
		copy(b[16:], h.tuple.remote[12:])
		binary.BigEndian.PutUint16(b[10:], ^fold(sum16(0, b[:ip4Len])))
	}
	t := b[ip:]
	binary.BigEndian.PutUint16(t, h.tuple.localPort)
	binary.BigEndian.PutUint16(t[2:], h.tuple.remotePort)
	binary.BigEndian.PutUint32(t[4:], h.seq)
	binary.BigEndian.PutUint32(t[8:], h.ack)
	t[12], t[13] = byte(tcp/4)<<4, h.flags
	binary.BigEndian.PutUint16(t[14:], h.window)
	binary.BigEndian.PutUint16(t[16:], fold(h.pseudo+uint32(tcp+n)))
	t[18], t[19] = 0, 0
	h.opts.append(t[tcpLen:tcpLen])
}
