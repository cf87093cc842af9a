package repair

import "encoding/binary"

// Report is what a receiver tells about one session. All counts go on from where
// they were, so a lost report is made good by the next:
//
//	| index 4 | newest 8 | got 4 | lost 4 | bursts 4 | crowded 4 | stamp 2 | held 2 | queue 2 | n 1 | n times: back 2, more 1 |
type Report struct {
	Index   uint32 // the session, as the sender of its datagrams names it
	Newest  uint64 // highest counter accepted
	Got     uint32 // datagrams accepted while the queue was short
	Lost    uint32 // that did not come at first, though the queue was short
	Bursts  uint32 // runs of such without one that came between
	Crowded uint32 // that did not come while the queue was long
	Stamp   uint16 // of the newest shim
	Held    uint16 // since then, in units of stamp
	Queue   uint16 // what the newest was late, in units of stamp
	N       int
	Missing [maxRanges]Range
}

// Range is a run of counters that are missing and should be repeated: More+1 of
// them, of which the first is Newest-Back.
type Range struct {
	Back uint16
	More uint8
}

const (
	reportHead = 4 + 8 + 4*4 + 2*3 + 1
	maxRanges  = 64
)

// Append encodes r behind dst.
func (r *Report) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, r.Index)
	dst = binary.BigEndian.AppendUint64(dst, r.Newest)
	for _, v := range [...]uint32{r.Got, r.Lost, r.Bursts, r.Crowded} {
		dst = binary.BigEndian.AppendUint32(dst, v)
	}
	for _, v := range [...]uint16{r.Stamp, r.Held, r.Queue} {
		dst = binary.BigEndian.AppendUint16(dst, v)
	}
	dst = append(dst, byte(r.N))
	for _, m := range r.Missing[:r.N] {
		dst = binary.BigEndian.AppendUint16(dst, m.Back)
		dst = append(dst, m.More)
	}
	return dst
}

// Parse decodes b into r. What follows in b is left for newer versions.
func (r *Report) Parse(b []byte) error {
	if len(b) < reportHead {
		return ErrShort
	}
	n := int(b[reportHead-1])
	if n > maxRanges || len(b) < reportHead+3*n {
		return ErrShort
	}
	r.Index, r.Newest = binary.BigEndian.Uint32(b), binary.BigEndian.Uint64(b[4:])
	r.Got, r.Lost = binary.BigEndian.Uint32(b[12:]), binary.BigEndian.Uint32(b[16:])
	r.Bursts, r.Crowded = binary.BigEndian.Uint32(b[20:]), binary.BigEndian.Uint32(b[24:])
	r.Stamp, r.Held = binary.BigEndian.Uint16(b[28:]), binary.BigEndian.Uint16(b[30:])
	r.Queue, r.N = binary.BigEndian.Uint16(b[32:]), n
	for i := range n {
		m := b[reportHead+3*i:]
		r.Missing[i] = Range{Back: binary.BigEndian.Uint16(m), More: m[2]}
	}
	return nil
}

// skip is one entry of the content of a Beat datagram: packets of flows that will not be
// repeated, so that nobody waits for them.
//
//	| n times: slot 2, seq 2 |
type skip struct{ slot, seq uint16 }

const (
	skipLen  = 4
	maxSkips = 64
)

func (s skip) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, s.slot)
	return binary.BigEndian.AppendUint16(dst, s.seq)
}

func parseSkip(b []byte) skip {
	return skip{slot: binary.BigEndian.Uint16(b), seq: binary.BigEndian.Uint16(b[2:])}
}
