package simnet

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// prefix is the length of rawtcp's record header.
const prefix = 5

// flow is one end of a TCP-like connection: a packet.Path. Nothing is repeated
// but the opening, nothing is put in order: what the line does to a datagram is
// what the receiver sees.
type flow struct {
	t             *Transport
	local, remote netip.AddrPort
	accepted      bool
	mtu           int // the smaller of both ends'; fixed when open

	alive   atomic.Bool
	watcher atomic.Pointer[func()]

	// Guarded by the net's mutex.
	state   flowState
	crossed bool // a SYN of the other side came while dialing
	done    func(packet.Path, error)
	attempt *opening // that the flow is part of, until it is open
}

type flowState uint8

const (
	dialing flowState = iota
	open
	dead
)

func (f *flow) Send(t *packet.Train) error {
	n := f.t.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case f.state != open:
		return net.ErrClosed
	case f.t.host.busy:
		n.drop("interface is full")
		return packet.ErrFull
	}
	for i := range t.Len() {
		slot := t.Slot(i)
		copy(slot, "\x17\x03\x03")
		binary.BigEndian.PutUint16(slot[3:], uint16(len(slot)-prefix))
		n.send(f.t.host, wirePacket{src: f.local, dst: f.remote, kind: wireData, hops: allHops,
			payload: append([]byte(nil), slot[prefix:]...)})
	}
	return nil
}

func (f *flow) Prefix() int { return prefix }

func (f *flow) MaxDatagram() int { return f.mtu - overhead(f.remote.Addr()) - prefix }

func (f *flow) Kind() packet.Kind      { return packet.RawTCP }
func (f *flow) Local() netip.AddrPort  { return f.local }
func (f *flow) Remote() netip.AddrPort { return f.remote }
func (f *flow) Adopt()                 {} // flows do not expire here
func (f *flow) Alive() bool            { return f.alive.Load() }

// OnChange implements packet.Watched.
func (f *flow) OnChange(changed func()) { f.watcher.Store(&changed) }

func (f *flow) Close() {
	f.t.host.net.mu.Lock()
	defer f.t.host.net.mu.Unlock()
	f.end(true, net.ErrClosed)
}

// end takes the flow off its host; tell says whether the other side gets a FIN,
// err is for whoever waits for the dial.
func (f *flow) end(tell bool, err error) {
	if f.state == dead {
		return
	}
	if tell && f.state == open {
		f.emit(wireFIN)
	}
	f.state = dead
	if w := f.watcher.Load(); f.alive.Swap(false) && w != nil {
		(*w)()
	}
	delete(f.t.host.flows, flowKey{f.local, f.remote})
	if c := f.attempt; c != nil {
		f.attempt = nil
		c.lost(f, err)
	}
	f.finish(err)
}

func (f *flow) opened() {
	f.state = open
	f.alive.Store(true)
	if c := f.attempt; c != nil {
		f.attempt = nil
		c.won(f)
	}
	f.finish(nil)
}

// emit sends a segment without data.
func (f *flow) emit(kind wireKind) { f.emitHops(kind, allHops) }

func (f *flow) emitHops(kind wireKind, hops uint8) {
	f.t.host.net.send(f.t.host, wirePacket{src: f.local, dst: f.remote, kind: kind, hops: hops, mtu: f.t.host.mtu})
}

// knock sends the SYN for the given time, the first being 1, and goes on until
// there is an answer or no hope.
func (f *flow) knock(try int) {
	n := f.t.host.net
	f.emit(wireSYN)
	n.clock.at(time.Now().Add(synInterval), func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		switch {
		case f.state != dialing:
		case try == synTries:
			f.end(false, syscall.ETIMEDOUT)
		default:
			f.knock(try + 1)
		}
	})
}

// receive is the state machine of the flow.
func (f *flow) receive(p wirePacket) {
	switch p.kind {
	case wireSYN:
		f.crossed = f.crossed || f.state == dialing
		if f.state == dialing || f.accepted {
			f.mtu = min(f.mtu, p.mtu)
			f.emit(wireSYNACK)
		}
	case wireSYNACK:
		if f.state == dialing {
			f.mtu = min(f.mtu, p.mtu)
			f.opened()
		}
		f.emit(wireACK)
	case wireACK, wireData:
		if f.state == dialing && f.crossed {
			f.opened()
		}
		switch {
		case p.kind == wireACK:
		case f.state == open:
			f.t.push(f, p.payload)
		default:
			f.t.host.net.drop("flow is not open")
		}
	case wireFIN, wireRST:
		// Of a crossing it is a router's, which did not expect us yet.
		if f.attempt == nil {
			f.end(false, syscall.ECONNREFUSED)
		}
	}
}
