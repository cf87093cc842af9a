package pump

import (
	"time"
	"unsafe"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// recent keeps copies of the single packets that were last sent to one peer. A
// dead path swallows what is sent until its death is noticed; then these go
// again in a way that lets the peer drop those that did arrive. Super-packets are
// not kept: they are bulk TCP, which repeats by itself, and whose repetitions are
// single packets.
type recent struct {
	away    *peerlink.Away // the absence that was seen to last
	budget  *packet.Budget // of all peers
	buf     []byte         // the packets, around in a circle
	next    int            // where in buf the next one goes
	entries []keptPacket   // around in a circle as well, a power of two of them
	first   int
	n       int
}

type keptPacket struct {
	at       time.Time
	off, end int // in buf
	kind     wire.Kind
	was      peerlink.Sealed
	marked   bool // it was sealed as wire.Repairable, with a shim
}

const (
	maxRecent   = 512
	recentFor   = 4 * time.Second // longer than a death takes to be noticed
	leastRecent = 8 << 10         // bytes
	mostRecent  = 256 << 10
	fewRecent   = 32 // packets
	keptCost    = int(unsafe.Sizeof(keptPacket{}))
)

// keep copies p, forgetting the oldest packets in its way. False: there is no room
// for any packet of this peer.
func (r *recent) keep(now time.Time, was peerlink.Sealed, marked bool, kind wire.Kind, p []byte) bool {
	if len(p) > mostRecent {
		return true
	}
	if r.buf == nil {
		if !r.budget.Take(leastRecent + fewRecent*keptCost) {
			return false
		}
		r.buf, r.entries = make([]byte, leastRecent), make([]keptPacket, fewRecent)
	}
	for !r.makeRoom(now, len(p)) {
		r.grow()
	}
	at := r.next
	r.next += copy(r.buf[at:], p)
	*r.entry(r.n) = keptPacket{at: now, off: at, end: r.next, kind: kind, was: was, marked: marked}
	r.n++
	return true
}

// entry is the i-th of what is kept.
func (r *recent) entry(i int) *keptPacket { return &r.entries[(r.first+i)&(len(r.entries)-1)] }

// makeRoom finds n bytes behind next. False: a packet that is young stands there,
// and buf may become larger.
func (r *recent) makeRoom(now time.Time, n int) bool {
	if r.next+n > len(r.buf) {
		for r.n > 0 && r.oldest().off >= r.next {
			if r.wanted(now) {
				return false
			}
			r.drop()
		}
		if n > len(r.buf) {
			return false
		}
		r.next = 0
	}
	for r.n > 0 && r.oldest().off >= r.next && r.oldest().off < r.next+n {
		if r.wanted(now) {
			return false
		}
		r.drop()
	}
	if more := len(r.entries); r.n == more {
		if more < maxRecent && r.young(now) && r.budget.Take(more*keptCost) {
			r.lengthen(2 * more)
		} else {
			r.drop()
		}
	}
	return true
}

func (r *recent) oldest() *keptPacket { return r.entry(0) }

// wanted says whether buf should rather grow than lose the oldest packet.
func (r *recent) wanted(now time.Time) bool {
	return len(r.buf) < mostRecent && r.young(now) && r.budget.Fits(len(r.buf))
}

// young says whether the oldest packet may have to go again.
func (r *recent) young(now time.Time) bool { return now.Sub(r.oldest().at) < recentFor }

func (r *recent) drop() {
	r.first = (r.first + 1) & (len(r.entries) - 1)
	r.n--
}

// lengthen makes place for so many entries.
func (r *recent) lengthen(entries int) {
	all := make([]keptPacket, entries)
	for i := range r.n {
		all[i] = *r.entry(i)
	}
	r.entries, r.first = all, 0
}

func (r *recent) grow() {
	old := r.buf
	r.buf, r.next = make([]byte, min(2*len(old), mostRecent)), 0
	r.budget.Charge(len(r.buf) - len(old))
	for i := range r.n {
		e := r.entry(i)
		n := copy(r.buf[r.next:], old[e.off:e.end])
		e.off, e.end = r.next, r.next+n
		r.next = e.end
	}
}

// since hands out, in order, what was kept from then on, and forgets what is
// older. What was handed out is kept, too, as each leaves it: the way that it
// takes now may be found dead as well. The packets are views, valid until the
// next keep.
func (r *recent) since(then time.Time, each func(e *keptPacket, p []byte)) {
	for r.n > 0 && r.oldest().at.Before(then) {
		r.drop()
	}
	for i := range r.n {
		e := r.entry(i)
		each(e, r.buf[e.off:e.end])
	}
}

// Forget drops everything.
func (r *recent) Forget() {
	r.budget.Give(len(r.buf) + len(r.entries)*keptCost)
	*r = recent{away: r.away, budget: r.budget}
}

// recall returns what is kept for peer.
func (o *Outbound) recall(peer *peerlink.Peer) *recent {
	if peer == o.recalled && o.recent != nil {
		return o.recent
	}
	r := o.kept[peer]
	if r == nil {
		dropLeft(o.Peers, o.kept)
		r = &recent{away: peer.Away(), budget: o.Memory.Copies}
		o.kept[peer] = r
	}
	o.recalled, o.recent = peer, r
	return r
}

// makeWay lets go of what is kept for peers to which nothing was sent lately, and of
// the room of those of which nothing is kept any more, since there is none for another
// one; now and then.
func (o *Outbound) makeWay() {
	if o.began.Sub(o.madeWay) < recentFor {
		return
	}
	o.madeWay = o.began
	for _, r := range o.kept {
		if r.n == 0 || o.began.Sub(r.entry(r.n-1).at) > recentFor {
			r.Forget()
		}
	}
}

// afterAbsence sends again what a path swallowed before it was found dead. out
// is the way there is now, for packets of up to limit bytes; with a limit of
// nothing there is none yet.
func (o *Outbound) afterAbsence(peer *peerlink.Peer, out *peerlink.Outbound, limit int) {
	away := peer.Away()
	r := o.recall(peer)
	if away == r.away {
		return
	}
	r.away = away
	if limit >= minLimit {
		o.turnTo(out)
		r.since(away.Since, func(e *keptPacket, p []byte) {
			if len(p) <= limit {
				o.sendAgain(e, p)
			}
		})
		return
	}
	o.stageAgain(peer, r, away.Since)
}

// stageAgain gives what was kept from then on to the peer's link, to be sent when
// there is a way.
func (o *Outbound) stageAgain(peer *peerlink.Peer, r *recent, then time.Time) {
	var all []peerlink.Again
	r.since(then, func(e *keptPacket, p []byte) { all = append(all, o.again(e, p)) })
	r.Forget()
	if !peer.StageAgain(all) {
		o.Drops.Add(NoRoom, len(all))
	}
}

// sendAgain sends a packet once more, on the way that the train is filled for.
func (o *Outbound) sendAgain(e *keptPacket, p []byte) {
	counter, kind, plain := o.out.Again(o.mend.plain[:0], o.again(e, p))
	if kind == wire.Repairable {
		o.mend.plain = plain
	} else {
		e.was, e.marked = peerlink.Sealed{Session: o.out.Session(), Counter: counter}, false
	}
	o.seal(counter, kind, plain)
}

// again says how a packet was sealed that is to go once more.
func (o *Outbound) again(e *keptPacket, p []byte) peerlink.Again {
	a := peerlink.Again{Sealed: e.was, Kind: e.kind, Packet: p}
	if e.marked {
		a.Repeat = o.Repair.repeat
	}
	return a
}
