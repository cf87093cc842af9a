package pump

import (
	"bytes"
	"encoding/binary"

	"github.com/openbmx/lightweight-tunnel/node/tun"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

const (
	maxPacket   = 65535
	maxUDPTrain = 64 // UDP_MAX_SEGMENTS of kernels before 6.9
)

// coalescer joins consecutive packets of one flow into the super-packet that a
// TUN device takes in one write, without moving any payload: each packet is
// opened so that its header lands on the tail of the payload before it; if the
// packet continues that one, the tail is put back over the header, and the
// payload already stands where it belongs.
//
//	held           |vnet|IP|TCP|payload 1|payload 2|
//	next opens at                           |IP|TCP|payload 3|
//	                                        '-- at    (these bytes are saved)
//
// It belongs to one pump. Whoever calls place calls keep or discard next.
type coalescer struct {
	write func(buf []byte) // hands vnet header and packet to the device
	uso   bool             // the device takes UDP super-packets

	buf, spare []byte
	end        int // end of what is held in buf; 0: nothing is
	in         inner
	seg        int // payload bytes of every piece but the last
	n          int // pieces held
	seq        uint32
	kind       wire.Kind
	open       bool // may still grow

	at    int // where the packet that is being opened starts
	saved [120]byte
}

func newCoalescer(uso bool, write func([]byte)) *coalescer {
	return &coalescer{
		write: write, uso: uso,
		buf:   make([]byte, tun.HeaderLen+maxPacket),
		spare: make([]byte, tun.HeaderLen+maxPacket),
	}
}

// place returns an empty slice over the room into which the next packet, of n
// bytes, is to be opened; n is at most maxPacket.
func (c *coalescer) place(n int) []byte {
	if c.end != 0 && (!c.open || c.end-c.in.head+n > len(c.buf)) {
		c.flush()
	}
	c.at = tun.HeaderLen
	if c.end != 0 {
		c.at = c.end - c.in.head
		copy(c.saved[:], c.buf[c.at:c.end])
	}
	return c.buf[c.at : c.at : c.at+n]
}

// discard forgets the packet that place was called for.
func (c *coalescer) discard() {
	if c.end != 0 {
		copy(c.buf[c.at:c.end], c.saved[:])
	}
}

// keep takes the packet p that was opened at place and has the headers in.
func (c *coalescer) keep(kind wire.Kind, p []byte, in inner) {
	switch {
	case c.end == 0:
		c.begin(kind, p, in)
	case c.continues(kind, p, &in):
		c.extend(p)
	default: // p ends where its own train may begin: at the start of a buffer
		n := copy(c.spare[tun.HeaderLen:], p)
		c.discard()
		c.flush()
		c.buf, c.spare = c.spare, c.buf
		c.begin(kind, c.buf[tun.HeaderLen:tun.HeaderLen+n], in)
	}
}

// begin holds p, which stands at the start of buf, as the first piece.
func (c *coalescer) begin(kind wire.Kind, p []byte, in inner) {
	payload := len(p) - in.head
	c.end, c.in, c.kind, c.n, c.seg = tun.HeaderLen+len(p), in, kind, 1, payload
	// A payload shorter than the headers could not hide the next header.
	c.open = kind == wire.DataPartial && in.l4 != 0 && payload >= in.head && (in.v6 || in.l4 == 20)
	switch in.proto {
	case protoTCP:
		c.seq = binary.BigEndian.Uint32(p[in.l4+4:]) + uint32(payload)
		c.open = c.open && p[in.l4+13] == tcpACK
	case protoUDP:
		c.open = c.open && c.uso
	default:
		c.open = false
	}
}

// continues says whether p is the next piece of what is held.
func (c *coalescer) continues(kind wire.Kind, p []byte, in *inner) bool {
	held := c.buf[tun.HeaderLen:]
	if !c.open || kind != c.kind || in.v6 != c.in.v6 || in.proto != c.in.proto || in.l4 != c.in.l4 || in.head != c.in.head {
		return false
	}
	payload := len(p) - in.head
	if payload == 0 || payload > c.seg || c.end+payload > len(c.buf) {
		return false
	}
	if in.v6 && !sameIPv6(p, held) || !in.v6 && !sameIPv4(p, held) {
		return false
	}
	a, b := p[in.l4:in.head], held[in.l4:in.head]
	if binary.LittleEndian.Uint32(a) != binary.LittleEndian.Uint32(b) { // ports
		return false
	}
	if in.proto == protoUDP {
		return c.n < maxUDPTrain
	}
	return binary.BigEndian.Uint32(a[4:]) == c.seq && a[13]&^tcpPSH == tcpACK &&
		(binary.LittleEndian.Uint64(a[8:])^binary.LittleEndian.Uint64(b[8:]))&tcpSame == 0 && bytes.Equal(a[18:], b[18:])
}

// Which bits of a word of the headers are the same in all pieces of a train, the
// words read as little-endian; whole words at once, since this is done for every
// datagram.
const (
	ipv4Same0 = 0xffff_0000_0000_ffff // not the length and the identification
	ipv4Same8 = 0xffff_ffff_0000_ffff // not the checksum
	tcpSame   = 0xffff_00ff_ffff_ffff // from the acknowledgement to the window, without the flags
)

func sameIPv4(a, b []byte) bool {
	le := binary.LittleEndian
	return (le.Uint64(a)^le.Uint64(b))&ipv4Same0 == 0 && (le.Uint64(a[8:])^le.Uint64(b[8:]))&ipv4Same8 == 0 &&
		le.Uint32(a[16:]) == le.Uint32(b[16:])
}

// sameIPv6 leaves out the length.
func sameIPv6(a, b []byte) bool {
	return bytes.Equal(a[:4], b[:4]) && bytes.Equal(a[6:40], b[6:40])
}

// extend adds p, whose header overlays the tail of what is held.
func (c *coalescer) extend(p []byte) {
	payload := len(p) - c.in.head
	push := c.in.proto == protoTCP && p[c.in.l4+13]&tcpPSH != 0
	c.discard()
	c.end += payload
	c.n++
	c.seq += uint32(payload)
	if push {
		c.buf[tun.HeaderLen+c.in.l4+13] |= tcpPSH
	}
	c.open = payload == c.seg && !push
}

// flush writes what is held to the device.
func (c *coalescer) flush() {
	if c.end == 0 {
		return
	}
	frame := c.buf[:c.end]
	c.end = 0
	var h tun.Header
	if c.kind == wire.DataPartial {
		p := frame[tun.HeaderLen:]
		c.in.setLength(p)
		h.Flags = tun.NeedsChecksum
		h.CsumStart, h.CsumOffset = uint16(c.in.l4), uint16(c.in.checksumOffset())
		if c.in.proto == protoUDP && c.n > 1 {
			binary.BigEndian.PutUint16(p[c.in.l4+4:], uint16(len(p)-c.in.l4))
		}
		binary.BigEndian.PutUint16(p[c.in.l4+c.in.checksumOffset():], fold(c.in.pseudoSum(p)))
		if c.n > 1 {
			h.HdrLen, h.GSOSize, h.GSOType = uint16(c.in.head), uint16(c.seg), c.gsoType()
		}
	}
	h.Put(frame)
	c.write(frame)
}

func (c *coalescer) gsoType() uint8 {
	switch {
	case c.in.proto == protoUDP:
		return tun.GSOUDP
	case c.in.v6:
		return tun.GSOTCPv6
	}
	return tun.GSOTCPv4
}
