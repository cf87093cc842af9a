package peerlink

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// link is the actor of one peer. All decisions are its machine's; it feeds the
// machine and carries out the effects.
type link struct {
	d    *Directory
	peer *Peer
	log  hclog.Logger
	m    *machine
	init initiation
	sender
	staging   staging
	releasing releasing
	sizes     sizes
	pings     map[uint32]pingRequest
	pingID    uint32
	calls     calls
	traffic   traffic
	asking    asking

	said   message.LinkState // the last one sent
	saidT  time.Time
	unsaid bool        // one of those to be told had no room
	moved  packet.Path // the last path that was logged
	rested bool        // it was logged last that nobody uses the link
	told   string      // the last refusal that was logged
}

// Ticks of a link that is up or trying; one that is down needs none.
const (
	tickBusy = 125 * time.Millisecond
	tickIdle = 500 * time.Millisecond

	tickSearch = 60 * time.Millisecond // for the size of a path
)

func newLink(d *Directory, peer *Peer) *link {
	log := d.cfg.Log.Named("link").With("peer", peer.Name())
	m := newMachine(d.cfg.ID, peer.id, d.cfg.Keepalive, d.cfg.Timeout, rand.Float64)
	m.warm, m.rekey = d.cfg.Warm, d.cfg.Rekey
	s := newSender(d)
	l := &link{
		d: d, peer: peer, log: log, sender: s,
		m:       m,
		init:    initiation{sender: s, answers: peer.answers.Ref(), log: log},
		staging: staging{maxPackets: d.cfg.SendQueue, maxBytes: d.cfg.QueueBytes, room: &d.room},
		pings:   map[uint32]pingRequest{},
	}
	l.newCalls()
	return l
}

// Run works until ctx ends. What an earlier run of this link left in the
// directory is taken away first: its sessions are nobody's now.
func (l *link) Run(ctx context.Context) error {
	l.peer.out.Store(nil)
	l.d.sessions.removePeer(l.peer)
	if s := l.peer.view.Load(); s.State == Up {
		l.said = message.LinkState{Hello: s.Hello, Up: true, Seed: s.Seed} // what they still believe
	}
	if p := l.peer.direct.Load(); p != nil && (*p).Alive() {
		l.m.found(time.Now(), *p)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer l.letGo()
	defer l.closeSpare()
	defer l.staging.discard()
	for {
		select {
		case <-ctx.Done():
			l.leave(ctx)
			return nil
		case msg := <-l.peer.box.C():
			l.take(time.Now(), msg)
		case a := <-l.peer.answers.C():
			l.answer(time.Now(), a)
		case batch := <-l.peer.staging.C():
			l.stage(time.Now(), batch)
		case <-timer.C:
			l.m.tick(time.Now(), l.observe())
			l.askAround(time.Now())
			l.expirePings(time.Now())
			l.shed()
			l.release()
		case <-l.calls.due():
		}
		now := time.Now()
		l.traffic.sent(now, l.peer.txPackets.Load())
		l.measure(now)
		l.carryOut(now)
		l.search(now)
		l.show(now)
		timer.Reset(l.nextTick(now))
	}
}

func (l *link) nextTick(now time.Time) time.Duration {
	switch {
	case l.releasing.out != nil:
		return releaseEvery
	case l.m.pressing(now):
		return quickInterval
	case l.sizes.busy(l.m.path):
		return tickSearch
	case l.m.busy() || len(l.pings) > 0:
		return tickBusy
	case l.staging.len() > 0 && l.d.room.budget != nil: // others may want for room
		return tickIdle
	case l.m.current != nil || now.Before(l.m.wanted) || now.Before(l.asking.sought) || len(l.m.sessions)+len(l.m.leaving) > 0:
		return tickIdle
	}
	return time.Hour
}

// leave says goodbye if the node stops, but not when this actor has failed.
func (l *link) leave(ctx context.Context) {
	defer l.peer.out.Store(nil)
	defer l.init.abandon()
	defer l.endPings()
	if l.m.current != nil && l.m.path != nil && errors.Is(context.Cause(ctx), actors.ErrStopped) {
		l.control(l.m.current.sealer, l.m.path, wire.Close{Reason: "the node was stopped"})
		if l.m.direct != nil {
			l.m.direct.Close()
		}
		l.d.sessions.removePeer(l.peer)
	}
}

// closeSpare ends the paths that the next run of this link does not hear of.
func (l *link) closeSpare() {
	for _, b := range l.m.standbys {
		b.path.Close()
	}
	for _, p := range l.m.leaving {
		if p.path != l.m.direct {
			p.path.Close()
		}
	}
}

func (l *link) take(now time.Time, msg toLink) {
	switch msg := msg.(type) {
	case touched:
		l.m.touch(now, msg.in, msg.path)
	case controlled:
		frames, err := wire.ParseFrames(msg.frames)
		if err != nil {
			l.log.Debug("control datagram is not understood", "reason", err)
			return
		}
		if msg.aside {
			l.probed(now, msg, frames)
			l.m.heardAside(now, msg.in, msg.path, frames, msg.at)
			return
		}
		l.m.heard(now, msg.in, msg.path, frames, msg.at)
		l.pong(now, frames, msg.path, msg.at)
		l.beCalled(now, frames)
		l.reaching(now, frames)
	case adopt:
		l.m.adopt(now, msg.s)
		l.peer.name.Store(&msg.s.hello.Name)
	case dialled:
		l.m.dialledFresh(now, msg.path, msg.owner)
	case again:
		l.m.again(now, msg.in)
	case lost:
		if msg.path.Alive() {
			l.m.recheck(now, msg.path)
		} else {
			l.m.lostPath(now, msg.path)
		}
	case want:
		l.m.relays = l.relays()
		l.m.want(now)
		l.askAround(now)
	case look:
		l.m.tick(now, l.observe())
	case elsewhere:
		l.calls.asked = time.Time{} // the search that follows asks
	case askReach:
		l.askThis(msg.Reach)
	case seek:
		l.soughtBy(now, msg.hops)
	case judged:
		l.m.answered(now, msg.refusal)
	case crossed:
		l.gotCrossed(now, msg)
	case heldFlow:
		l.gotHeldFlow(now, msg)
	case seenAs:
		l.gotSeenAs(now, msg)
	case pingRequest:
		l.ping(now, msg)
	}
}

func (l *link) answer(now time.Time, a answered) {
	switch p, err := l.init.answer(a, now); {
	case errors.Is(err, errClock):
		l.m.retry(now)
	case err != nil:
		l.m.answered(now, err.Error())
	case p == nil:
	case p.result.Hello.ID != l.peer.id:
		// A relay led us to somebody else, or a new node took over an address.
		l.d.sessions.remove(p.mine)
		l.m.answered(now, "another node answers there: "+p.result.Hello.Name)
	case !l.d.box.Ref().Offer(*p):
		l.d.sessions.remove(p.mine)
	default:
		l.m.answered(now, "")
	}
}

func (l *link) stage(now time.Time, batch []staged) {
	if dropped := l.staging.add(batch); dropped > 0 {
		l.peer.DroppedTx(dropped)
		l.d.warnQueueFull(l.peer, "raise -send-queue")
	}
	l.shed()
	if !l.release() {
		l.m.relays = l.relays()
		l.m.want(now)
		l.askAround(now)
	}
}

// shed keeps what is staged within the link's share of what all may stage.
func (l *link) shed() {
	if dropped := l.staging.shed(); dropped > 0 {
		l.peer.DroppedTx(dropped)
		l.d.room.shed.Add(uint64(dropped))
		l.d.warnQueueFull(l.peer, "raise --memory")
	}
}

// observe gathers what the pumps and the other links have published.
func (l *link) observe() observation {
	o := observation{
		relays: l.relays(), staged: l.staging.len() > 0, crowded: l.d.crowded(), refresh: l.d.cfg.Refresh(),
		carried: carried{l.peer.txPackets.Load(), l.peer.txBytes.Load(), l.peer.rxPackets.Load(), l.peer.rxBytes.Load()},
	}
	o.sent = o.carried.txPackets + l.peer.txRelayed.Load()
	newest, data := int64(0), int64(0)
	for _, s := range l.m.sessions {
		newest, data = max(newest, s.in.last.Load()), max(data, s.in.lastData.Load())
	}
	if data > 0 {
		o.lastData = l.d.epoch.Add(time.Duration(data))
	}
	if newest > 0 {
		o.lastRx = l.d.epoch.Add(time.Duration(newest))
	}
	return o
}

// carryOut does what the machine wants, in its order.
func (l *link) carryOut(now time.Time) {
	for _, e := range l.m.take() {
		switch e := e.(type) {
		case install:
			l.d.sessions.set(e.s.in.index, slot{inbound: e.s.in})
		case uninstall:
			l.d.sessions.remove(e.s.in.index)
		case publish:
			l.publish(e)
		case away:
			l.peer.away.Store(&Away{Since: e.since})
		case doubted:
			l.peer.doubted.Store(true)
		case send:
			l.control(e.s.sealer, e.path, l.stamp(e.s.in, e.frame))
		case sendAside:
			l.aside(e.s.sealer, e.path, l.stamp(e.s.in, e.frame))
		case sendFinal:
			l.handshake(e.s.path, wire.Handshake{
				Kind: wire.HandshakeFinal, Sender: e.s.in.index, Receiver: e.s.sealer.index, Body: e.s.final,
			})
		case initiate:
			if err := l.init.begin(e.path, now); err != nil {
				l.log.Error("no handshake can be begun", "reason", err)
			}
		case abandon:
			l.init.abandon()
		case keepDirect:
			l.keepDirect(e.path)
		case adoptPath:
			e.path.Adopt()
		case dropPath:
			e.path.Close()
		case decided:
			e.to.Offer(e.fate)
		}
	}
}

// keepDirect notes the direct path, and hears of its changes at once.
func (l *link) keepDirect(path packet.Path) {
	if path == nil {
		l.peer.direct.Store(nil)
		return
	}
	l.peer.direct.Store(&path)
	if w, ok := path.(packet.Watched); ok {
		peer := l.peer
		w.OnChange(func() { peer.PathLost(path) })
	}
}

// stamp fills in what is known only when a frame is sent.
func (l *link) stamp(in *Inbound, f wire.Frame) wire.Frame {
	switch f := f.(type) {
	case wire.Padded:
		f.Ping = l.stamp(in, f.Ping).(wire.Ping)
		return f
	case wire.Ping:
		f.Time, f.Received, f.Highest = l.d.now(), in.received.Load(), in.highest.Load()
		return f
	case wire.Pong:
		f.Received, f.Highest = in.received.Load(), in.highest.Load()
		return f
	}
	return f
}

func (l *link) publish(e publish) {
	if e.s == nil {
		l.peer.out.Store(nil)
		l.releasing = releasing{}
		return
	}
	old := l.peer.out.Load()
	if old == nil {
		old = l.releasing.out
	}
	limit := l.limit(e.path)
	if old != nil && old.path == e.path && old.sealer == e.s.sealer && old.limit == limit {
		return
	}
	e.path.Adopt()
	l.send(&Outbound{peer: l.peer, path: e.path, sealer: e.s.sealer, limit: limit, wanted: l.d.cfg.wanted()})
}
