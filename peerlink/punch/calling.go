package punch

import (
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// begin starts a try, as the caller or as the one who is called.
func (o *Opener) begin(now time.Time, try uint64, called bool) {
	o.try, o.called, o.run, o.calls = try, called, nil, 0
	o.before, o.linger = o.look.Direct, time.Time{}
	o.own = Offer{}
	if o.local != nil {
		o.own = *o.local
		o.own.Candidates = slices.Clone(o.own.Candidates)
		o.own = o.own.with(nil)
	}
	within := min(max(4*o.look.RTT, minGather), maxGather)
	o.set(gathering, now, within)
	g := Gather{Try: try, Within: within, Fresh: o.cfg.UDP && o.own.NAT.Stepped()}
	if o.cfg.TCP && !o.hasTCP() {
		g.Hold4, g.Hold6 = len(o.own.Hosts(false)) > 0, len(o.own.Hosts(true)) > 0
		if called && !mayShare(o.own, o.peer) { // what can be of use is known already
			p := makePlan(o.own, o.peer, options{tcp: true, search: o.cfg.Search})
			g.Hold4, g.Hold6 = g.Hold4 && len(p.cross[0]) > 0, g.Hold6 && len(p.cross[1]) > 0
		}
		g.Ask = g.Hold4 && o.own.NAT.Mapping != message.Direct
	}
	if !g.Hold4 && !g.Hold6 && !g.Fresh {
		o.gathered(now)
		return
	}
	o.emit(g)
}

// besides says whether a path was found and the link stays where it was.
func (o *Opener) besides() bool {
	return o.before != nil && o.look.Direct == o.before && o.run.moved != nil
}

// hasTCP says whether fake TCP was there when the try began.
func (o *Opener) hasTCP() bool { return o.before != nil && o.before.Kind() == packet.RawTCP }

func (o *Opener) set(s state, now time.Time, within time.Duration) {
	o.state, o.since, o.due = s, now, now.Add(within)
}

// gathered goes on with what was learnt.
func (o *Opener) gathered(now time.Time) {
	if !o.called {
		o.set(calling, now, maxCalls*o.callEvery())
		o.call(now)
		return
	}
	o.emit(Answer{Try: o.try, Offer: o.own})
	o.set(waiting, now, max(o.look.RTT/2, o.delay))
}

// callEvery leaves the peer the time to gather too.
func (o *Opener) callEvery() time.Duration { return max(callEvery, 5*o.look.RTT) }

func (o *Opener) call(now time.Time) {
	o.calls++
	o.repeat = now.Add(o.callEvery())
	o.emit(Call{Try: o.try, Delay: o.look.RTT / 2, Offer: o.own})
}

// beCalled takes the peer's call.
func (o *Opener) beCalled(now time.Time, c Called) {
	switch {
	case c.Try == 0 || !o.cfg.UDP && !o.cfg.TCP || o.local == nil || len(o.local.Candidates) == 0:
		return // the peer calls again
	case !o.ready(now):
		o.early, o.came = &c, now
		return
	}
	switch {
	case o.state == idle:
	case c.Try == o.try && o.called:
		if o.state == waiting || o.state == trying {
			o.emit(Answer{Try: o.try, Offer: o.own}) // the first one was lost
		}
		return
	case !o.called && (o.state == gathering || o.state == calling):
		if o.cfg.Chooses {
			return // both called at once: the peer will answer ours
		}
		o.end()
	case now.Sub(o.since) < time.Second:
		return
	default: // the peer knows nothing of this try any more
		o.end()
	}
	if now.Sub(o.heard) < minCalled {
		return
	}
	o.heard, o.peer, o.delay = now, c.Offer, c.Delay
	o.begin(now, c.Try, true)
}

func (o *Opener) answered(now time.Time, a Answered) {
	if o.state != calling || a.Try != o.try {
		return
	}
	if a.Refused {
		o.giveUp(now, "direct paths are switched off there")
		return
	}
	o.peer = a.Offer
	o.probe(now)
}

// probe begins the probing: both sides do at the same moment.
func (o *Opener) probe(now time.Time) {
	opt := options{udp: o.cfg.UDP, tcp: o.cfg.TCP && !o.hasTCP(), search: o.cfg.Search}
	if o.own.NAT.Stepped() && o.peer.NAT.Stepped() {
		if opt.udp && opt.tcp { // each would use up the ports that the other foresees
			opt.udp = o.tries%2 == 0
			opt.tcp = !opt.udp
		}
		if !o.cfg.Chooses {
			opt.skew = o.tries / 2 % maxSkew
		}
	}
	p := makePlan(o.own, o.peer, opt)
	if p.empty() {
		why := p.hopeless
		if why == "" {
			why = "no address of the one could be reached from the other"
		}
		o.giveUp(now, why+o.kinds())
		return
	}
	length := o.cfg.Timeout
	if !p.birthday.IsValid() && !p.spread.IsValid() {
		length = min(length, quickWay+4*o.look.RTT)
	}
	o.set(trying, now, length)
	o.run = newRun(now, o.try, p, length, o.cfg.Chooses, o.cfg.Rand)
}
