package repair

import "encoding/binary"

// parityRow is a Parity datagram:
//
//	| back 2 | k 1 | row 1 | shard ...
//
// back is how far the counter of the group's first packet is behind the
// datagram's own.
type parityRow struct {
	back   uint16
	k, row uint8
	shard  []byte
}

const parityHead = 4

func (p *parityRow) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, p.back)
	dst = append(dst, p.k, p.row)
	return append(dst, p.shard...)
}

func parseParity(b []byte) (p parityRow, err error) {
	if len(b) < parityHead {
		return p, ErrShort
	}
	return parityRow{back: binary.BigEndian.Uint16(b), k: b[2], row: b[3], shard: b[parityHead:]}, nil
}

// shard is what parity covers of a packet, because a packet that never came must
// be known as well as one that did:
//
//	| length 2 | flags 1 | offset 2 | slot 2 | seq 2 | packet ... | zeros
//
// offset is the packet's counter less that of the first of the group.
type shard struct {
	shim   Shim // Partial, Ordered, Fresh, Final, Hasty, Slot and Seq of it
	offset uint16
	packet []byte
}

const shardHead = 9

func (s *shard) appendHead(dst []byte) []byte {
	kept := Shim{Partial: s.shim.Partial, Ordered: s.shim.Ordered, Fresh: s.shim.Fresh, Final: s.shim.Final, Hasty: s.shim.Hasty}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s.packet)))
	dst = append(dst, kept.flags())
	dst = binary.BigEndian.AppendUint16(dst, s.offset)
	dst = binary.BigEndian.AppendUint16(dst, s.shim.Slot)
	return binary.BigEndian.AppendUint16(dst, s.shim.Seq)
}

func parseShard(b []byte) (s shard, err error) {
	if len(b) < shardHead {
		return s, ErrShort
	}
	n := int(binary.BigEndian.Uint16(b))
	if shardHead+n > len(b) {
		return s, ErrShort
	}
	s.shim.setFlags(b[2])
	s.shim.Slot, s.shim.Seq = binary.BigEndian.Uint16(b[5:]), binary.BigEndian.Uint16(b[7:])
	s.offset, s.packet = binary.BigEndian.Uint16(b[3:]), b[shardHead:shardHead+n]
	return s, nil
}
