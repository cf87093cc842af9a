package pump

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// memLine is a network in memory that loses nothing, takes no time and, once its
// buffers have grown, allocates nothing.
type memLine struct {
	mu   sync.Mutex
	ends map[netip.AddrPort]*memEnd
}

// memEnd is a node's transport on a memLine.
type memEnd struct {
	line *memLine
	addr netip.AddrPort

	mu          sync.Mutex
	coming      buffers // being filled
	given       buffers // what Receive returned last
	woken, gone bool
	ready       chan struct{}
}

type buffers struct {
	bytes    []byte
	arrivals packet.Arrivals
}

// memPath is one side of a connection.
type memPath struct {
	own, other *memEnd
	back       *memPath // the other side
	alive      atomic.Bool
	room       atomic.Int64 // MaxDatagram
	onSend     atomic.Pointer[func(*packet.Train) error]
}

const memPrefix = 5

func newMemLine() *memLine { return &memLine{ends: map[netip.AddrPort]*memEnd{}} }

func (l *memLine) end(addr string) *memEnd {
	e := &memEnd{line: l, addr: netip.MustParseAddrPort(addr), ready: make(chan struct{}, 1)}
	e.coming.bytes, e.given.bytes = make([]byte, 0, 1<<20), make([]byte, 0, 1<<20)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends[e.addr] = e
	return e
}

// Dial implements packet.Dialer.
func (e *memEnd) Dial(remote netip.AddrPort, done func(packet.Path, error)) func() {
	e.line.mu.Lock()
	far := e.line.ends[remote]
	e.line.mu.Unlock()
	if far == nil {
		done(nil, net.ErrClosed)
		return func() {}
	}
	near, there := &memPath{own: e, other: far}, &memPath{own: far, other: e}
	near.back, there.back = there, near
	for _, p := range []*memPath{near, there} {
		p.alive.Store(true)
		p.room.Store(1443)
	}
	done(near, nil)
	return func() {}
}

// Receive implements packet.Receiver.
func (e *memEnd) Receive() (packet.Arrivals, error) {
	for {
		batch, woken, err := e.take()
		if len(batch) > 0 || woken || err != nil {
			return batch, err
		}
		<-e.ready
	}
}

// take is Receive without waiting.
func (e *memEnd) take() (batch packet.Arrivals, woken bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.coming, e.given = e.given, e.coming
	e.coming.bytes, e.coming.arrivals = e.coming.bytes[:0], e.coming.arrivals[:0]
	woken, e.woken = e.woken, false
	if e.gone {
		err = net.ErrClosed
	}
	return e.given.arrivals, woken, err
}

func (e *memEnd) poke() {
	select {
	case e.ready <- struct{}{}:
	default:
	}
}

// Wake implements packet.Receiver.
func (e *memEnd) Wake() {
	e.mu.Lock()
	e.woken = true
	e.mu.Unlock()
	e.poke()
}

// Close implements packet.Receiver.
func (e *memEnd) Close() error {
	e.mu.Lock()
	e.gone = true
	e.mu.Unlock()
	e.poke()
	return nil
}

// Send implements packet.Path.
func (p *memPath) Send(t *packet.Train) error {
	if f := p.onSend.Load(); f != nil {
		if err := (*f)(t); err != nil {
			return err
		}
	}
	if !p.alive.Load() {
		return net.ErrClosed
	}
	if t.Prefix() != memPrefix {
		panic("the train's prefix is not the path's")
	}
	p.other.mu.Lock()
	defer p.other.mu.Unlock()
	c := &p.other.coming
	for i := range t.Len() {
		start := len(c.bytes)
		if start+len(t.Datagram(i)) > cap(c.bytes) {
			return packet.ErrFull
		}
		c.bytes = append(c.bytes, t.Datagram(i)...)
		c.arrivals = append(c.arrivals, packet.Arrival{Data: slices.Clip(c.bytes[start:]), Path: p.back})
	}
	p.other.poke()
	return nil
}

func (p *memPath) Prefix() int            { return memPrefix }
func (p *memPath) MaxDatagram() int       { return int(p.room.Load()) }
func (p *memPath) Kind() packet.Kind      { return packet.RawTCP }
func (p *memPath) Local() netip.AddrPort  { return p.own.addr }
func (p *memPath) Remote() netip.AddrPort { return p.other.addr }
func (p *memPath) Adopt()                 {}
func (p *memPath) Alive() bool            { return p.alive.Load() }
func (p *memPath) Close()                 { p.alive.Store(false); p.back.alive.Store(false) }
