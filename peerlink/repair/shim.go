package repair

import (
	"encoding/binary"
	"errors"
)

// Shim stands in front of the IP packet in a Repairable datagram:
//
//	| flags 1 | stamp 2 | [slot 2 | seq 2] | [back 2 | index 1] | [age 2] | packet ...
//	                     '- Ordered ------' '- Grouped --------' '- Repeat'
type Shim struct {
	Partial bool // the packet's transport checksum is a pseudo-header sum, see wire.DataPartial
	Ordered bool // the packet may be held to be put in order
	Fresh   bool // one of the first of its flow: the flow began at seq rounded down to 256
	Grouped bool // parity covers it
	Final   bool // it will not be repeated; of a repeat: nor was it asked for
	Repeat  bool // it was sent before
	Again   bool // and is not the first repeat
	Hasty   bool // its flow is small or starting: it is held behind holes only, and not for long

	Stamp uint16 // when it was sent, see stamp
	Slot  uint16 // the flow, as the sender numbers them
	Seq   uint16 // number of the packet in the flow
	Back  uint16 // how far the counter of the group's first packet is behind this one's
	Index uint8  // place in the group
	Age   uint16 // how far the counter under which it was first sent is behind this one's
}

const (
	flagPartial = 1 << iota
	flagOrdered
	flagFresh
	flagGrouped
	flagFinal
	flagRepeat
	flagAgain
	flagHasty
)

const (
	maxShim = 1 + 2 + 4 + 3 // a repeat is never grouped

	// Room is what repair adds to a packet at most, in bytes: that of a row of
	// parity over packets of the largest size.
	Room = parityHead + shardHead
)

// ErrShort is returned for what ends before its fixed parts do.
var ErrShort = errors.New("repair datagram is cut")

// stamp is a coarse time: units of 65.5 us, 4.3 s around.
func stamp(now int64) uint16 { return uint16(now >> 16) }

const stampUnit = 1 << 16

func (s *Shim) flags() byte {
	b := byte(0)
	set := func(on bool, flag byte) {
		if on {
			b |= flag
		}
	}
	set(s.Partial, flagPartial)
	set(s.Ordered, flagOrdered)
	set(s.Fresh, flagFresh)
	set(s.Grouped, flagGrouped)
	set(s.Final, flagFinal)
	set(s.Repeat, flagRepeat)
	set(s.Again, flagAgain)
	set(s.Hasty, flagHasty)
	return b
}

func (s *Shim) setFlags(b byte) {
	s.Partial, s.Ordered, s.Fresh = b&flagPartial != 0, b&flagOrdered != 0, b&flagFresh != 0
	s.Grouped, s.Final, s.Repeat = b&flagGrouped != 0, b&flagFinal != 0, b&flagRepeat != 0
	s.Again, s.Hasty = b&flagAgain != 0, b&flagHasty != 0
}

// Len is the length of s on the wire, in bytes.
func (s *Shim) Len() int {
	n := 3
	if s.Ordered {
		n += 4
	}
	if s.Grouped {
		n += 3
	}
	if s.Repeat {
		n += 2
	}
	return n
}

// Append encodes s behind dst.
func (s *Shim) Append(dst []byte) []byte {
	dst = append(dst, s.flags())
	dst = binary.BigEndian.AppendUint16(dst, s.Stamp)
	if s.Ordered {
		dst = binary.BigEndian.AppendUint16(dst, s.Slot)
		dst = binary.BigEndian.AppendUint16(dst, s.Seq)
	}
	if s.Grouped {
		dst = binary.BigEndian.AppendUint16(dst, s.Back)
		dst = append(dst, s.Index)
	}
	if s.Repeat {
		dst = binary.BigEndian.AppendUint16(dst, s.Age)
	}
	return dst
}

// ParseShim decodes the shim at the start of b and returns the packet behind it.
func ParseShim(b []byte) (s Shim, packet []byte, err error) {
	if len(b) < 3 {
		return s, nil, ErrShort
	}
	s.setFlags(b[0])
	s.Stamp = binary.BigEndian.Uint16(b[1:])
	n := s.Len()
	if len(b) < n {
		return Shim{}, nil, ErrShort
	}
	packet, b = b[n:], b[3:]
	if s.Ordered {
		s.Slot, s.Seq, b = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), b[4:]
	}
	if s.Grouped {
		s.Back, s.Index, b = binary.BigEndian.Uint16(b), b[2], b[3:]
	}
	if s.Repeat {
		s.Age = binary.BigEndian.Uint16(b)
	}
	return s, packet, nil
}
