package peerlink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// seed is the actor of one configured HOST:PORT: it keeps a direct path to
// whoever answers there, for as long as the node runs. The link made of it
// belongs to the peer's link actor.
type seed struct {
	d       *Directory
	address string
	log     hclog.Logger
	init    initiation
	answers *actors.Mailbox[answered]
	fates   *actors.Mailbox[fate]

	peer    *Peer // who answered last
	turn    int   // which of the host's addresses is tried
	silent  int   // handshakes in a row that nobody answered
	problem string
	delay   time.Duration // before the next try
	lastUp  time.Time     // when it was there, or this actor began
}

const (
	minRedial    = 100 * time.Millisecond
	maxRedial    = 3 * time.Second // so that a seed that is back is found within five, the dial included
	seldomAfter  = 15 * time.Minute
	seldomRedial = 15 * time.Second // of a seed that has not been there for so long
	selfPause    = 5 * time.Minute
	standbyLook  = time.Second
	inits        = 3 // per path
	judgedWithin = respondWithin
	resumeWithin = 4 * time.Second // above the longest round trip, and what the link waits
)

func newSeed(d *Directory, address string) *seed {
	log := d.cfg.Log.Named("seed").With("seed", address)
	s := &seed{
		d: d, address: address, log: log, delay: minRedial, lastUp: time.Now(),
		answers: actors.NewMailbox[answered]("answers/"+address, 8),
		fates:   actors.NewMailbox[fate]("fates/"+address, 8),
	}
	s.init = initiation{sender: newSender(d), answers: s.answers.Ref(), log: log}
	return s
}

// Run works until ctx ends.
func (s *seed) Run(ctx context.Context) error {
	defer s.init.abandon()
	for ctx.Err() == nil {
		if s.peer != nil && !s.peer.wantsPath() {
			s.wait(ctx, standbyLook)
			continue
		}
		pause := s.try(ctx)
		if pause == 0 {
			pause = s.delay
			most := maxRedial
			if time.Since(s.lastUp) > seldomAfter {
				most = seldomRedial
			}
			s.delay = min(2*s.delay, most)
		}
		s.wait(ctx, pause/2+rand.N(pause/2+1))
	}
	return nil
}

func (s *seed) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case f := <-s.fates.C():
			if f.doubt || f.lost {
				return
			}
		}
	}
}

// try dials once, and returns when the path is of no more use: how long to wait
// before the next try, 0 for the usual backoff.
func (s *seed) try(ctx context.Context) time.Duration {
	remote, err := s.resolve(ctx)
	if err != nil {
		s.trouble("the seed's name cannot be resolved", err)
		return 0
	}
	path, err := s.dial(ctx, remote)
	if err != nil {
		if ctx.Err() == nil {
			s.trouble("the seed cannot be reached", err)
		}
		return 0
	}
	for len(s.fates.C()) > 0 {
		<-s.fates.C() // of an earlier path
	}
	pause, keep := s.serve(ctx, path)
	s.init.abandon()
	if !keep {
		path.Close()
	}
	return pause
}

// resolve returns the address whose turn it is.
func (s *seed) resolve(ctx context.Context) (netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(s.address); err == nil {
		s.d.box.Ref().Offer(resolved{seed: s.address, addresses: []netip.Addr{a.Addr().Unmap()}})
		return a, nil
	}
	host, service, err := net.SplitHostPort(s.address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(addresses) == 0 {
		return netip.AddrPort{}, fmt.Errorf("%s has no address", host)
	}
	for i := range addresses {
		addresses[i] = addresses[i].Unmap()
	}
	s.d.box.Ref().Offer(resolved{seed: s.address, addresses: slices.Clone(addresses)})
	s.turn++
	return netip.ParseAddrPort(net.JoinHostPort(addresses[s.turn%len(addresses)].String(), strconv.Itoa(port)))
}

func (s *seed) dial(ctx context.Context, remote netip.AddrPort) (packet.Path, error) {
	type result struct {
		path packet.Path
		err  error
	}
	done := make(chan result, 1)
	cancel := s.d.cfg.Dialer.Dial(remote, func(p packet.Path, err error) { done <- result{p, err} })
	select {
	case r := <-done:
		return r.path, r.err
	case <-ctx.Done():
		cancel()
		if r := <-done; r.path != nil {
			r.path.Close()
		}
		return nil, context.Cause(ctx)
	}
}

// serve runs the handshake on a fresh path and then waits until the path ends.
// keep: the path belongs to the link now.
func (s *seed) serve(ctx context.Context, path packet.Path) (pause time.Duration, keep bool) {
	if s.resume(ctx, path) {
		s.wasUp()
		return s.watch(ctx, path, true)
	}
	for try := 1; try <= inits; try++ {
		if err := s.init.begin(path, time.Now()); err != nil {
			s.log.Error("no handshake can be begun", "reason", err)
			return maxRedial, false
		}
		p, err := s.await(ctx, answerWithin(try))
		switch {
		case ctx.Err() != nil:
			return 0, false
		case errors.Is(err, errClock):
			continue
		case err != nil:
			s.refused(err.Error())
			return refusedPause, false
		case p != nil:
			s.silent = 0
			p.seed, p.fate = s.address, s.fates.Ref()
			if !s.d.box.Ref().Offer(*p) {
				s.d.sessions.remove(p.mine)
				return 0, false
			}
			return s.watch(ctx, path, false)
		case !path.Alive():
			return 0, false
		}
		if s.silent++; s.silent == inits {
			trouble := fmt.Sprintf("Decryption error (wrong key?): %s accepts the connection but answers no handshake; "+
				"check that both sides have the same key, and that a node of this mesh listens there", s.address)
			s.log.Warn(trouble)
			s.d.troubles.note(s.address, trouble)
		}
	}
	return 0, false
}

// await waits for an answer that is worth something.
func (s *seed) await(ctx context.Context, within time.Duration) (*proved, error) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, nil
		case <-timer.C:
			return nil, nil
		case a := <-s.answers.C():
			if p, err := s.init.answer(a, time.Now()); p != nil || err != nil {
				return p, err
			}
		}
	}
}

// resume lets the link try the fresh path with the keys that it has. True: the
// peer knows them, and the path is the link's.
func (s *seed) resume(ctx context.Context, path packet.Path) bool {
	if s.peer == nil || !s.peer.box.Ref().Offer(dialled{path, s.fates.Ref()}) {
		return false
	}
	timer := time.NewTimer(resumeWithin)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C: // the link is being restarted
			return false
		case f := <-s.fates.C():
			if f.up || f.unknown || f.spare {
				return f.up
			}
		}
	}
}

// watch waits for what becomes of the handshake and then of the path; up: it is
// in use already.
func (s *seed) watch(ctx context.Context, path packet.Path, up bool) (pause time.Duration, keep bool) {
	began := time.Now()
	look := time.NewTicker(standbyLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return 0, up
		case f := <-s.fates.C():
			if f.peer != nil {
				s.peer = f.peer
			}
			switch {
			case f.self:
				s.refused("it is this node itself; leave it out of the seeds")
				return selfPause, false
			case f.refusal != "":
				s.refused(f.refusal)
				return refusedPause, false
			case f.spare:
				return standbyLook, false
			case f.unused:
				return 0, false
			case (f.lost || f.doubt) && f.path == path:
				return 0, true // the link closes it
			case f.up:
				up = true
				s.wasUp()
			}
		case <-look.C:
			if up {
				s.lastUp = time.Now()
			}
			switch {
			case !path.Alive(), !up && time.Since(began) > judgedWithin:
				return 0, false
			case up && s.peer != nil && !s.peer.directlyUp():
				return 0, true
			}
		}
	}
}

// wasUp lets the backoff begin anew.
func (s *seed) wasUp() {
	s.delay, s.problem, s.lastUp = minRedial, "", time.Now()
	s.d.troubles.note(s.address, "")
}

// refused logs why this node may not join, once per reason.
func (s *seed) refused(reason string) {
	s.d.troubles.note(s.address, reason)
	if s.problem != reason {
		s.problem = reason
		s.log.Error("the seed does not connect", "reason", reason)
	}
}

// trouble logs what keeps a path from being made, once per reason.
func (s *seed) trouble(what string, err error) {
	s.d.troubles.note(s.address, err.Error())
	if reason := what + ": " + err.Error(); s.problem != reason {
		s.problem = reason
		s.log.Warn(what, "reason", err)
	}
}
