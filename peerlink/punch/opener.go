package punch

import (
	"math/rand/v2"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
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
	// firstDelay takes its place before the first try, see delayOf.
	firstDelay = 20 * time.Millisecond
	minCalled  = 500 * time.Millisecond // between two calls of the peer
	// surveyTime is how long a node that has just started waits until it knows its
	// NAT: a try without is half a try.
	surveyTime = 1500 * time.Millisecond
	// A path that lasts no longer was not worth the change.
	flapTime = 30 * time.Second
	// lingerTime is how long a second path of another kind is looked for.
	lingerTime = 1500 * time.Millisecond
	// maxBeside is how often UDP is tried beside fake TCP that works.
	maxBeside   = 3
	besidePause = 20 * time.Second
	maxSkew     = 4
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
	local *Offer    // nil: not known yet
	asked time.Time // when it was looked for first
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
	won    time.Time   // when the last try succeeded
	got    packet.Path // by it
	beside int         // tries for UDP beside it
	heard  time.Time   // when the peer called last
	early  *Called     // it has called, and the own NAT is not known yet
	came   time.Time   // when early did
	result string      // of the last try, for people
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
		ready := o.asked.Add(surveyTime)
		switch {
		case o.early != nil:
			return ready
		case !o.look.Wanted || !o.mayCall():
			return time.Time{}
		case !o.surveyed() && o.next.Before(ready):
			return ready
		}
		return o.next
	case calling:
		if o.repeat.Before(o.due) {
			return o.repeat
		}
	case trying:
		next := o.run.next()
		if !o.linger.IsZero() && o.look.Direct != nil && o.linger.Before(next) {
			next = o.linger
		}
		if at := o.run.movedAt.Add(followWithin); o.besides() && at.Before(next) {
			next = at
		}
		return next
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
	return o.local != nil && len(o.local.Candidates) > 0 && o.look.Up && (o.look.Direct == nil || o.mayBeside()) && (o.cfg.UDP || o.cfg.TCP)
}

// mayBeside says whether a path over UDP is worth looking for although there is
// fake TCP that a try has brought: when that began, UDP may not have been ready.
func (o *Opener) mayBeside() bool {
	p := o.look.Direct
	return p != nil && p == o.got && p.Kind() == packet.RawTCP && o.cfg.UDP && o.beside < maxBeside && o.surveyed()
}

// surveyed says whether the own NAT is known, as far as it can be.
func (o *Opener) surveyed() bool {
	return o.local != nil && (o.local.NAT.Mapping != message.Unknown || !o.cfg.Search)
}

// ready says whether the own NAT need not be waited for any longer.
func (o *Opener) ready(now time.Time) bool {
	return o.surveyed() || now.Sub(o.asked) >= surveyTime
}

func (o *Opener) looked(now time.Time, l Look) {
	if o.asked.IsZero() {
		o.asked = now
	}
	if l.Local != nil {
		if o.local == nil || !l.Local.sameAs(*o.local) {
			o.tries, o.pause, o.beside = 0, 0, 0
			o.next = now.Add(o.jitter(o.delayOf(l.Local)))
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

// delayOf is how long what is known now may get better before a try. The first
// try waits for the own NAT and for nothing else, but for the ports of a NAT that
// steps: tries of many peers at once would use up what the others foresee.
func (o *Opener) delayOf(local *Offer) time.Duration {
	if o.try != 0 || o.surveyed() || local.NAT.Stepped() {
		return changeDelay
	}
	return firstDelay
}

// advance lets time do its part.
func (o *Opener) advance(now time.Time) {
	if o.state == idle {
		switch {
		case o.early != nil && o.ready(now):
			early := *o.early
			o.early = nil
			if now.Sub(o.came) < o.callEvery() { // else the peer has given up, or calls again
				o.beCalled(now, early)
			}
		case o.look.Wanted && o.mayCall() && o.ready(now) && !now.Before(o.next):
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
	case o.besides() && now.Sub(o.run.movedAt) >= followWithin:
		o.kept(now)
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
		o.beside = maxBeside
	}
	o.end()
	o.emit(Report{Path: o.look.Direct, Stats: stats, Tries: o.tries + 1})
	if now.Sub(o.won) > flapTime {
		o.tries, o.pause = 0, 0
	}
	o.won, o.got, o.result = now, o.look.Direct, ""
	o.next = now.Add(minPause)
	if o.got.Kind() == packet.RawTCP {
		o.next = now.Add(o.jitter(besidePause))
	}
}

// kept ends a try whose path the link keeps beside the one in use.
func (o *Opener) kept(now time.Time) {
	stats, path := o.run.stats, o.run.moved
	o.end()
	o.beside = maxBeside
	o.emit(Report{Path: path, Stats: stats, Tries: o.tries + 1})
}

func (o *Opener) fail(now time.Time, why string) {
	var stats Stats
	if o.run != nil {
		stats = o.run.stats
	}
	o.end()
	o.result = why
	if o.look.Direct != nil {
		o.beside++
	}
	o.later(now)
	o.emit(Report{Why: why, Stats: stats, Tries: o.tries, NextIn: o.next.Sub(now)})
}

// giveUp ends a try that will end alike until something changes.
func (o *Opener) giveUp(now time.Time, why string) {
	o.pause = maxPause
	o.fail(now, why)
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
