package rawtcp

import (
	"bytes"
	"time"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

// early keeps what arrives for connections that the actor is about to establish:
// the first data is right behind the segment that does it, often in the same
// receive. Of the receiving pump.
type early struct {
	packets []link.Packet
	size    int
}

// maxEarly bounds what is kept, in bytes.
const maxEarly = 64 << 10

// keep keeps a copy of p, if there is room.
func (e *early) keep(p *link.Packet) (kept bool) {
	if e.size+len(p.IP) > maxEarly {
		return false
	}
	e.size += len(p.IP)
	e.packets = append(e.packets, link.Packet{IP: bytes.Clone(p.IP), SegmentSize: p.SegmentSize, From: p.From})
	return true
}

// retry takes in what was kept for connections that are established by now, and
// forgets what was for those that have failed.
func (r *rx) retry(tab *table, now time.Duration) {
	kept := r.early.packets
	r.early = early{}
	for i := range kept {
		g := &r.seg
		if !g.parse(kept[i].IP) {
			continue
		}
		f := r.find(tab, &g.tuple)
		if f == nil {
			continue
		}
		switch f.phase.Load() {
		case phaseOpening:
			r.early.packets = append(r.early.packets, kept[i])
			r.early.size += len(kept[i].IP)
		case phaseOpen:
			r.packet(tab, &kept[i], now)
		}
	}
	if len(r.early.packets) == 0 {
		r.t.waiting.Store(false)
	}
}
