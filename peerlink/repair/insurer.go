package repair

import "github.com/openbmx/lightweight-tunnel/peerlink/fec"

// insurer collects packets into groups and makes their parity. The groups of a round are
// filled in turn and end together, so that all datagrams of one group lie as far apart as
// there are groups: a run of losses takes a little of each. Its zero value has no
// round open; number tells its groups from those of others.
type insurer struct {
	groups [maxDepth]insured
	number uint32 // of the newest group
	ended  [endedGroups]struct {
		number  uint32
		counter uint64 // of its last row
	}
	due  int // groups whose rows wait to be sent
	head []byte

	// The newest round.
	code     Code
	count    int    // its packets; 0: it is not being filled
	index    uint32 // session
	base     uint64 // the first packet's counter
	deadline int64
}

// insured is one group: it is filled, or its rows are to be sent, or it is empty.
type insured struct {
	encoder fec.Encoder
	number  uint32
	base    uint64
	rows    int // to be sent; 0: it is open, or empty
	row     int // the next
}

const (
	endedGroups  = 256
	maxGroupSpan = 1<<16 - 2048 // counters, so that the rows can name the first
)

// add puts a packet into the next group and completes s.
func (i *insurer) add(now int64, index uint32, counter uint64, c Code, s *Shim, packet []byte) uint32 {
	if i.due > 0 || i.count > 0 && (i.index != index || counter-i.base > maxGroupSpan) {
		i.forget() // rows that were never fetched, or packets of another session
	}
	if i.count == 0 {
		c.Depth = min(max(c.Depth, 1), maxDepth)
		i.code, i.index, i.base, i.deadline = c, index, counter, now+int64(c.Deadline)
	}
	g := &i.groups[i.count%i.code.Depth]
	if g.encoder.Count() == 0 {
		i.number += lanes
		g.number, g.base = i.number, counter
		g.encoder.Begin(i.code.Parity)
	}
	s.Grouped, s.Back, s.Index = true, uint16(counter-g.base), uint8(g.encoder.Count())
	sh := shard{shim: *s, offset: s.Back, packet: packet}
	i.head = sh.appendHead(i.head[:0])
	g.encoder.Add(i.head, packet)
	if i.count++; i.count == i.code.Depth*i.code.Data {
		i.end()
	}
	return g.number
}

// forget empties all groups.
func (i *insurer) forget() {
	for n := range i.groups {
		i.groups[n].encoder.Begin(0)
		i.groups[n].rows = 0
	}
	i.count, i.due = 0, 0
}

// end closes the round: its rows are to be sent.
func (i *insurer) end() {
	for n := range i.groups[:i.code.Depth] {
		if g := &i.groups[n]; g.encoder.Count() > 0 {
			g.rows, g.row = i.code.rows(g.encoder.Count()), 0
			i.due++
		}
	}
	i.count = 0
}

// rows is how much parity a group of n packets gets. A short one gets what it needs for
// the same safety, or as much per packet as a long one, and at least one row.
func (c *Code) rows(n int) int {
	switch {
	case n == c.Data:
		return c.Parity
	case c.left > 0:
		return min(c.losses.parityFor(n, c.left), c.Parity)
	}
	return (c.Parity*n + c.Data - 1) / c.Data
}

// expire ends a round that has waited long enough, and returns when it will have;
// 0: none is open.
func (i *insurer) expire(now int64) (next int64) {
	switch {
	case i.count == 0:
		return 0
	case now >= i.deadline:
		i.end()
		return 0
	}
	return i.deadline
}

// next is the next row to be sent, under counter of session index, appended to dst: the
// groups take turns here as well.
func (i *insurer) next(dst []byte, index uint32, counter uint64) []byte {
	for i.due > 0 {
		var g *insured
		for n := range i.groups {
			if o := &i.groups[n]; o.rows > 0 && (g == nil || o.row < g.row) {
				g = o
			}
		}
		p := parityRow{
			back: uint16(counter - g.base), k: uint8(g.encoder.Count()), row: uint8(g.row), shard: g.encoder.Row(g.row),
		}
		fits := i.index == index && counter-g.base <= 1<<16-1
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
