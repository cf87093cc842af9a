package pump

import (
	"encoding/binary"

	"github.com/openbmx/lightweight-tunnel/node/tun"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// verdict says what became of a packet that was offered to a splitter.
type verdict uint8

const (
	pass      verdict = iota // next hands out the pieces
	tooBig                   // fits no datagram and may not be cut here
	malformed                // not a packet that a kernel would send
)

// splitter cuts what the TUN device gave, up to 64 KB of one flow, into packets
// that fit the path. It works in place: each piece's header is written over the
// tail of the piece before, which is sealed by then. So every piece is used up
// before the next is asked for, and the buffer is spoilt afterwards.
//
// Pieces of kind DataPartial carry no transport checksum over their payload and
// no IPv4 header checksum: AES-GCM guards them on the way, and the far pump
// makes both when it hands the packet to its kernel.
type splitter struct {
	kind wire.Kind
	in   inner
	p    []byte // the packet from its IP header on
	seg  int    // payload bytes of each piece
	off  int    // where the next payload starts
	n    int    // pieces handed out
	one  bool   // the packet goes as it is
	full bool   // pieces need a checksum of their own: the far side cannot find the field

	head  [120]byte // the headers as they came
	flags byte      // TCP flags as they came
	seq   uint32
	id    uint16
	start int // where the sum of the transport checksum begins
	csum  int // offset of the transport checksum in the packet
}

const (
	tcpFIN = 1 << 0
	tcpSYN = 1 << 1
	tcpRST = 1 << 2
	tcpPSH = 1 << 3
	tcpACK = 1 << 4
	tcpCWR = 1 << 7
)

// load takes packet p, whose offload header is h, for a path on which packets
// of up to limit bytes fit.
func (s *splitter) load(h tun.Header, p []byte, in inner, limit int) verdict {
	s.in, s.p, s.n, s.full = in, p, 0, false
	partial := h.Flags&tun.NeedsChecksum != 0
	gso := h.GSOType &^ tun.GSOECN
	s.kind = wire.Data
	if partial {
		s.kind = wire.DataPartial
		s.start, s.csum = int(h.CsumStart), int(h.CsumStart)+int(h.CsumOffset)
		if s.csum+2 > len(p) {
			return malformed
		}
		// The far side knows where the checksum of plain TCP and UDP stands; any
		// other layout is finished here.
		s.full = in.l4 == 0 || int(h.CsumStart) != in.l4 || int(h.CsumOffset) != in.checksumOffset()
	}
	if gso == tun.GSONone {
		return s.startOne(partial, limit)
	}
	return s.startGSO(h, gso, partial, limit)
}

func (s *splitter) startOne(partial bool, limit int) verdict {
	if len(s.p) > limit {
		// Locally made TCP may be cut like a super-packet; a packet with a
		// finished checksum came from elsewhere and is not ours to rewrite.
		if partial && !s.full && s.in.proto == protoTCP && s.p[s.in.l4+13]&(tcpSYN|tcpRST) == 0 && limit > s.in.head {
			s.cut(s.in.head, limit-s.in.head)
			return pass
		}
		return tooBig
	}
	if s.full {
		finishChecksum(s.p, s.csum, s.start)
		s.kind, s.full = wire.Data, false
	}
	s.one = true
	return pass
}

func (s *splitter) startGSO(h tun.Header, gso uint8, partial bool, limit int) verdict {
	if !partial || h.GSOSize == 0 {
		return malformed
	}
	l4 := int(h.CsumStart)
	var head int
	switch gso {
	case tun.GSOTCPv4, tun.GSOTCPv6:
		if l4+20 > len(s.p) {
			return malformed
		}
		head = l4 + int(s.p[l4+12]>>4)*4
	case tun.GSOUDP:
		head = l4 + 8
	default:
		return malformed
	}
	if l4 < 20 || head > len(s.p) || head > len(s.head) || head < l4+8 {
		return malformed
	}
	seg := int(h.GSOSize)
	if head+seg > limit {
		if gso == tun.GSOUDP || limit <= head {
			return tooBig // the border of a datagram has a meaning
		}
		seg = limit - head
	}
	s.in.l4 = l4
	if gso == tun.GSOUDP {
		s.in.proto = protoUDP
	} else {
		s.in.proto = protoTCP
	}
	s.cut(head, seg)
	return pass
}

// cut prepares for handing out pieces with seg bytes of payload.
func (s *splitter) cut(head, seg int) {
	s.one = false
	if s.full {
		s.kind = wire.Data
	}
	s.in.head, s.seg, s.off = head, seg, head
	copy(s.head[:head], s.p[:head])
	if s.in.proto == protoTCP {
		s.flags = s.p[s.in.l4+13]
		s.seq = binary.BigEndian.Uint32(s.p[s.in.l4+4:])
	}
	if !s.in.v6 {
		s.id = binary.BigEndian.Uint16(s.p[4:])
	}
}

// count is the number of pieces that next will hand out.
func (s *splitter) count() int {
	if s.one {
		return 1
	}
	return max(1, (len(s.p)-s.in.head+s.seg-1)/s.seg)
}

// next returns the next piece, or nil when there is none left.
func (s *splitter) next() []byte {
	if s.one {
		if s.n++; s.n > 1 {
			return nil
		}
		return s.p
	}
	if s.off >= len(s.p) && s.n > 0 {
		return nil
	}
	end := min(s.off+s.seg, len(s.p))
	piece := s.p[s.off-s.in.head : end]
	copy(piece, s.head[:s.in.head])
	if s.in.v6 {
		binary.BigEndian.PutUint16(piece[4:], uint16(len(piece)-40))
	} else {
		binary.BigEndian.PutUint16(piece[2:], uint16(len(piece)))
		binary.BigEndian.PutUint16(piece[4:], s.id+uint16(s.n))
	}
	l4 := s.in.l4
	if s.in.proto == protoTCP {
		binary.BigEndian.PutUint32(piece[l4+4:], s.seq+uint32(s.off-s.in.head))
		flags := s.flags
		if end < len(s.p) {
			flags &^= tcpFIN | tcpPSH
		}
		if s.n > 0 {
			flags &^= tcpCWR
		}
		piece[l4+13] = flags
	} else {
		binary.BigEndian.PutUint16(piece[l4+4:], uint16(len(piece)-l4))
	}
	if s.full {
		s.finishPiece(piece)
	}
	s.off = end
	s.n++
	return piece
}

// finishPiece makes the whole checksums of a piece that the far side could not.
func (s *splitter) finishPiece(piece []byte) {
	if !s.in.v6 {
		s.in.setLength(piece)
	}
	binary.BigEndian.PutUint16(piece[s.csum:], fold(s.in.pseudoSum(piece)))
	finishChecksum(piece, s.csum, s.in.l4)
}

// finishChecksum completes the checksum at offset field, which holds the folded
// pseudo-header sum, over p from offset start on.
func finishChecksum(p []byte, field, start int) {
	c := ^fold(sum(p[start:], 0))
	if c == 0 {
		c = 0xffff // UDP: zero means "none" (RFC 768)
	}
	binary.BigEndian.PutUint16(p[field:], c)
}
