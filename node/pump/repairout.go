package pump

import (
	"encoding/binary"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink"
	"github.com/openbmx/lightweight-tunnel/peerlink/repair"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// repairOut is the outbound pump's part in the repair of loss: one sender per
// peer, and what they are due to send without being asked by a packet.
type repairOut struct {
	box     reportBox
	alarm   alarm
	senders map[*peerlink.Peer]*peerSender
	busy    []*peerSender // those that asked to be called again
	current *peerSender   // of the peer whose train is being filled; nil: without repair
	first   uint64        // counters in the train
	last    uint64
	plain   []byte // scratch
}

type peerSender struct {
	repair.Sender
	peer  *peerlink.Peer
	busy  bool
	due   int64
	asked int64 // when the link was last asked for its round trip
	shown int64 // when the view was last published
	view  repair.View
}

const (
	reportRoom = 32
	showEvery  = int64(250 * time.Millisecond)
)

func (o *Outbound) initRepair() {
	o.mend.box = reportBox{ch: make(chan peerReport, reportRoom), wake: o.dev.Wake}
	o.mend.alarm = alarm{wake: o.dev.Wake}
	o.mend.senders = map[*peerlink.Peer]*peerSender{}
}

// repairing says whether packets may need more than to be sealed.
func (o *Outbound) repairing() bool { return o.Repair != nil && o.Repair.newSender != nil }

// turnTo makes out the way that the train is filled for.
func (o *Outbound) turnTo(out *peerlink.Outbound) {
	if out == o.out {
		return
	}
	o.flush()
	o.out, o.peer = out, out.Peer()
	o.train.Reset(out.Path().Prefix())
	if o.repairing() {
		o.mend.current = o.sender(out.Peer())
	}
}

// forgetRepair begins anew with a peer after a failure.
func (o *Outbound) forgetRepair(peer *peerlink.Peer) {
	if s := o.mend.senders[peer]; s != nil {
		s.Forget()
		delete(o.mend.senders, peer)
	}
	o.mend.current, o.mend.busy = nil, nil
	for _, s := range o.mend.senders { // the list may have been in the making
		s.busy = true
		o.mend.busy = append(o.mend.busy, s)
	}
}

func (o *Outbound) sender(peer *peerlink.Peer) *peerSender {
	s := o.mend.senders[peer]
	if s == nil {
		dropLeft(o.Peers, o.mend.senders)
		s = &peerSender{Sender: *o.Repair.newSender(), peer: peer}
		s.Bound(o.Memory.Copies)
		o.mend.senders[peer] = s
	}
	return s
}

// sendMarked sends the pieces of the loaded packet so that they can be repaired,
// where that is worth while. False: none of them is, and nothing was sent.
func (o *Outbound) sendMarked(out *peerlink.Outbound) bool {
	s := o.mend.current
	if s == nil || !s.Active(repair.Prompt) {
		return false
	}
	now, hash, session := o.Repair.now(), uint32(0), out.Session()
	if s.RTTUnknown() && now-s.asked >= showEvery {
		s.asked = now
		s.Learn(int64(s.peer.Snapshot().RTT))
	}
	for p := o.split.next(); p != nil; p = o.split.next() {
		class := classify(&o.split.in, p)
		if !s.Active(class) {
			o.counter, o.marked = out.Begin(1), false
			o.seal(o.counter, o.split.kind, p)
			continue
		}
		if hash == 0 {
			hash = flowHash(&o.split.in, p)
		}
		if class == repair.Opening {
			s.Open()
			o.sendPending(s, now)
		}
		o.counter, o.marked = out.Begin(1), true
		plain := s.Add(now, session, o.counter, hash, class, o.split.kind == wire.DataPartial, p)
		o.seal(o.counter, wire.Repairable, plain)
		o.sendPending(s, now)
	}
	o.keepBusy(s, now)
	return true
}

// sendPending sends what repair adds: parity, repeats, beats.
func (o *Outbound) sendPending(s *peerSender, now int64) {
	session := o.out.Session()
	for s.Pending() {
		counter := o.out.Begin(1)
		kind, plain := s.Next(now, session, counter)
		if plain == nil {
			continue
		}
		o.seal(counter, kind, plain)
	}
}

// sealed notes the counter of the n-th datagram in the train.
func (m *repairOut) sealed(n int, counter uint64) {
	if m.last = counter; n == 1 {
		m.first = counter
	}
}

// overrun says that the train was lost because the path is full: to repeat it
// would fill it again.
func (m *repairOut) overrun(session uint32) {
	if m.current != nil {
		m.current.Overrun(session, m.first, int(min(m.last-m.first, packet.MaxSlots))+1)
	}
}

// keepBusy lists a sender that wants to be called again.
func (o *Outbound) keepBusy(s *peerSender, now int64) {
	s.due = s.Due(now)
	if s.Pending() { // a deadline has just passed
		o.sendPending(s, now)
		s.due = s.Due(now)
	}
	if s.due != 0 && !s.busy {
		s.busy = true
		o.mend.busy = append(o.mend.busy, s)
	}
}

// mendDue takes the reports that came and sends what is due. It is called once
// per burst, and when the alarm goes off.
func (o *Outbound) mendDue() {
	if !o.repairing() || len(o.mend.box.ch) == 0 && len(o.mend.busy) == 0 {
		return
	}
	now := o.Repair.now()
	o.mend.alarm.passed(now)
	for range len(o.mend.box.ch) {
		r := <-o.mend.box.ch
		s := o.mend.senders[r.peer]
		if s == nil {
			continue // none of its packets came through this pump
		}
		s.Report(now, &r.report)
		o.mendPeer(s, now)
	}
	kept, next := o.mend.busy[:0], int64(0)
	for _, s := range o.mend.busy {
		if s.due <= now {
			s.due = s.Due(now)
			o.mendPeer(s, now)
		}
		if s.busy = s.due != 0; s.busy {
			kept = append(kept, s)
			if next == 0 || s.due < next {
				next = s.due
			}
		}
	}
	clear(o.mend.busy[len(kept):])
	o.mend.busy = kept
	o.mend.alarm.set(now, next)
}

// mendPeer sends what is pending for a peer, if it can be reached.
func (o *Outbound) mendPeer(s *peerSender, now int64) {
	o.peer = s.peer
	if now-s.shown >= showEvery {
		s.shown = now
		if v := s.View(); v != s.view {
			s.view = v
			s.peer.ShowRepair(v)
		}
	}
	if !s.Pending() {
		return
	}
	if out := s.peer.Outbound(); out != nil {
		o.turnTo(out)
		o.sendPending(s, now)
		o.keepBusy(s, now)
	}
}

// classify says what repair may do with a packet.
func classify(in *inner, p []byte) repair.Class {
	if in.proto != protoTCP || in.l4 == 0 {
		return repair.Prompt
	}
	payload, flags := len(p)-in.head, p[in.l4+13]
	switch {
	case flags&tcpSYN != 0:
		return repair.Opening
	case flags&tcpRST != 0:
		return repair.Prompt
	case payload >= bulkPayload:
		return repair.Bulk
	case payload > 0, flags&tcpFIN != 0:
		return repair.Stream
	}
	return repair.Ack
}

// bulkPayload is the least payload of a segment that belongs to a transfer and
// not to a conversation, in bytes.
const bulkPayload = 800

// flowHash tells flows apart (FNV-1a over protocol, addresses and ports). It is
// never 0.
func flowHash(in *inner, p []byte) uint32 {
	h := uint32(2166136261)
	mix := func(v uint32) { h = (h ^ v) * 16777619 }
	addresses := p[12:20]
	if in.v6 {
		addresses = p[8:40]
	}
	for ; len(addresses) >= 4; addresses = addresses[4:] {
		mix(binary.BigEndian.Uint32(addresses))
	}
	mix(uint32(in.proto))
	if in.l4 != 0 {
		mix(binary.BigEndian.Uint32(p[in.l4:]))
	}
	h ^= h >> 15
	h *= 0x85ebca6b
	h ^= h >> 13
	return max(h, 1)
}
