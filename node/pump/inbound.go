package pump

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
	"github.com/openbmx/lightweight-tunnel/routes"
)

// Inbound carries datagrams from one transport socket to the TUN device, and on
// to other nodes. Create it with [NewInbound]; it belongs to the goroutine that
// calls Run, and so do the replay windows of the sessions that it serves.
type Inbound struct {
	Shared
	rx    packet.Receiver
	sink  Sink
	co    *coalescer
	relay forwarder
	mend  repairIn
	err   error // of the device; ends Run

	// The run of datagrams of one session on one path that is being handled.
	in    *peerlink.Inbound
	index uint32
	path  packet.Path
	bytes int
	whose *peerlink.Peer // to blame if the present datagram makes the pump fail

	// The last source address that was found to be the peer's own.
	fib  *routes.FIB
	src  netip.Addr
	node message.NodeID
}

// NewInbound returns a pump from rx to sink; uso says whether the device takes
// UDP super-packets.
func NewInbound(s Shared, rx packet.Receiver, sink Sink, uso bool) *Inbound {
	i := &Inbound{Shared: s, rx: rx, sink: sink}
	i.co = newCoalescer(uso, i.write)
	i.relay = forwarder{train: packet.NewTrain(), drops: s.Drops}
	i.initRepair()
	return i
}

// Run pumps until ctx ends, the transport is closed or the device fails.
func (i *Inbound) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, i.rx.Wake)()
	defer i.mend.alarm.stop()
	defer dropAll(i.mend.receivers)
	for ctx.Err() == nil {
		batch, err := i.rx.Receive()
		if err == nil {
			i.burst(batch)
			err = i.err
		}
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("inbound pump: transport: %w", err)
		case err != nil:
			return fmt.Errorf("inbound pump: %w", err)
		}
	}
	return context.Cause(ctx)
}

// burst handles what one receive brought. A panic costs the rest of the burst
// and is charged to the peer whose datagram it was.
func (i *Inbound) burst(batch packet.Arrivals) {
	done := 0
	if i.Repair != nil {
		i.mend.now = i.Repair.now()
	}
	defer func() {
		if r := recover(); r != nil {
			i.Drops.Add(Panicked, len(batch)-done)
			i.Drops.Add(Panicked, i.relay.train.Len())
			i.co.end, i.in, i.bytes = 0, nil, 0
			i.relay.reset()
			i.forgetRepair(i.whose)
			i.Failed(i.whose, fmt.Errorf("inbound pump: panic: %v\n%s", r, debug.Stack()))
		}
	}()
	for ; done < len(batch); done++ {
		i.whose = nil
		i.datagram(batch[done].Data, batch[done].Path)
	}
	i.mendDue()
	i.co.flush()
	i.relay.flush()
	i.settle()
	i.in = nil
}

// datagram handles one datagram as it came from path, or out of an envelope.
func (i *Inbound) datagram(data []byte, path packet.Path) {
	h, err := i.Peers.Unmask(data)
	if err != nil {
		i.Drops.Add(Junk, 1)
		return
	}
	if h.Kind.IsHandshake() || !h.Kind.Valid() {
		if !i.Peers.Handshake(data, path) {
			i.Drops.Add(Junk, 1)
		}
		return
	}
	if !i.session(h.Index, path) {
		i.Drops.Add(UnknownIndex, 1)
		return
	}
	switch h.Kind {
	case wire.Data, wire.DataPartial:
		i.data(h, data)
	case wire.Control:
		i.control(h, data)
	case wire.Relay:
		i.relayed(h, data)
	default:
		i.mended(h, data)
	}
}

// session makes index and path the run that is being handled.
func (i *Inbound) session(index uint32, path packet.Path) bool {
	if i.in != nil && index == i.index && path == i.path {
		i.whose = i.in.Peer()
		return true
	}
	in := i.Peers.Session(index)
	if in == nil {
		return false
	}
	i.settle()
	i.in, i.index, i.path, i.whose = in, index, path, in.Peer()
	i.repairOf(i.whose)
	return true
}

// settle accounts for the run so far.
func (i *Inbound) settle() {
	if i.in != nil {
		i.in.Touch(i.path, i.bytes)
		i.bytes = 0
	}
}

func (i *Inbound) data(h wire.Header, data []byte) {
	n := len(data) - wire.Overhead
	if n < 0 || n > maxPacket {
		i.Drops.Add(Junk, 1)
		return
	}
	p, err := i.in.Open(i.co.place(n), data, h)
	if err != nil {
		i.co.discard()
		i.Drops.Add(BadSeal, 1)
		i.in.Peer().DroppedRx(1)
		return
	}
	i.bytes += len(data)
	i.seen(h.Counter)
	in, ok := parseInner(p)
	if !ok || (h.Kind == wire.DataPartial && in.l4 == 0) {
		i.co.discard()
		i.Drops.Add(BadPacket, 1)
		i.in.Peer().DroppedRx(1)
		return
	}
	if !i.owns(i.in.Peer(), in.src) {
		i.co.discard()
		i.Drops.Add(SpoofedSource, 1)
		i.in.Peer().DroppedRx(1)
		return
	}
	i.co.keep(h.Kind, p, in)
}

// owns says whether peer may send from src.
func (i *Inbound) owns(peer *peerlink.Peer, src netip.Addr) bool {
	node, fib := peer.ID(), i.FIB()
	if src == i.src && fib == i.fib && node == i.node {
		return true
	}
	if !fib.Allowed(node, src) {
		// A new peer's first packets may be here before the routes know it.
		if _, known := fib.Lookup(src); known || !peer.Claims(src) {
			return false
		}
	}
	i.src, i.fib, i.node = src, fib, node
	return true
}

func (i *Inbound) control(h wire.Header, data []byte) {
	plain, err := i.in.Open(data[wire.HeaderLen:wire.HeaderLen], data, h)
	if err != nil {
		i.Drops.Add(BadSeal, 1)
		return
	}
	i.bytes += len(data)
	if !h.Aside() {
		i.seen(h.Counter)
	}
	// Before the link hears of the frames it must know the path they came on.
	i.settle()
	if !i.in.Control(plain, i.path) {
		i.Drops.Add(NoRoom, 1)
	}
}

// relayed opens an envelope: what is in it is for this node or goes on.
func (i *Inbound) relayed(h wire.Header, data []byte) {
	e, datagram, err := i.in.OpenRelay(data, h)
	if err != nil {
		i.Drops.Add(BadSeal, 1)
		return
	}
	i.bytes += len(data)
	i.seen(h.Counter)
	via := i.in.Peer()
	if e.Dst != i.Peers.Self() {
		i.relay.forward(i.Peers, e, datagram, via)
		return
	}
	if i.path.Kind() == packet.Relay {
		i.Drops.Add(RelayRefused, 1) // an envelope in an envelope: nobody honest makes that
		return
	}
	i.datagram(datagram, i.Peers.RelayPath(via, e.Src))
}

func (i *Inbound) write(frame []byte) {
	if err := i.sink.Write(frame); err != nil && i.err == nil {
		i.err = err
	}
}
