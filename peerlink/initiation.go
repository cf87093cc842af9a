package peerlink

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/noise"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// initiation is the handshake that one actor has begun, one at a time, and the
// correction of the clock that refusals taught it.
type initiation struct {
	sender
	answers actors.Ref[answered]
	log     hclog.Logger
	offset  time.Duration // what the other side's clock is ahead of ours
	warned  bool

	noise *noise.Initiator // nil: none under way
	index uint32
	path  packet.Path
}

var errClock = errors.New("the other side's clock differs")

// begin sends the first message on path; one that was under way is abandoned.
func (i *initiation) begin(path packet.Path, now time.Time) error {
	i.abandon()
	n, body, err := noise.NewInitiator(i.d.local(), now.Add(i.offset))
	if err != nil {
		return err
	}
	i.noise, i.path = n, path
	i.index = i.d.sessions.reserve(slot{waiter: i.answers})
	i.handshake(path, wire.Handshake{Kind: wire.HandshakeInit, Sender: i.index, Body: body})
	return nil
}

// abandon gives up what is under way.
func (i *initiation) abandon() {
	if i.noise != nil {
		i.d.sessions.remove(i.index)
		i.noise = nil
	}
}

// answer takes an answer. With a proof the handshake is done on this side, to be
// judged by the peers actor, which from then on owns the index. errClock: begin
// again. All else that is wrong with an answer is not worth an error, because
// anybody in the mesh could have made it up: both results are then nil.
func (i *initiation) answer(a answered, now time.Time) (*proved, error) {
	if i.noise == nil || a.message.Receiver != i.index {
		return nil, nil
	}
	if a.message.Kind == wire.Refusal {
		r, err := wire.ParseRefused(a.message.Body)
		if err != nil {
			return nil, nil
		}
		i.abandon()
		if r.Code != wire.RefusedClock {
			return nil, errors.New(r.Reason)
		}
		i.offset = time.Unix(0, r.Time).Sub(now)
		if !i.warned {
			i.warned = true
			i.log.Warn("this machine's clock differs from the peer's; set the time (NTP) on the one that is wrong",
				"difference", i.offset.Round(time.Second).String(), "path", pathName(i.path))
		}
		return nil, errClock
	}
	result, final, err := i.noise.Finish(a.message.Body, i.d.cfg.Hello(), now)
	if err != nil {
		i.log.Debug("a handshake's answer is not valid", "path", pathName(a.path), "reason", err)
		return nil, nil
	}
	p := &proved{result: result, mine: i.index, theirs: a.message.Sender, final: final, path: a.path}
	i.noise = nil
	return p, nil
}

// local is what this node brings into handshakes.
func (d *Directory) local() noise.Local {
	return noise.Local{ID: d.cfg.ID, Static: d.cfg.Static, PSK: d.keys.PSK}
}

// pathName is how log lines show a path.
func pathName(p packet.Path) string {
	switch p := p.(type) {
	case nil:
		return "-"
	case *RelayPath:
		return "relay via " + p.via.Name()
	default:
		return fmt.Sprintf("%s %s", p.Kind(), p.Remote())
	}
}
