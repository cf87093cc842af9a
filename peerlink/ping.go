package peerlink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// PingResult is the outcome of one [Directory.Ping].
type PingResult struct {
	RTT      time.Duration
	Path     string // rawtcp, udp or relay
	Endpoint string // ADDR:PORT of the path
	Via      string // the relay's name
	Err      error  // no answer, or no such peer; then the rest is empty
}

// pingRequest asks a link for one round trip.
type pingRequest struct {
	ctx   context.Context
	until time.Time
	done  func(PingResult)
	id    uint32 // 0: not sent yet, there is no session
}

const (
	pingTimeout = 5 * time.Second
	maxPings    = 64 // under way per link
)

// Ping measures one round trip to a peer over the mesh's own protocol, starting a
// handshake if there is no session yet. done is called exactly once, by any
// goroutine, and must not block. It gives up when ctx ends or after 5 s.
func (d *Directory) Ping(ctx context.Context, id message.NodeID, done func(PingResult)) {
	peer := d.Peer(id)
	if peer == nil {
		done(PingResult{Err: fmt.Errorf("ping %s: no such peer", id.Brief())})
		return
	}
	until := time.Now().Add(pingTimeout)
	if t, ok := ctx.Deadline(); ok && t.Before(until) {
		until = t
	}
	if !peer.box.Ref().Offer(pingRequest{ctx: ctx, until: until, done: done}) {
		done(PingResult{Err: fmt.Errorf("ping %s: its link is too busy", peer.Name())})
	}
}

var errNoAnswer = errors.New("no answer")

func (l *link) ping(now time.Time, r pingRequest) {
	if len(l.pings) >= maxPings {
		r.done(PingResult{Err: errors.New("too many pings at once")})
		return
	}
	// Who pings wants to know how the peer is reached when it matters.
	l.m.usage.last, l.traffic.until = now, now.Add(trafficLasts)
	l.m.relays = l.relays()
	if l.m.current == nil {
		l.m.want(now)
	}
	l.pingID++
	l.pings[pingMark|l.pingID] = r
	l.sendPing(pingMark | l.pingID)
}

// pingMark tells the users' pings from the machine's own probes.
const pingMark = 1 << 31

func (l *link) sendPing(id uint32) {
	r := l.pings[id]
	if r.id != 0 || !l.m.usable {
		return
	}
	r.id = id
	l.pings[id] = r
	l.control(l.m.current.sealer, l.m.path, l.stamp(l.m.current.in, wire.Ping{ID: id}))
}

// pong answers those who wait for the frames.
func (l *link) pong(now time.Time, frames []wire.Frame, path packet.Path, at int64) {
	for _, f := range frames {
		pong, ok := f.(wire.Pong)
		if !ok {
			continue
		}
		if pong.ID&(pingMark|sizeMark) == sizeMark {
			l.sizes.answered(now, path, pong.ID&^sizeMark)
			continue
		}
		r, ok := l.pings[pong.ID]
		if !ok {
			continue
		}
		delete(l.pings, pong.ID)
		result := PingResult{
			RTT: time.Duration(at - pong.Time), Path: path.Kind().String(), Endpoint: path.Remote().String(),
		}
		if relay, ok := path.(*RelayPath); ok {
			result.Via = relay.via.Name()
		}
		r.done(result)
	}
}

// expirePings sends what waited for a session and ends what waited too long.
func (l *link) expirePings(now time.Time) {
	for id, r := range l.pings {
		switch {
		case r.ctx.Err() != nil || !now.Before(r.until):
			delete(l.pings, id)
			err := errNoAnswer
			if r.id == 0 {
				err = errors.New("not connected: " + orDash(l.m.problem))
			}
			r.done(PingResult{Err: fmt.Errorf("ping %s: %w", l.peer.Name(), err)})
		case r.id == 0:
			l.sendPing(id)
		}
	}
}

// endPings ends all of them: the link stops.
func (l *link) endPings() {
	for id, r := range l.pings {
		delete(l.pings, id)
		r.done(PingResult{Err: fmt.Errorf("ping %s: the link was stopped", l.peer.Name())})
	}
}
