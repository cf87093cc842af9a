package peerlink

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// line is a path of a world: it answers as long as it lives, after a while, with
// some loss.
type line struct {
	way
	rtt    time.Duration
	loss   float64 // of each direction
	silent bool    // it swallows everything
	remote netip.AddrPort
	narrow narrow
}

func (l *line) Remote() netip.AddrPort { return l.remote }

// offered is a way through l, a seed that reaches the peer.
func (l *line) offered() relayWay { return relayWay{path: l, seed: true, reaches: true, rtt: l.rtt} }

// world is a peer that answers a machine over lines, and traffic.
type world struct {
	*bench
	rng     *rand.Rand
	answers []answerDue
	moves   []packet.Path // the paths that were published, one after the other
	moved   []time.Time
	aways   []away
	asked   map[packet.Path]int // questions
	asides  map[packet.Path]int // of them aside of the stream
	tries   int                 // handshakes begun
	traffic func() (up, down bool)
	bulk    func() int // large datagrams of the next step; nil: none
	came    uint64     // of ours at the peer
	step    time.Duration
	ticked  time.Time
}

type answerDue struct {
	at    time.Time
	took  time.Duration
	path  *line
	aside bool
	pong  wire.Pong
}

func newWorld(b *bench) *world {
	return &world{
		bench: b, rng: rand.New(rand.NewPCG(1, 2)), asked: map[packet.Path]int{}, asides: map[packet.Path]int{}, step: 10 * time.Millisecond,
		traffic: func() (bool, bool) { return false, false },
	}
}

// Traffic of a world.
func bothWays() (up, down bool) { return true, true }
func downOnly() (up, down bool) { return false, true }

func (w *world) passes(l *line) bool {
	return l != nil && !l.silent && !l.dead && w.rng.Float64() >= l.loss
}

// run lets time pass in small steps; the machine ticks when its link would.
func (w *world) run(d time.Duration) {
	s := w.m.newest()
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(w.step)
		if w.m.current != nil {
			w.m.current.created = w.now // no rekey: nobody is there to answer it
		}
		up, down := w.traffic()
		l, _ := w.m.path.(*line)
		if up && w.m.usable {
			w.m.current.sealer.counter.Add(1)
			w.o.sent++
		}
		if down && w.passes(l) {
			w.rx, w.o.lastData = w.now, w.now
		}
		w.carry(l)
		w.due(s)
		every := tickIdle
		if w.m.pressing(w.now) {
			every = quickInterval
		} else if w.m.busy() {
			every = tickBusy
		}
		if w.now.Sub(w.ticked) >= every {
			w.ticked = w.now
			w.o.lastRx = w.rx
			w.take(func() { w.m.tick(w.now, w.o) })
		}
	}
}

// due delivers the answers whose time has come.
func (w *world) due(s *session) {
	waiting := w.answers
	w.answers = nil
	for _, a := range waiting {
		if a.at.After(w.now) {
			w.answers = append(w.answers, a)
			continue
		}
		w.take(func() {
			clock := int64(a.took)
			if a.aside {
				w.m.heardAside(w.now, s.in, a.path, []wire.Frame{a.pong}, clock)
			} else {
				if w.m.path == a.path {
					w.rx = w.now
				}
				w.m.heard(w.now, s.in, a.path, []wire.Frame{a.pong}, clock)
			}
		})
	}
}

// take does f and lets the peer see what the machine sends.
func (w *world) take(f func()) {
	w.bench.step(f)
	for _, e := range w.all {
		switch e := e.(type) {
		case send:
			w.ask(e.path, e.frame, false)
		case sendAside:
			w.ask(e.path, e.frame, true)
		case publish:
			if n := len(w.moves); e.path != nil && (n == 0 || w.moves[n-1] != e.path) {
				w.moves, w.moved = append(w.moves, e.path), append(w.moved, w.now)
			}
		case away:
			w.aways = append(w.aways, e)
		case initiate:
			w.tries++
		}
	}
}

func (w *world) ask(p packet.Path, f wire.Frame, aside bool) {
	ping, ok := f.(wire.Ping)
	if !ok {
		return
	}
	if w.asked[p]++; aside {
		w.asides[p]++
	}
	if l, ok := p.(*line); ok && w.passes(l) && w.rng.Float64() >= l.loss && w.rng.Float64() >= l.narrow.loses {
		took := l.rtt + l.narrow.wait(w.now)
		pong := wire.Pong{ID: ping.ID}
		if s := w.m.newest(); w.bulk != nil && s != nil {
			pong.Highest, pong.Received = s.sealer.counter.Load(), w.came
		}
		w.answers = append(w.answers, answerDue{w.now.Add(took), took, l, aside, pong})
	}
}
