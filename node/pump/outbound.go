package pump

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/node/tun"
	"github.com/openbmx/lightweight-tunnel/peerlink"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
	"github.com/openbmx/lightweight-tunnel/routes"
)

// Device is the readable end of one TUN queue, see [tun.Queue].
type Device interface {
	Read(buf []byte) (int, error)
	Poll(buf []byte) (n int, ok bool, err error)
	Wake()
}

// Sink is where packets for the own kernel go, see [tun.Writer].
type Sink interface{ Write(buf []byte) error }

// Shared is what all pumps of a node look at.
type Shared struct {
	Peers *peerlink.Directory
	FIB   func() *routes.FIB // the newest snapshot; called once per packet, must not block
	// Wanted is told of a destination that has no link yet, at most once per
	// packet. It must not block.
	Wanted func(message.NodeID)
	// Failed is told of a panic while a packet of peer was handled; the pump goes
	// on with the next. peer may be nil. It must not block.
	Failed func(peer *peerlink.Peer, err error)
	Repair *Repair // nil: losses are neither seen nor mended
	Memory Memory
	Drops  *Drops
	Self4  netip.Addr // own overlay addresses, for ICMP errors; invalid: none
	Self6  netip.Addr
}

// Memory is what the pumps of a node share to keep packets in. The zero value
// bounds nothing but what each peer may have.
type Memory struct {
	Copies  *packet.Budget // of what was sent, should it have to go again
	Waiting *packet.Budget // what came, to be put in order or for parity
}

// dropLeft forgets what a pump keeps for peers that have left.
func dropLeft[T interface{ Forget() }](known *peerlink.Directory, kept map[*peerlink.Peer]T) {
	for p, what := range kept {
		if known.Peer(p.ID()) != p {
			what.Forget()
			delete(kept, p)
		}
	}
}

// dropAll forgets what a pump keeps for all peers.
func dropAll[T interface{ Forget() }](kept map[*peerlink.Peer]T) {
	for p, what := range kept {
		what.Forget()
		delete(kept, p)
	}
}

// self is the node's own address of p's family.
func (s *Shared) self(in *inner) netip.Addr {
	if in.v6 {
		return s.Self6
	}
	return s.Self4
}

// minLimit is the smallest packet that a path must carry to be one (RFC 791, 3.2).
// A way through a relay that is out of reach carries none.
const minLimit = 68

// maxBurst bounds the packets handled between two looks at whether the device
// has run dry, so that a train is never held for long.
const maxBurst = 64

// Outbound carries packets from one TUN queue to peers. Create it with
// [NewOutbound]; it belongs to the goroutine that calls Run.
type Outbound struct {
	Shared
	dev   Device
	reply Sink // takes the ICMP errors

	buf     []byte
	scratch []byte
	split   splitter
	train   *packet.Train
	out     *peerlink.Outbound // under which the train was sealed
	bytes   int                // of the packets in the train
	gone    packet.Path        // the last one that was reported as closed
	peer    *peerlink.Peer     // whose packet is being handled
	mend    repairOut

	// See recent.
	kept     map[*peerlink.Peer]*recent
	recalled *peerlink.Peer // whose packets are in recent
	recent   *recent
	madeWay  time.Time
	began    time.Time // of the burst
	counter  uint64    // of the piece that was sealed last
	marked   bool      // it was sealed with a shim

	// The last lookup: traffic comes in runs.
	fib  *routes.FIB
	dst  netip.Addr
	node message.NodeID

	credits int // ICMP errors that may still be sent before the device runs dry
}

// NewOutbound returns a pump that reads dev and answers what cannot be sent
// through reply.
func NewOutbound(s Shared, dev Device, reply Sink) *Outbound {
	o := &Outbound{
		Shared: s, dev: dev, reply: reply, kept: map[*peerlink.Peer]*recent{},
		buf: make([]byte, tun.MaxRead), scratch: make([]byte, 0, tun.MaxRead), train: packet.NewTrain(),
	}
	o.initRepair()
	return o
}

// Run pumps until ctx ends or the device fails.
func (o *Outbound) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, o.dev.Wake)()
	defer dropAll(o.kept)
	defer dropAll(o.mend.senders)
	if o.repairing() {
		defer o.Repair.join(&o.mend.box)()
		defer o.mend.alarm.stop()
	}
	for ctx.Err() == nil {
		n, err := o.dev.Read(o.buf)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("outbound pump: %w", err)
		}
		if err := o.burst(n); err != nil {
			return fmt.Errorf("outbound pump: %w", err)
		}
	}
	return context.Cause(ctx)
}

// burst handles the packet in buf and what else waits, and sends it all. A panic
// costs the burst and is charged to the peer whose packet it was.
func (o *Outbound) burst(n int) (err error) {
	defer func() {
		if r := recover(); r != nil {
			o.Drops.Add(Panicked, o.train.Len()+1)
			o.train.Reset(0)
			o.out, o.bytes = nil, 0
			o.forgetRepair(o.peer)
			o.Failed(o.peer, fmt.Errorf("outbound pump: panic: %v\n%s", r, debug.Stack()))
		}
	}()
	o.credits, o.began = 4, time.Now()
	for i := 0; ; i++ {
		if n > 0 {
			o.handle(o.buf[:n])
		}
		var ok bool
		if n, ok, err = o.dev.Poll(o.buf); err != nil || !ok || i == maxBurst {
			if ok {
				o.handle(o.buf[:n])
			}
			o.mendDue()
			o.flush()
			return err
		}
	}
}

// handle takes one read of the device: offload header and packet.
func (o *Outbound) handle(b []byte) {
	o.peer = nil
	h, err := tun.ParseHeader(b)
	p := b[min(len(b), tun.HeaderLen):]
	in, ok := parseInner(p)
	if err != nil || !ok {
		o.Drops.Add(BadPacket, 1)
		return
	}
	peer := o.lookup(&in, p)
	if peer == nil {
		return
	}
	o.peer = peer
	out, limit := peer.Outbound(), 0
	if out != nil {
		limit = out.MaxPacket()
	}
	o.afterAbsence(peer, out, limit)
	if limit < minLimit {
		o.stage(peer, h, p, in)
		return
	}
	if in.proto == protoTCP {
		clampMSS(p, &in, limit, h.Flags&tun.NeedsChecksum != 0)
	}
	switch o.split.load(h, p, in, limit) {
	case pass:
		o.send(out)
		if o.split.one && !o.recall(peer).keep(o.began, peerlink.Sealed{Session: out.Session(), Counter: o.counter}, o.marked, o.split.kind, p) {
			o.makeWay()
		}
	case malformed:
		o.Drops.Add(BadPacket, 1)
	case tooBig:
		o.oversize(out, h, p, in, limit)
	}
}

// lookup finds the peer that a packet is for, nil if it was dropped.
func (o *Outbound) lookup(in *inner, p []byte) *peerlink.Peer {
	fib := o.FIB()
	if fib != o.fib || in.dst != o.dst {
		if in.dst.IsMulticast() {
			o.Drops.Add(Multicast, 1)
			return nil
		}
		node, ok := fib.Lookup(in.dst)
		if !ok {
			o.Drops.Add(NoRoute, 1)
			o.refuse(refuseUnreachable, 0, p, in)
			return nil
		}
		o.fib, o.dst, o.node = fib, in.dst, node
	}
	peer := o.Peers.Peer(o.node)
	if peer == nil {
		o.Wanted(o.node)
		o.Drops.Add(NoRoom, 1)
	}
	return peer
}

// send seals all pieces of the loaded packet into trains.
func (o *Outbound) send(out *peerlink.Outbound) {
	o.turnTo(out)
	if o.sendMarked(out) {
		return
	}
	counter := out.Begin(o.split.count())
	for p := o.split.next(); p != nil; p = o.split.next() {
		o.counter, o.marked = counter, false
		o.seal(counter, o.split.kind, p)
		counter++
	}
}

func (o *Outbound) seal(counter uint64, kind wire.Kind, p []byte) {
	slot := o.train.Next(len(p) + wire.Overhead)
	if slot == nil {
		o.flush()
		slot = o.train.Next(len(p) + wire.Overhead)
	}
	o.mend.sealed(o.train.Len(), counter)
	o.out.Seal(slot, counter, kind, p)
	o.bytes += len(slot)
}

// flush sends the train and begins the next for the same peer.
func (o *Outbound) flush() {
	n := o.train.Len()
	if n == 0 {
		return
	}
	peer, path := o.out.Peer(), o.out.Path()
	o.peer = peer
	switch err := path.Send(o.train); {
	case err == nil:
		peer.Sent(n, o.bytes)
	case errors.Is(err, net.ErrClosed):
		o.Drops.Add(PathGone, n)
		peer.DroppedTx(n)
		if path != o.gone {
			o.gone = path
			peer.PathLost(path)
		}
	default:
		o.Drops.Add(PathFull, n)
		peer.DroppedTx(n)
		o.mend.overrun(o.out.Session())
	}
	o.bytes = 0
	o.train.Reset(o.out.Path().Prefix())
}

// stage leaves a packet with its link until there is a key and a path.
func (o *Outbound) stage(peer *peerlink.Peer, h tun.Header, p []byte, in inner) {
	switch o.split.load(h, p, in, maxPacket) {
	case pass:
		for piece := o.split.next(); piece != nil; piece = o.split.next() {
			if !peer.Stage(o.split.kind, piece) {
				o.Drops.Add(NoRoom, 1)
			}
		}
	default:
		o.Drops.Add(BadPacket, 1)
	}
}

// oversize handles a packet that no datagram of the path can carry: cut if
// routers may, else answered so that the sender learns the path's MTU.
func (o *Outbound) oversize(out *peerlink.Outbound, h tun.Header, p []byte, in inner, limit int) {
	if h.GSOType != tun.GSONone || !mayFragment(p, &in) {
		o.Drops.Add(TooBig, 1)
		o.refuse(refuseTooBig, limit, p, &in)
		return
	}
	f, ok := newFragmenter(p, limit)
	if !ok {
		o.Drops.Add(TooBig, 1)
		return
	}
	if h.Flags&tun.NeedsChecksum != 0 {
		finishChecksum(p, int(h.CsumStart)+int(h.CsumOffset), int(h.CsumStart))
	}
	o.turnTo(out)
	for piece := f.next(o.scratch[:0]); piece != nil; piece = f.next(o.scratch[:0]) {
		o.seal(out.Begin(1), wire.Data, piece)
	}
}

// refuse answers a packet with an ICMP error, a few per burst at most.
func (o *Outbound) refuse(why refusal, mtu int, p []byte, in *inner) {
	if o.credits == 0 {
		return
	}
	o.credits--
	frame := o.scratch[:tun.HeaderLen]
	tun.Header{}.Put(frame)
	frame = appendICMPError(frame, why, mtu, p, in, o.self(in))
	if len(frame) > tun.HeaderLen {
		_ = o.reply.Write(frame) // a lost ICMP error is sent again with the next packet
	}
}
