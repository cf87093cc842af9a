package pump

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/openbmx/lightweight-tunnel/peerlink"
	"github.com/openbmx/lightweight-tunnel/peerlink/repair"
)

// Repair is what the pumps of one node share to mend losses: how the user wants
// it, one clock, and the ways on which reports, which arrive at an inbound pump,
// reach the outbound pumps whose packets they are about. Create it with
// [NewRepair]; any goroutine may use it.
type Repair struct {
	newSender func() *repair.Sender // nil: nothing is repaired on the way out
	window    int                   // packets of a peer that may wait to be put in order
	epoch     time.Time
	boxes     atomic.Pointer[[]*reportBox]
}

// RepairMode says who chooses how losses are met.
type RepairMode uint8

// The modes of repair.
const (
	RepairAuto  RepairMode = iota // by measurement
	RepairOff                     // not at all on the way out; what a peer does is understood
	RepairFixed                   // by a code that the user chose
)

// NewRepair returns what the pumps of one node share. data and parity count for
// RepairFixed only. window is how many packets of each peer may wait to be put in
// order; 0: as many as is usual.
func NewRepair(mode RepairMode, data, parity, window int) *Repair {
	r := &Repair{epoch: time.Now(), window: window}
	if window == 0 {
		r.window = repair.DefaultWindow
	}
	switch mode {
	case RepairAuto:
		r.newSender = repair.NewSender
	case RepairFixed:
		r.newSender = func() *repair.Sender { return repair.NewFixedSender(data, parity) }
	}
	r.boxes.Store(&[]*reportBox{})
	return r
}

// now is the clock of everything about repair; 0 never comes.
func (r *Repair) now() int64 { return int64(time.Since(r.epoch)) + 1 }

// repeat is a peerlink.Repeat by this clock; any goroutine may call it.
func (r *Repair) repeat(dst []byte, first, counter uint64, partial bool, packet []byte) ([]byte, bool) {
	return repair.AppendRepeat(dst, r.now(), first, counter, partial, packet)
}

// reportBox brings reports to one outbound pump.
type reportBox struct {
	ch   chan peerReport
	wake func()
}

// peerReport is a report and whose it is.
type peerReport struct {
	peer   *peerlink.Peer
	report repair.Report
}

// join makes a pump that runs known to the others until it leaves.
func (r *Repair) join(b *reportBox) (leave func()) {
	r.change(func(all []*reportBox) []*reportBox { return append(all, b) })
	return func() {
		r.change(func(all []*reportBox) []*reportBox {
			return slices.DeleteFunc(all, func(other *reportBox) bool { return other == b })
		})
	}
}

func (r *Repair) change(f func([]*reportBox) []*reportBox) {
	for {
		old := r.boxes.Load()
		fresh := f(slices.Clone(*old))
		if r.boxes.CompareAndSwap(old, &fresh) {
			return
		}
	}
}

// deliver offers a report to all outbound pumps. One without room misses it; the
// next report says it again.
func (r *Repair) deliver(p peerReport) {
	for _, b := range *r.boxes.Load() {
		select {
		case b.ch <- p:
			b.wake()
		default:
		}
	}
}
