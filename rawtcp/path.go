package rawtcp

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

// Flow is one fake TCP connection, a [packet.Path]. Flows come from
// [Transport.Dial], or show up in [packet.Arrivals] when somebody connected to
// a listening port; those must be claimed with Adopt or they expire.
//
// All methods may be called by any goroutine; none blocks or allocates.
type Flow struct {
	stream
	transport *Transport
	hop       hop
	phase     atomic.Uint32 // phase
	wantClose atomic.Bool   // the actor shall shut the machine
	adopted   atomic.Bool

	cut cutter // of the receiving pump

	// Of the actor:
	machine machine
	born    time.Duration
	dial    *dial       // nil: accepted
	cross   *crossing   // while it may become one of a crossing
	port    reservation // nil, its own, or a *holding
	unwatch func()

	watcher atomic.Pointer[func()] // see OnChange
}

// phase is what the pumps need to know of the machine's state.
const (
	phaseOpening uint32 = iota
	phaseOpen
	phaseClosing
	phaseGone
)

var (
	_ packet.Path    = (*Flow)(nil)
	_ packet.Watched = (*Flow)(nil)
)

// OnChange implements [packet.Watched].
func (f *Flow) OnChange(changed func()) { f.watcher.Store(&changed) }

func (f *Flow) changed() {
	if w := f.watcher.Load(); w != nil {
		(*w)()
	}
}

// Adopt keeps an accepted flow: without it a flow lasts [AdoptTime], since a
// stranger can connect and say nothing. Dialled flows need none.
func (f *Flow) Adopt() { f.adopted.Store(true) }

// AdoptTime is how long an accepted flow waits for [Flow.Adopt].
const AdoptTime = 15 * time.Second

// Send implements [packet.Path]. What does not fit the peer's receive window is
// dropped and counted; if not even the first datagram fits, [packet.ErrFull].
func (f *Flow) Send(t *packet.Train) error {
	if f.phase.Load() != phaseOpen {
		return net.ErrClosed
	}
	tr := f.transport
	n, slot := t.Len(), t.SlotSize()
	if n == 0 {
		return nil
	}
	if slot > f.maxSegment() {
		tr.drops.add(dropTooLong, n)
		return packet.ErrFull
	}
	for i := range n {
		putRecord(t.Slot(i))
	}
	total := len(t.Bytes())
	seq, granted := f.reserve(slot, total)
	if granted < total {
		fits := granted / slot
		tr.drops.add(dropWindowFull, n-fits)
		tr.wakeForTimers() // a window that stays closed needs a probe
		if fits == 0 {
			return packet.ErrFull
		}
		for t.Len() > fits {
			t.Drop()
		}
	}
	var (
		h   header
		ms  = millis(tr.now())
		gap = ms - f.lastOut.Load()
	)
	f.fill(&h, ms)
	h.seq, h.flags = seq, flagACK
	h.id = uint16(f.ipID.Add(uint32(t.Len())) - uint32(t.Len()))
	// The kernel sets PSH at the end of every write. Behind a burst that receive
	// offload still holds it would make this segment overtake the burst, so only
	// a segment after a pause gets it.
	if t.Len() == 1 && gap > 1 {
		h.flags |= flagPSH
	}
	ip, tcp := f.headerSize()
	sent := len(t.Bytes())
	h.put(t.Frame(ip + tcp)[:ip+tcp], sent)
	count := t.Len()
	err := tr.wire.send(f.hop, t, ip, tcp)
	tr.wakeForTimers()
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(err, packet.ErrFull):
		tr.drops.add(dropQueueFull, count)
	case errors.Is(err, link.ErrNoRoute):
		tr.drops.add(dropNoRoute, count)
	case errors.Is(err, net.ErrClosed):
		return net.ErrClosed
	default:
		tr.drops.add(dropSendError, count)
	}
	return packet.ErrFull
}

// headerSize is the size of the headers of every segment that carries data.
func (f *Flow) headerSize() (ip, tcp int) {
	ip, tcp = ip4Len, tcpLen
	if f.v6 {
		ip = ip6Len
	}
	if f.stamps {
		tcp += stampLen
	}
	return ip, tcp
}

// maxSegment is the largest payload of one segment: what the way out takes and
// what the peer said it takes (its MSS does not count options, RFC 6691).
func (f *Flow) maxSegment() int {
	ip, tcp := f.headerSize()
	return min(f.hop.MTU()-ip-tcp, int(f.mss.Load())-(tcp-tcpLen))
}

// Prefix implements [packet.Path]: the record header.
func (f *Flow) Prefix() int { return recordPrefix }

// MaxDatagram implements [packet.Path]. It follows the interface's MTU.
func (f *Flow) MaxDatagram() int { return max(min(f.maxSegment()-recordPrefix, maxRecord), 0) }

// Kind implements [packet.Path].
func (f *Flow) Kind() packet.Kind { return packet.RawTCP }

// Local implements [packet.Path].
func (f *Flow) Local() netip.AddrPort { return f.tuple.localAddrPort() }

// Remote implements [packet.Path].
func (f *Flow) Remote() netip.AddrPort { return f.tuple.remoteAddrPort() }

// Alive implements [packet.Path].
func (f *Flow) Alive() bool { return f.phase.Load() == phaseOpen && !f.wantClose.Load() }

// Close implements [packet.Path]: the other side gets a FIN.
func (f *Flow) Close() {
	f.phase.CompareAndSwap(phaseOpen, phaseClosing)
	f.wantClose.Store(true)
	f.transport.poke.Give()
}

// RTT is the newest round trip seen in timestamps, delayed acknowledgements and
// all, in whole milliseconds; 0 before the first.
func (f *Flow) RTT() time.Duration { return time.Duration(f.rtt.Load()) * time.Millisecond }

func (f *Flow) String() string {
	return f.Local().String() + ">" + f.Remote().String()
}
