package repair

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// line is a sender and a receiver with a network between them, in virtual time:
// 25 ms each way unless said otherwise, a bottleneck with a drop-tail queue, and losses behind it.
type line struct {
	t      *testing.T
	s      *Sender
	r      *Receiver
	now    int64
	random *rand.Rand

	rate    float64 // bits per second
	oneWay  int64   // what the line takes without a queue, nanoseconds
	queue   int64   // of the bottleneck, nanoseconds
	loses   func() bool
	stands  func() bool // what is in front of the bottleneck keeps what it gets
	deaf    func() bool // loses a report
	index   uint32
	counter uint64
	free    int64 // when the bottleneck has sent what it has
	kept    []datagram
	there   []datagram
	back    []datagram

	datagrams, bytes, parity, repeats, dropped int // that entered the line
	sent                                       map[uint32]int64
	got                                        map[uint32]int64 // when; packet number
	order                                      map[uint32][]uint32
	twice                                      int
}

type datagram struct {
	at      int64
	index   uint32
	counter uint64
	kind    wire.Kind
	plain   []byte
}

const (
	oneWay  = int64(25 * time.Millisecond)
	tick    = int64(250 * time.Microsecond)
	headers = 14 + 20 + 32 + 5 + wire.Overhead // of a datagram on the wire
)

func newLine(t *testing.T, s *Sender, seed uint64) *line {
	l := &line{
		t: t, s: s, now: 1, random: rand.New(rand.NewPCG(seed, 1)), rate: 100e6, oneWay: oneWay, queue: int64(50 * time.Millisecond), index: 7,
		sent: map[uint32]int64{}, got: map[uint32]int64{}, order: map[uint32][]uint32{},
	}
	l.loses = func() bool { return false }
	l.stands = func() bool { return false }
	l.deaf = func() bool { return false }
	l.r = NewReceiver(func(_ bool, p []byte) {
		id, flow := binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:])
		if _, ok := l.got[id]; ok {
			l.twice++
		}
		l.got[id] = l.now
		l.order[flow] = append(l.order[flow], id)
	})
	return l
}

// independent loses each datagram with probability p.
func (l *line) independent(p float64) func() bool {
	return func() bool { return l.random.Float64() < p }
}

// bursts loses p of all in runs of mean length n (Gilbert and Elliott).
func (l *line) bursts(p, n float64) func() bool {
	bad := false
	return func() bool {
		if bad {
			bad = l.random.Float64() >= 1/n
		} else {
			bad = l.random.Float64() < p/(1-p)/n
		}
		return bad
	}
}

// packet sends packet id of a flow.
func (l *line) packet(id, flow uint32, class Class, size int) {
	p := make([]byte, size)
	binary.BigEndian.PutUint32(p, id)
	binary.BigEndian.PutUint32(p[4:], flow)
	l.sent[id] = l.now
	l.put(flow, class, p)
}

// put sends a packet.
func (l *line) put(flow uint32, class Class, p []byte) {
	if class == Opening {
		l.s.Open()
		l.pending()
	}
	c := l.next()
	if l.s.Active(class) {
		l.enter(datagram{counter: c, kind: wire.Repairable, plain: slices.Clone(l.s.Add(l.now, l.index, c, flow, class, true, p))})
	} else {
		l.enter(datagram{counter: c, kind: wire.Data, plain: p})
	}
	l.pending()
}

func (l *line) next() uint64 { l.counter++; return l.counter - 1 }

func (l *line) pending() {
	for l.s.Pending() {
		c := l.next()
		if kind, plain := l.s.Next(l.now, l.index, c); plain != nil {
			l.enter(datagram{counter: c, kind: kind, plain: slices.Clone(plain)})
		}
	}
}

func (l *line) enter(d datagram) {
	size := len(d.plain) + headers
	l.datagrams++
	l.bytes += size
	switch {
	case d.kind == wire.Parity:
		l.parity++
	case d.kind == wire.Repairable && d.plain[0]&flagRepeat != 0:
		l.repeats++
	}
	if l.stands() {
		l.kept = append(l.kept, d)
		return
	}
	l.bottleneck(d)
}

func (l *line) bottleneck(d datagram) {
	l.free = max(l.free, l.now)
	if l.free-l.now > l.queue {
		l.dropped++
		return
	}
	l.free += int64(float64((len(d.plain)+headers)*8) / l.rate * 1e9)
	if l.loses() {
		return
	}
	d.at, d.index = l.free+l.oneWay, l.index
	l.there = append(l.there, d)
}

// run lets time pass; each is called at every tick.
func (l *line) run(d time.Duration, each func()) {
	for end := l.now + int64(d); l.now < end; l.now += tick {
		each()
		if at := l.s.Due(l.now); at != 0 && at <= l.now {
			l.t.Fatalf("the sender wants to be called at %d, which it was at %d", at, l.now)
		}
		l.pending()
		for len(l.kept) > 0 && !l.stands() {
			l.bottleneck(l.kept[0])
			l.kept = l.kept[1:]
		}
		for len(l.there) > 0 && l.there[0].at <= l.now {
			l.arrive(l.there[0])
			l.there = l.there[1:]
		}
		l.r.Due(l.now)
		var r Report
		for l.r.Report(l.now, &r) {
			if !l.deaf() {
				l.back = append(l.back, datagram{at: l.now + l.oneWay, plain: r.Append(nil)})
			}
		}
		for len(l.back) > 0 && l.back[0].at <= l.now {
			if err := r.Parse(l.back[0].plain); err != nil {
				l.t.Fatal(err)
			}
			l.s.Report(l.now, &r)
			l.pending()
			l.back = l.back[1:]
		}
	}
}

func (l *line) arrive(d datagram) {
	fresh := l.r.Seen(l.now, d.index, d.counter)
	var err error
	switch d.kind {
	case wire.Repairable:
		err = l.r.Repairable(l.now, d.index, d.counter, fresh, d.plain)
	case wire.Parity:
		err = l.r.Parity(l.now, d.index, d.counter, d.plain)
	case wire.Beat:
		l.r.Beat(l.now, d.plain)
	case wire.Data:
		l.r.deliver(true, d.plain)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// steady sends rate packets per second of one flow for a while, and then waits for
// what is still under way.
func (l *line) steady(d time.Duration, rate float64, class Class, size int) {
	first, credit, flow := uint32(len(l.sent)), 0.0, uint32(100+class)
	l.run(d, func() {
		for credit += rate * time.Duration(tick).Seconds(); credit >= 1; credit-- {
			l.packet(first, flow, class, size)
			first++
		}
	})
	l.run(time.Second, func() {})
}

// residual is the share of packets from id on that never came.
func (l *line) residual(from uint32) float64 {
	lost, all := 0, 0
	for id := range l.sent {
		if id >= from {
			all++
			if _, ok := l.got[id]; !ok {
				lost++
			}
		}
	}
	return float64(lost) / float64(all)
}

// overtaken counts the packets of a flow, from the one behind id on, that came after a
// later one.
func (l *line) overtaken(flow, id uint32) (n int) {
	highest := uint32(0)
	for _, came := range l.order[flow] {
		if came > id && came < highest {
			n++
		}
		highest = max(highest, came)
	}
	return n
}

// added is the given quantile of what packets took longer than the line takes.
func (l *line) added(from uint32, quantile float64) time.Duration {
	var delays []int64
	for id, at := range l.got {
		if id >= from {
			delays = append(delays, at-l.sent[id]-l.oneWay)
		}
	}
	slices.Sort(delays)
	return time.Duration(delays[int(quantile*float64(len(delays)-1))])
}
