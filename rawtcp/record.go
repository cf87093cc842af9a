package rawtcp

import (
	"bytes"
	"encoding/binary"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// recordPrefix stands before each datagram: a TLS 1.2 application data record
// (RFC 5246, 6.2.1).
const recordPrefix = 5

// maxRecord bounds a datagram: the largest fragment that TLS allows, so that
// the records stay believable.
const maxRecord = 1 << 14

var recordMagic = []byte{0x17, 0x03, 0x03}

// putRecord writes the prefix of the record that fills slot.
func putRecord(slot []byte) {
	slot[0], slot[1], slot[2] = 0x17, 0x03, 0x03
	binary.BigEndian.PutUint16(slot[3:], uint16(len(slot)-recordPrefix))
}

// recordLength returns the datagram length of the record that b begins with;
// ok is false if b is no record. whole is false if b ends inside the prefix and
// what is there could be one.
func recordLength(b []byte) (n int, whole, ok bool) {
	if len(b) < recordPrefix {
		k := min(len(b), len(recordMagic))
		return 0, false, bytes.Equal(b[:k], recordMagic[:k])
	}
	n = int(binary.BigEndian.Uint16(b[3:]))
	return n, true, b[0] == 0x17 && b[1] == 0x03 && b[2] == 0x03 && n > 0 && n <= maxRecord
}

// cutter finds the records of one flow in the payloads that arrive. Records
// normally lie whole inside a payload and are handed out in place. A middlebox
// that cuts segments anew can split one: the first part is kept until the next
// payload in sequence brings the rest. Never more than one part is kept.
//
// The zero value is ready. It belongs to the receiving pump.
type cutter struct {
	part []byte // the start of a record, prefix included; empty: none
	next uint32 // sequence number of the byte that continues part
}

// cut appends to out the datagrams in payload, which starts at sequence number
// seq and was merged from segments of size bytes (0: unknown). A record that is
// completed across two payloads is copied to spare. junk is the number of bytes
// that belong to no record.
func (c *cutter) cut(out packet.Arrivals, path packet.Path, spare *arena, seq uint32, payload []byte, size int) (_ packet.Arrivals, junk int) {
	off := 0
	if len(c.part) > 0 && seq == c.next {
		record, used := c.resume(payload)
		c.next += uint32(used)
		off = used
		switch {
		case record:
			out = append(out, packet.Arrival{Data: spare.copy(c.part[recordPrefix:]), Path: path})
			c.part = c.part[:0]
		case off == len(payload):
			return out, 0
		default: // what was kept was no record
			junk += len(c.part)
			c.part = c.part[:0]
		}
	}
	for off < len(payload) {
		n, whole, ok := recordLength(payload[off:])
		switch end := off + recordPrefix + n; {
		case !ok:
			next := resync(payload, off, size)
			junk += next - off
			off = next
		case whole && end <= len(payload):
			out = append(out, packet.Arrival{Data: payload[off+recordPrefix : end : end], Path: path})
			off = end
		default:
			c.part = append(c.part[:0], payload[off:]...)
			c.next = seq + uint32(len(payload))
			off = len(payload)
		}
	}
	return out, junk
}

// resume moves bytes from payload to the kept part until its record is whole.
func (c *cutter) resume(payload []byte) (record bool, used int) {
	if need := recordPrefix - len(c.part); need > 0 {
		used = min(need, len(payload))
		c.part = append(c.part, payload[:used]...)
	}
	n, whole, ok := recordLength(c.part)
	if !whole || !ok {
		return false, used
	}
	take := min(recordPrefix+n-len(c.part), len(payload)-used)
	c.part = append(c.part, payload[used:used+take]...)
	return len(c.part) == recordPrefix+n, used + take
}

// resync finds where the next record begins after the bytes at off turned out
// to be none, because what came before them was lost. Our senders begin every
// segment with a record, so a segment boundary with a record header is taken;
// between boundaries a header counts only if its record ends where another
// begins or where the payload ends.
func resync(payload []byte, off, size int) int {
	for from := off + 1; from < len(payload); {
		i := bytes.Index(payload[from:], recordMagic)
		if i < 0 {
			break
		}
		at := from + i
		n, whole, ok := recordLength(payload[at:])
		if ok && whole {
			if size > 0 && at%size == 0 {
				return at
			}
			if end := at + recordPrefix + n; end == len(payload) {
				return at
			} else if end < len(payload) {
				if _, _, ok := recordLength(payload[end:]); ok {
					return at
				}
			}
		}
		from = at + 1
	}
	return len(payload)
}

// arena lends memory for the few datagrams of a receive that do not lie in one
// piece. All of it is taken back at once, by reset.
type arena struct {
	blocks [][]byte
	block  int // index of the block in use
	used   int // bytes used of it
}

const arenaBlock = 64 << 10

func (a *arena) reset() { a.block, a.used = 0, 0 }

// copy returns a copy of b, which is not longer than arenaBlock, that stays
// valid until reset.
func (a *arena) copy(b []byte) []byte {
	if a.block < len(a.blocks) && a.used+len(b) > arenaBlock {
		a.block++
		a.used = 0
	}
	if a.block == len(a.blocks) {
		a.blocks = append(a.blocks, make([]byte, arenaBlock))
	}
	dst := a.blocks[a.block][a.used : a.used+len(b) : a.used+len(b)]
	a.used += len(b)
	copy(dst, b)
	return dst
}
