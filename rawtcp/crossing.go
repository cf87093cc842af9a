package rawtcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// crossing is one call of Cross: a connection is opened to whichever of several
// remotes answers, from both sides ([simultaneous]). Of the actor, but for the
// dial in it.
type crossing struct {
	dial
	what  packet.Crossing
	began time.Duration
	hops  map[netip.Addr]hop // the way to each address of the remotes
	flows []*Flow            // one for each remote, and then those to ports that none foresaw
	tried int                // of the remotes
	left  int                // flows that may still be established
	reset int                // flows that are gone and were answered with resets
	won   bool
}

const (
	// MaxRemotes bounds the remotes of one Cross.
	MaxRemotes = 512
	// A search over many remotes sends a SYN every crossingPace; the first few
	// remotes, the likely ones, get theirs at once.
	crossingPace  = 2 * time.Millisecond
	crossingBurst = 8
)

// cross starts the connections of x.
func (c *control) cross(now time.Duration, x *crossing) {
	x.began = now
	if x.what.Timeout <= 0 {
		x.what.Timeout = c.t.cfg.DialTimeout
	}
	err := c.mayCross(x)
	if err == nil {
		x.hops = make(map[netip.Addr]hop)
		for _, remote := range x.what.Remotes {
			if failure := c.approach(now, x, unmapped(remote)); failure != nil && err == nil {
				err = failure
			}
		}
	}
	if x.tried = len(x.flows); x.tried == 0 {
		if !errors.Is(err, net.ErrClosed) {
			err = fmt.Errorf("opening a connection from both sides: %w", err)
		}
		x.answer(nil, err)
		return
	}
	x.from.crossings = append(x.from.crossings, x)
	c.publish() // before an answer can come
	for _, f := range x.flows {
		c.step(now, f, event{kind: tick})
	}
}

func (c *control) mayCross(x *crossing) error {
	switch n := len(x.what.Remotes); {
	case x.cancelled.Load():
		return net.ErrClosed
	case n == 0 || n > MaxRemotes:
		return fmt.Errorf("%d addresses, 1 to %d are allowed", n, MaxRemotes)
	case len(c.flows)+n > c.t.cfg.MaxFlows:
		return fmt.Errorf("there are %d connections already, %d more are not allowed", len(c.flows), n)
	}
	return nil
}

// approach adds the connection to one remote, which sends its SYN when it is due.
func (c *control) approach(now time.Duration, x *crossing, remote netip.AddrPort) error {
	if err := checkRemote(remote); err != nil {
		return fmt.Errorf("%v: %w", remote, err)
	}
	if err := x.from.usable(remote.Addr()); err != nil {
		return err
	}
	h := x.hops[remote.Addr()]
	if h == nil {
		var err error
		if h, err = c.t.wire.lookup(netip.Addr{}, remote.Addr()); err != nil {
			return err
		}
		x.hops[remote.Addr()] = h
	}
	if !h.Ready() || !h.Source().IsValid() {
		return fmt.Errorf("no route to %v", remote.Addr())
	}
	tu := newTuple(netip.AddrPortFrom(h.Source(), x.from.Port()), remote)
	if c.flows[tu] != nil {
		return fmt.Errorf("there is a connection from local port %d to %v already", tu.localPort, remote)
	}
	start := now + time.Duration(max(len(x.flows)+1-crossingBurst, 0))*crossingPace
	open := simultaneous{pace: time.Duration(len(x.what.Remotes)) * crossingPace}
	if x.what.Hops != 0 {
		open.hops, open.full = x.what.Hops, start+x.what.Shy
	}
	c.join(now, x, tu, open, start)
	return nil
}

// join adds a connection to x, which does nothing of its own accord before start.
func (c *control) join(now time.Duration, x *crossing, tu tuple, open simultaneous, start time.Duration) *Flow {
	f := c.t.dialledFlow(tu, x.hops[tu.remoteAddr()], nil, now)
	m := &f.machine
	m.began, m.deadline, m.giveUp = x.began, start, x.began+x.what.Timeout
	m.cross = &open
	f.cross, f.port = x, x.from
	x.from.flows++
	x.flows = append(x.flows, f)
	x.left++
	c.flows[tu] = f
	c.dirty = true
	return f
}

// crossed handles that f is established: if it is the first of its crossing, the
// others are forgotten, but those that the peer may take for the first.
func (c *control) crossed(now time.Duration, f *Flow) {
	x := f.cross
	f.cross = nil
	x.left--
	if x.won {
		f.born = now // see Adopt
		return
	}
	x.won = true
	x.from.forget(x)
	f.dial = &x.dial
	c.follow(f)
	for _, other := range x.flows {
		switch m := &other.machine; {
		case other.cross == nil:
		case m.cross.answered:
			m.cross.quiet = true
		default:
			c.remove(other, nil)
		}
	}
	if !x.answer(f, nil) {
		f.Close()
	}
}

// missed handles that f will not be established.
func (c *control) missed(f *Flow, why error) {
	x := f.cross
	f.cross = nil
	x.left--
	if f.machine.cross.resets > 0 {
		x.reset++
	}
	f.machine.state = closed
	if x.left > 0 || x.won {
		return
	}
	x.from.forget(x)
	if errors.Is(why, net.ErrClosed) {
		x.answer(nil, why)
		return
	}
	tried := x.flows[0].Remote().String()
	if n := x.tried; n > 1 {
		tried = fmt.Sprintf("any of %d addresses such as %s", n, tried)
	}
	err := fmt.Errorf("no connection from both sides with %s within %v", tried, x.what.Timeout)
	if x.reset > 0 {
		err = fmt.Errorf("%w: %d answered with a reset", err, x.reset)
	}
	x.answer(nil, err)
}
