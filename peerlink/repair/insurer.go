package repair

import "github.com/openbmx/lightweight-tunnel/peerlink/fec"

// insurer collects packets into groups and makes their parity. Its zero value has
// no group open; number tells its groups from those of others.
type insurer struct {
	groups [maxDepth]insured
	turn   int
	number uint32 // of the newest group
	ended  [endedGroups]struct {
		number  uint32
		counter uint64 // of its last row
	}
	due  int // groups whose rows wait to be sent
	head []byte
}

// insured is one group that is being filled.
type insured struct {
	encoder  fec.Encoder
	number   uint32
	base     uint64
	index    uint32 // session
	deadline int64
	most     int // packets
	parity   int // rows for most packets
	loss     float64
	left     float64
	rows     int // rows to be sent; 0: it is open, or empty
	row      int // the next
}

const (
	endedGroups  = 256
	maxGroupSpan = 1<<16 - 2048 // counters, so that the rows can name the first
)

// add puts a packet into the next group and completes s.
func (i *insurer) add(now int64, index uint32, counter uint64, c Code, s *Shim, packet []byte) uint32 {
	g := &i.groups[i.turn]
	if i.turn++; i.turn >= max(c.Depth, 1) {
		i.turn = 0
	}
	if g.rows > 0 || g.encoder.Count() > 0 && (g.index != index || counter-g.base > maxGroupSpan) {
		g.encoder.Begin(0) // rows that were never fetched, or of another session
		if g.rows > 0 {
			i.due--
			g.rows = 0
		}
	}
	if g.encoder.Count() == 0 {
		i.number += lanes
		g.number, g.index, g.base, g.deadline = i.number, index, counter, now+int64(c.Deadline)
		g.most, g.parity, g.loss, g.left = c.Data, c.Parity, c.loss, c.left
		g.encoder.Begin(c.Parity)
	}
	s.Grouped, s.Back, s.Index = true, uint16(counter-g.base), uint8(g.encoder.Count())
	sh := shard{shim: *s, offset: s.Back, packet: packet}
	i.head = sh.appendHead(i.head[:0])
	g.encoder.Add(i.head, packet)
	if g.encoder.Count() >= g.most {
		i.end(g)
	}
	return g.number
}

// end closes a group: its rows are to be sent. A short one gets what it needs for
// the same safety, or as much per packet as a long one, and at least one row.
func (i *insurer) end(g *insured) {
	n := g.encoder.Count()
	switch {
	case n == g.most:
		g.rows = g.parity
	case g.left > 0:
		g.rows = min(parityFor(n, g.loss, g.left), g.parity)
	default:
		g.rows = (g.parity*n + g.most - 1) / g.most
	}
	g.row = 0
	i.due++
}

// expire ends groups that have waited long enough, and returns when the next one
// has; 0: none is open.
func (i *insurer) expire(now int64) (next int64) {
	for n := range i.groups {
		g := &i.groups[n]
		if g.rows > 0 || g.encoder.Count() == 0 {
			continue
		}
		if now >= g.deadline {
			i.end(g)
		} else if next == 0 || g.deadline < next {
			next = g.deadline
		}
	}
	return next
}

// next is the next row to be sent, under counter of session index, appended to dst.
func (i *insurer) next(dst []byte, index uint32, counter uint64) []byte {
	for n := range i.groups {
		g := &i.groups[n]
		if g.rows == 0 {
			continue
		}
		p := parityRow{
			back: uint16(counter - g.base), k: uint8(g.encoder.Count()), row: uint8(g.row), shard: g.encoder.Row(g.row),
		}
		fits := g.index == index && counter-g.base <= 1<<16-1
		if g.row++; g.row == g.rows || !fits {
			e := &i.ended[g.number/lanes%endedGroups]
			e.number, e.counter = g.number, counter
			g.rows = 0
			g.encoder.Begin(0)
			i.due--
		}
		if fits {
			return p.append(dst)
		}
	}
	return nil
}

// over says whether a receiver that has seen newest has had all of a group's
// parity. Groups that are no longer known are over.
func (i *insurer) over(group uint32, newest uint64) bool {
	for n := range i.groups {
		if g := &i.groups[n]; g.number == group && (g.rows > 0 || g.encoder.Count() > 0) {
			return false
		}
	}
	e := i.ended[group/lanes%endedGroups]
	return e.number != group || newest >= e.counter
}
