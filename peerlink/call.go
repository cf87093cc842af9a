package peerlink

import (
	"math/rand/v2"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/punch"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// calls is a link's search for a direct path: a [punch.Opener] decides, the link
// carries out. Its zero value takes no part in calls.
type calls struct {
	opener *punch.Opener
	timer  *time.Timer

	// What the try under way has opened.
	sockets []packet.Socket
	held    [2]packet.Held       // IPv4, IPv6
	cancels []func()             // of connections under way
	paths   map[packet.Path]bool // nobody's yet
	asking  int                  // questions that gathering waits for

	asked time.Time // when Candidates was called last
}

const (
	// fewPeers is a mesh in which every pair may have a direct path at once. In a
	// larger one there must be traffic.
	fewPeers       = 16
	candidateEvery = time.Second
)

func (l *link) newCalls() {
	cfg := l.d.cfg
	udp := cfg.UDP != nil && cfg.Transport != packet.RawTCP
	tcp := cfg.Cross != nil && cfg.Transport != packet.UDP
	if !cfg.P2P || cfg.Candidates == nil || !udp && !tcp {
		return
	}
	l.calls.paths = map[packet.Path]bool{}
	l.calls.timer = time.NewTimer(time.Hour)
	l.calls.opener = punch.New(punch.Config{
		Chooses: less(cfg.ID, l.peer.id), UDP: udp, TCP: tcp, Search: cfg.NATDetection, Timeout: cfg.P2PTimeout,
		Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	})
}

// due is when the search wants to go on; nil: there is none.
func (c *calls) due() <-chan time.Time {
	if c.opener == nil {
		return nil
	}
	return c.timer.C
}

// LocalChanged says that what Config.Candidates returns has changed: searches for
// direct paths that waited for it begin, but in a large mesh, where nobody waits.
// Any goroutine may call it; it does not block.
func (d *Directory) LocalChanged() {
	if d.crowded() {
		return
	}
	for _, p := range d.Peers() {
		p.box.Ref().Offer(elsewhere{}) // one that is lost is made up for within candidateEvery
	}
}

// search tells the opener how things are and sets its alarm.
func (l *link) search(now time.Time) {
	c := &l.calls
	if c.opener == nil {
		return
	}
	look := punch.Look{Up: l.m.usable, RTT: l.m.meter.RTT(), Wanted: l.wantsDirect(now)}
	if l.m.usable && l.m.path.Kind() != packet.Relay {
		look.Direct = l.m.path
	}
	if now.Sub(c.asked) >= candidateEvery {
		c.asked = now
		local := l.d.cfg.Candidates()
		look.Local = &local
	}
	l.opener(now, look)
	if next := c.opener.Next(); next.IsZero() {
		c.timer.Stop()
	} else {
		c.timer.Reset(max(next.Sub(now), time.Millisecond))
	}
}

func (l *link) wantsDirect(now time.Time) bool {
	return l.traffic.goesOn(now) || !l.d.crowded()
}

// crowded says whether there are more than fewPeers.
func (d *Directory) crowded() bool { return len(d.Peers()) > fewPeers }

// opener lets the opener take a step and does what it wants.
func (l *link) opener(now time.Time, in punch.Input) {
	if l.calls.opener == nil {
		return
	}
	for _, e := range l.calls.opener.Step(now, in) {
		l.doFor(now, e)
	}
}

// doFor carries out one effect of the opener.
func (l *link) doFor(now time.Time, e punch.Effect) {
	c := &l.calls
	switch e := e.(type) {
	case punch.Gather:
		l.gather(now, e)
	case punch.Call:
		l.say(wire.Call{Try: e.Try, Delay: e.Delay, Offer: e.Offer})
	case punch.Answer:
		l.say(wire.CallAnswer{Call: wire.Call{Try: e.Try, Offer: e.Offer}})
	case punch.Open:
		sockets, err := l.d.cfg.UDP.Sockets(e.N, e.V6)
		if err != nil {
			l.log.Debug("not all sockets for the search of a port could be opened", "reason", err)
		}
		c.sockets = append(c.sockets, sockets...)
		l.opener(now, punch.Got{Try: e.Try, Sockets: sockets})
	case punch.Probe:
		l.sendProbe(e)
	case punch.Cross:
		l.cross(e)
	case punch.Dial:
		c.cancels = append(c.cancels, l.d.cfg.Cross.Dial(e.Remote, l.crossedTo(e.Try)))
	case punch.Move:
		l.m.opened(now, e.Path, e.RTT)
		l.carryOut(now)
	case punch.End:
		l.letGo()
	case punch.Report:
		l.logTry(e)
	}
}

// say sends a frame to the peer on the way that there is.
func (l *link) say(f wire.Frame) {
	if l.m.current != nil && l.m.path != nil {
		l.control(l.m.current.sealer, l.m.path, f)
	}
}

// sendProbe sends a probe aside of the session's stream.
func (l *link) sendProbe(e punch.Probe) {
	s := l.m.newest()
	if s == nil {
		return
	}
	path := e.Path
	if path == nil {
		p, err := l.d.cfg.UDP.Through(e.Socket, e.Remote)
		if err != nil {
			l.log.Debug("no probe can be sent", "path", e.Remote, "reason", err)
			return
		}
		path = p
		l.calls.paths[p] = true
	}
	probe := wire.Probe{Try: e.Try, Seq: e.Seq}
	if e.Hops == 0 {
		l.aside(s.sealer, path, probe)
		return
	}
	if h, ok := path.(packet.Hopper); ok {
		l.asideHops(s.sealer, path, h, e.Hops, probe)
	}
}

// probed takes what came aside of the stream: questions are answered whoever
// began the try, because the peer may be ahead of us.
func (l *link) probed(now time.Time, msg controlled, frames []wire.Frame) {
	s := l.m.find(msg.in)
	if s == nil || !s.confirmed || msg.path.Kind() == packet.Relay {
		return
	}
	for _, f := range frames {
		switch f := f.(type) {
		case wire.Probe:
			// Should the peer move there, it is as much on demand as what this side opens;
			// what the link has already may be a seed's.
			if !l.m.keeps(msg.path) {
				l.m.punched[msg.path] = true
			}
			l.aside(s.sealer, msg.path, wire.Probed{Probe: f, Seen: msg.path.Remote()})
			l.opener(now, punch.Asked{Try: f.Try, Path: msg.path})
		case wire.Probed:
			l.opener(now, punch.Echoed{Try: f.Try, Seq: f.Seq, Path: msg.path})
		}
	}
}

// beCalled takes calls and their answers.
func (l *link) beCalled(now time.Time, frames []wire.Frame) {
	for _, f := range frames {
		switch f := f.(type) {
		case wire.Call:
			if l.calls.opener == nil {
				l.say(wire.CallAnswer{Code: wire.CallNotNow, Call: wire.Call{Try: f.Try}})
				continue
			}
			l.opener(now, punch.Called{Try: f.Try, Delay: f.Delay, Offer: f.Offer})
		case wire.CallAnswer:
			l.opener(now, punch.Answered{Try: f.Try, Refused: f.Code != wire.CallTaken, Offer: f.Offer})
		}
	}
}

// cross opens fake TCP from both sides.
func (l *link) cross(e punch.Cross) {
	family := 0
	if e.V6 {
		family = 1
	}
	if held := l.calls.held[family]; held != nil {
		l.calls.cancels = append(l.calls.cancels, held.Cross(e.Crossing, l.crossedTo(e.Try)))
	}
}

// crossedTo brings a connection to this link, from wherever it is made.
func (l *link) crossedTo(try uint64) func(packet.Path, error) {
	box := l.peer.box.Ref()
	return func(p packet.Path, err error) {
		if err == nil && !box.Offer(crossed{try: try, path: p}) {
			p.Close()
		}
	}
}

// gotCrossed takes a connection, if the try that wanted it goes on.
func (l *link) gotCrossed(now time.Time, msg crossed) {
	if o := l.calls.opener; o == nil || msg.try != o.Try() || !o.Busy() {
		msg.path.Close()
		return
	}
	l.calls.paths[msg.path] = true
	l.opener(now, punch.Crossed{Try: msg.try, Path: msg.path})
}

// letGo gives back what the try has opened and the link does not use.
func (l *link) letGo() {
	c := &l.calls
	for _, cancel := range c.cancels {
		cancel()
	}
	for p := range c.paths {
		switch {
		case l.m.keeps(p):
		case p.Kind() == packet.UDP:
			l.d.cfg.UDP.Forget(p) // it may be the path of another peer
		default:
			p.Close()
		}
	}
	for i, held := range c.held {
		if held != nil {
			held.Release()
			c.held[i] = nil
		}
	}
	if len(c.sockets) > 0 {
		l.d.cfg.UDP.Release(c.sockets)
	}
	c.cancels, c.sockets, c.asking = nil, nil, 0
	clear(c.paths)
}

func (l *link) logTry(r punch.Report) {
	switch {
	case r.Path != nil:
		l.log.Info("direct path opened", "path", pathName(r.Path), "probes", r.Stats.Probes, "tries", r.Tries,
			"took", r.Stats.Took.Round(time.Millisecond).String())
	case l.m.usable && l.m.path.Kind() != packet.Relay:
		l.log.Debug("no second direct path", "reason", r.Why, "probes", r.Stats.Probes)
	default:
		l.log.Info("no direct path", "reason", r.Why, "probes", r.Stats.Probes, "tries", r.Tries,
			"next_try", r.NextIn.Round(time.Second).String())
	}
}

// whyNotDirect says in words why the link goes through a relay.
func (l *link) whyNotDirect(now time.Time, via string) string {
	if l.calls.opener != nil {
		return l.calls.opener.Why(now)
	}
	if !l.d.cfg.P2P {
		return "direct paths are switched off, traffic goes through " + via
	}
	return "no direct path is known, traffic goes through " + via
}
