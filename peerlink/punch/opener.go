package punch

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// Config is what an [Opener] needs to know once.
type Config struct {
	// Chooses: of the two nodes this one has the smaller ID. It chooses among
	// several paths, and its call counts if both call at once.
	Chooses bool
	UDP     bool // paths over UDP can be opened
	TCP     bool // fake TCP can be
	Search  bool // foresee and search the ports of symmetric NATs
	// Timeout bounds the probing of one try. 0: [DefaultTimeout].
	Timeout time.Duration
	Rand    *rand.Rand
}

// DefaultTimeout leaves the birthday search the time that it needs.
const DefaultTimeout = 5 * time.Second

const (
	minPause  = 2 * time.Second
	maxPause  = 10 * time.Minute
	quickWay  = 2500 * time.Millisecond // of a try in which nothing is searched
	callEvery = 700 * time.Millisecond
	maxCalls  = 4
	minGather = 400 * time.Millisecond
	maxGather = 1500 * time.Millisecond
	// changeDelay gathers what changes together: addresses come one by one.
	changeDelay = 500 * time.Millisecond
	minCalled   = 500 * time.Millisecond // between two calls of the peer
	// A path that lasts no longer was not worth the change.
	flapTime = 30 * time.Second
	// lingerTime is how long a second path of another kind is looked for.
	lingerTime = 1500 * time.Millisecond
	maxSkew    = 4
)

// state is what an Opener is doing.
type state uint8

const (
	idle      state = iota
	gathering       // what others see of the own ports
	calling         // the answer is awaited
	waiting         // the answer is on its way to the peer
	trying          // both probe
)

// Opener looks for a direct path to one peer, whenever there is a reason and not
// too often. It belongs to one goroutine. Its zero value is not usable: see [New].
type Opener struct {
	cfg   Config
	local *Local // nil: not known yet
	look  Look

	state  state
	called bool      // the peer has called; else we
	try    uint64    // names what is under way
	since  time.Time // when the state began
	due    time.Time // when the state ends by itself
	repeat time.Time // when to call again
	calls  int
	delay  time.Duration
	own    Offer // as said in this try
	peer   Offer // as heard last
	run    *run
	before packet.Path // the direct path when the try began
	linger time.Time   // until when there may be a second path; zero: there is no first

	tries  int // without success, in a row
	next   time.Time
	pause  time.Duration
	won    time.Time // when the last try succeeded
	heard  time.Time // when the peer called last
	result string    // of the last try, for people
	out    []Effect
}

// New returns an Opener that has tried nothing.
func New(cfg Config) *Opener {
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	return &Opener{cfg: cfg}
}

// Next is when [Opener.Step] wants a [Look], whatever else happens; the zero time:
// never.
func (o *Opener) Next() time.Time {
	switch o.state {
	case idle:
		if o.look.Wanted && o.mayCall() {
			return o.next
		}
		return time.Time{}
	case calling:
		if o.repeat.Before(o.due) {
			return o.repeat
		}
	case trying:
		if next := o.run.next(); o.linger.IsZero() || o.look.Direct == nil || next.Before(o.linger) {
			return next
		}
		return o.linger
	}
	return o.due
}

// Busy says whether a try is under way.
func (o *Opener) Busy() bool { return o.state != idle }

// Try is the name of the try that is under way.
func (o *Opener) Try() uint64 { return o.try }

// Step takes what happened and returns what is to be done.
func (o *Opener) Step(now time.Time, in Input) []Effect {
	switch in := in.(type) {
	case Look:
		o.looked(now, in)
	case Called:
		o.beCalled(now, in)
	case Answered:
		o.answered(now, in)
	case Gathered:
		if o.state == gathering && in.Try == o.try {
			o.own = o.own.with(in.Candidates)
			if in.Done {
				o.gathered(now)
			}
		}
	case Got:
		if o.state == trying && in.Try == o.try {
			o.run.got(now, in.Sockets)
		}
	case Asked:
		if o.state == trying && in.Try == o.try {
			o.run.asked(now, in.Path)
		}
	case Echoed:
		if o.state == trying && in.Try == o.try {
			o.run.echoed(now, in.Seq, in.Path)
		}
	case Crossed:
		if o.state == trying && in.Try == o.try {
			o.run.stats.Crossed++
			o.run.add(now, in.Path)
		}
	}
	o.advance(now)
	out := o.out
	o.out = nil
	return out
}

func (o *Opener) emit(e Effect) { o.out = append(o.out, e) }

func (o *Opener) mayCall() bool {
	return o.local != nil && len(o.local.Candidates) > 0 && o.look.Up && o.look.Direct == nil && (o.cfg.UDP || o.cfg.TCP)
}

func (o *Opener) looked(now time.Time, l Look) {
	if l.Local != nil {
		if o.local == nil || !o.local.sameAs(*l.Local) {
			o.tries, o.pause = 0, 0
			o.next = now.Add(o.jitter(changeDelay))
		}
		o.local = l.Local
	}
	lost := o.look.Direct != nil && l.Direct == nil
	l.Local = nil
	o.look = l
	if lost && now.Sub(o.won) < flapTime {
		o.later(now)
	}
}

// advance lets time do its part.
func (o *Opener) advance(now time.Time) {
	if o.state == idle {
		if o.look.Wanted && o.mayCall() && !now.Before(o.next) {
			o.begin(now, o.cfg.random(), false)
		}
		return
	}
	if o.state != trying && !o.look.Up {
		o.fail(now, "the peer is out of reach")
		return
	}
	switch o.state {
	case gathering:
		if !now.Before(o.due) {
			o.gathered(now)
		}
	case calling:
		switch {
		case !now.Before(o.due):
			o.fail(now, "the peer does not answer the call")
		case !now.Before(o.repeat):
			o.call(now)
		}
	case waiting:
		if !now.Before(o.due) {
			o.probe(now)
		}
	}
	if o.state == trying {
		o.goOn(now)
	}
}

// goOn lets the probing go on, and ends it.
func (o *Opener) goOn(now time.Time) {
	switch p := o.look.Direct; {
	case p != nil && p != o.before:
		o.run.settle(p)
		if o.linger.IsZero() {
			o.linger = now.Add(lingerTime)
		}
	case o.run.inUse != nil: // it did not last
		o.run.unsettle()
		o.linger = time.Time{}
	}
	o.run.tick(now)
	o.out = append(o.out, o.run.out...)
	o.run.out = nil
	over := !now.Before(o.run.until)
	switch {
	case o.run.inUse != nil && (over || !now.Before(o.linger) || o.run.complete()):
		o.succeed(now)
	case over:
		o.fail(now, o.unanswered())
	}
}

func (c Config) random() uint64 {
	for {
		if n := c.Rand.Uint64(); n != 0 {
			return n
		}
	}
}

// begin starts a try, as the caller or as the one who is called.
func (o *Opener) begin(now time.Time, try uint64, called bool) {
	o.try, o.called, o.run, o.calls = try, called, nil, 0
	o.before, o.linger = o.look.Direct, time.Time{}
	o.own = Offer{}
	if o.local != nil {
		o.own = o.local.Offer
		o.own.Candidates = slices.Clone(o.own.Candidates)
		o.own = o.own.with(nil)
	}
	within := min(max(4*o.look.RTT, minGather), maxGather)
	o.set(gathering, now, within)
	g := Gather{Try: try, Within: within, Fresh: o.cfg.UDP && o.own.NAT.stepped()}
	if o.cfg.TCP {
		g.Hold4, g.Hold6 = len(o.own.hosts(false)) > 0, len(o.own.hosts(true)) > 0
		g.Ask = g.Hold4 && o.own.NAT.Mapping != Direct
	}
	if !g.Hold4 && !g.Hold6 && !g.Fresh {
		o.gathered(now)
		return
	}
	o.emit(g)
}

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
	if c.Try == 0 || !o.cfg.UDP && !o.cfg.TCP || o.local == nil || len(o.local.Candidates) == 0 {
		return // the peer calls again
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
		o.fail(now, "direct paths are switched off there")
		o.next, o.pause = now.Add(maxPause), maxPause
		return
	}
	o.peer = a.Offer
	o.probe(now)
}

// probe begins the probing: both sides do at the same moment.
func (o *Opener) probe(now time.Time) {
	opt := options{udp: o.cfg.UDP, tcp: o.cfg.TCP, search: o.cfg.Search}
	if o.own.NAT.stepped() && o.peer.NAT.stepped() {
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
		o.fail(now, why)
		o.next, o.pause = now.Add(maxPause), maxPause // nothing changes by trying
		return
	}
	length := o.cfg.Timeout
	if p.sockets == 0 && !p.spread.IsValid() {
		length = min(length, quickWay+4*o.look.RTT)
	}
	hops := uint8(0)
	if o.local != nil {
		hops = o.local.Hops
	}
	o.set(trying, now, length)
	o.run = newRun(now, o.try, p, length, hops, o.cfg.Chooses, o.cfg.Rand)
}

func (o *Opener) end() {
	if o.state != idle {
		o.emit(End{Try: o.try})
	}
	o.state, o.run = idle, nil
}

func (o *Opener) succeed(now time.Time) {
	stats := o.run.stats
	if p := o.run.second(); p != nil {
		o.emit(Move{Path: p.path, RTT: p.rtt})
	}
	o.end()
	o.emit(Report{Path: o.look.Direct, Stats: stats, Tries: o.tries + 1})
	if now.Sub(o.won) > flapTime {
		o.tries, o.pause = 0, 0
	}
	o.won, o.result = now, ""
	o.next = now.Add(minPause)
}

func (o *Opener) fail(now time.Time, why string) {
	var stats Stats
	if o.run != nil {
		stats = o.run.stats
	}
	o.end()
	o.result = why
	o.later(now)
	o.emit(Report{Why: why, Stats: stats, Tries: o.tries, NextIn: o.next.Sub(now)})
}

// later doubles the pause before the next try.
func (o *Opener) later(now time.Time) {
	o.tries++
	o.pause = min(max(2*o.pause, minPause), maxPause)
	o.next = now.Add(o.jitter(o.pause))
}

// jitter keeps many nodes that lost something together from trying together.
func (o *Opener) jitter(d time.Duration) time.Duration {
	return d*3/4 + time.Duration(o.cfg.Rand.Int64N(int64(d)/2))
}
