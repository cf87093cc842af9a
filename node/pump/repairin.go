package pump

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink"
	"github.com/openbmx/lightweight-tunnel/peerlink/repair"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// repairIn is the inbound pump's part in the repair of loss: one receiver per
// peer, and what they are due to hand on or to report without a datagram.
type repairIn struct {
	alarm     alarm
	receivers map[*peerlink.Peer]*peerReceiver
	busy      []*peerReceiver
	current   *peerReceiver // of the run that is being handled; nil: without repair
	now       int64         // of the burst
	train     *packet.Train
	report    repair.Report
	plain     []byte
}

type peerReceiver struct {
	*repair.Receiver
	peer   *peerlink.Peer
	listed bool
	due    int64
	asked  int64 // when the link was last asked for its round trip
}

// playoutSlack is how late held packets may be handed on, so that several of
// them share a wake-up, in nanoseconds.
const playoutSlack = int64(500 * time.Microsecond)

func (i *Inbound) initRepair() {
	i.mend.alarm = alarm{wake: i.rx.Wake}
	i.mend.receivers = map[*peerlink.Peer]*peerReceiver{}
	i.mend.train = packet.NewTrain()
}

// repairOf makes the receiver of a peer the current one.
func (i *Inbound) repairOf(peer *peerlink.Peer) {
	if i.Repair == nil {
		return
	}
	r := i.mend.receivers[peer]
	if r == nil {
		dropLeft(i.Peers, i.mend.receivers)
		r = &peerReceiver{peer: peer}
		r.Receiver = repair.NewReceiver(func(partial bool, p []byte) { i.hand(peer, partial, p) })
		r.Limit(i.Repair.window)
		r.Bound(i.Memory.Waiting)
		i.mend.receivers[peer] = r
	}
	i.mend.current = r
}

// forgetRepair begins anew with a peer after a failure.
func (i *Inbound) forgetRepair(peer *peerlink.Peer) {
	if r := i.mend.receivers[peer]; r != nil {
		r.Forget()
		delete(i.mend.receivers, peer)
	}
	i.mend.current, i.mend.busy = nil, nil
	for _, r := range i.mend.receivers { // the list may have been in the making
		r.listed = true
		i.mend.busy = append(i.mend.busy, r)
	}
}

// seen notes the counter of an authenticated datagram of the run. False: what it
// carries came already.
func (i *Inbound) seen(counter uint64) bool {
	r := i.mend.current
	if r == nil {
		return true
	}
	fresh := r.Seen(i.mend.now, i.index, counter)
	if !r.listed && r.Troubled() {
		r.listed = true
		i.mend.busy = append(i.mend.busy, r)
	}
	return fresh
}

// mended handles a datagram of the kinds that repair loss.
func (i *Inbound) mended(h wire.Header, data []byte) {
	plain, err := i.in.Open(data[wire.HeaderLen:wire.HeaderLen], data, h)
	if err != nil {
		i.Drops.Add(BadSeal, 1)
		i.in.Peer().DroppedRx(1)
		return
	}
	i.bytes += len(data)
	fresh := i.seen(h.Counter)
	r := i.mend.current
	if r == nil {
		i.Drops.Add(Junk, 1)
		return
	}
	if !r.listed {
		r.listed = true
		i.mend.busy = append(i.mend.busy, r)
	}
	switch h.Kind {
	case wire.Repairable:
		err = r.Repairable(i.mend.now, i.index, h.Counter, fresh, plain)
	case wire.Parity:
		err = r.Parity(i.mend.now, i.index, h.Counter, plain)
	case wire.Report:
		if err = i.mend.report.Parse(plain); err == nil {
			i.Repair.deliver(peerReport{peer: r.peer, report: i.mend.report})
		}
	case wire.Beat:
		r.Beat(i.mend.now, plain)
	}
	if err != nil {
		i.Drops.Add(BadPacket, 1)
	}
}

// hand gives a packet that peer sent, and that is not in place, to the coalescer.
func (i *Inbound) hand(peer *peerlink.Peer, partial bool, packet []byte) {
	kind := wire.Data
	if partial {
		kind = wire.DataPartial
	}
	in, ok := parseInner(packet)
	if !ok || len(packet) > maxPacket || (partial && in.l4 == 0) {
		i.Drops.Add(BadPacket, 1)
		peer.DroppedRx(1)
		return
	}
	if !i.owns(peer, in.src) {
		i.Drops.Add(SpoofedSource, 1)
		peer.DroppedRx(1)
		return
	}
	i.co.keep(kind, append(i.co.place(len(packet)), packet...), in)
}

// mendDue hands on what is due and sends the reports that are. It is called once
// per burst, before the coalescer is flushed, and when the alarm goes off.
func (i *Inbound) mendDue() {
	if len(i.mend.busy) == 0 {
		return
	}
	now := i.mend.now
	i.mend.alarm.passed(now)
	kept, next := i.mend.busy[:0], int64(0)
	for _, r := range i.mend.busy {
		i.whose = r.peer
		if now-r.asked >= showEvery {
			r.asked = now
			r.Learn(int64(r.peer.Snapshot().RTT))
			r.peer.ShowWaiting(r.Peak())
		}
		r.due = r.Due(now)
		for r.Report(now, &i.mend.report) {
			i.sendReport(r.peer)
			r.due = r.Due(now)
		}
		if r.listed = r.due != 0; r.listed {
			kept = append(kept, r)
			if next == 0 || r.due < next {
				next = r.due
			}
		}
	}
	clear(i.mend.busy[len(kept):])
	i.mend.busy = kept
	if next != 0 {
		i.mend.alarm.set(now, max(next, now)+playoutSlack)
	}
}

// sendReport sends the report to a peer; a lost one is made good by the next.
func (i *Inbound) sendReport(peer *peerlink.Peer) {
	out := peer.Outbound()
	if out == nil {
		return
	}
	i.mend.plain = i.mend.report.Append(i.mend.plain[:0])
	i.mend.train.Reset(out.Path().Prefix())
	slot := i.mend.train.Next(len(i.mend.plain) + wire.Overhead)
	if slot == nil {
		return
	}
	out.Seal(slot, out.Begin(1), wire.Report, i.mend.plain)
	if out.Path().Send(i.mend.train) == nil {
		peer.Sent(1, len(slot))
	}
}
