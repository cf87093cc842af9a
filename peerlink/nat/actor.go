package nat

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/pion/stun/v3"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// actor is one run of a [Prober].
type actor struct {
	*Prober
	log       hclog.Logger
	asks      asks
	asked     int // open questions of Ask
	responder responder
	post      post
	names     names
	plan      plan
	survey    *survey // nil: none under way
	sockets   []packet.Socket
	tcp       *tcpSurvey             // nil: none under way
	tcpKnown  Behaviour              // of TCP, in this network
	second    map[bool]packet.Socket // by family: the socket of answers from another port
	lifetime  measurement
	hosts     []netip.Addr
	knew      map[netip.Addr]bool // mesh servers known when the last survey began
	warned    bool
	logged    string // the last line of the log about findings
}

// maxAsks bounds the open questions of Ask: a birthday search asks for none of
// its sockets, so a few per peer that is being called.
const maxAsks = 512

func newActor(p *Prober) *actor {
	return &actor{
		Prober: p, log: p.cfg.Log, post: post{seal: p.cfg.Seal, train: packet.NewTrain()},
		names: names{resolve: p.cfg.Resolve, servers: p.cfg.Public}, second: map[bool]packet.Socket{},
	}
}

// Run works until ctx ends.
func (a *actor) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var lookups sync.WaitGroup
	defer lookups.Wait()
	defer cancel()
	defer a.giveUp()

	now := time.Now()
	a.hosts = a.cfg.Hosts()
	a.plan.begin(now)
	a.publish(*a.Report())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-a.box.C():
			a.take(time.Now(), m)
		case <-a.changed.C():
			a.networkChanged(time.Now())
		case <-a.look.C():
			a.looked(time.Now())
		case <-timer.C:
		}
		now := time.Now()
		a.transmit(now)
		a.work(now)
		a.names.look(ctx, &lookups, a.box.Ref())
		timer.Reset(a.wait(now))
	}
}

// giveUp ends what an actor that goes away has begun.
func (a *actor) giveUp() {
	a.endSurvey()
	a.endTCP()
	a.stopLifetime()
	for _, o := range slices.Clone(a.asks.open) {
		o.done(time.Now(), answer{outcome: NotTried})
	}
	if a.cfg.Pather != nil {
		for _, s := range a.second {
			a.cfg.Pather.Release([]packet.Socket{s})
		}
	}
}

func (a *actor) take(now time.Time, m ToProber) {
	switch m := m.(type) {
	case Heard:
		a.heard(now, m)
	case question:
		if a.asked >= maxAsks {
			m.done(Answer{Err: errTooManyAsks})
			return
		}
		a.asked++
		a.asks.begin(now, &ask{path: m.path, mesh: true, done: func(_ time.Time, got answer) {
			a.asked--
			if got.outcome != Answered || got.message.Class != Success {
				m.done(Answer{Err: ErrSilent})
				return
			}
			m.done(Answer{Mapped: got.message.Mapped, RTT: got.rtt})
		}})
	case dialled:
		a.dialled(now, m)
	case resolved:
		a.names.take(now, m)
		a.plan.survey = now
	}
}

// heard takes a STUN message: an answer to one of our questions, or the question
// of a node of the mesh.
func (a *actor) heard(now time.Time, h Heard) {
	m, err := ParseMessage(h.Message)
	if err != nil || h.Path.Kind() == packet.Relay { // a relay's address is not the asker's
		return
	}
	switch m.Class {
	case Success, Failure:
		if o := a.asks.byID[m.ID]; o != nil && o.mesh == h.Mesh {
			a.asks.forget(o)
			remote := h.Path.Remote()
			from := netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
			o.done(now, answer{outcome: Answered, message: m, from: from, rtt: now.Sub(o.lastSent(m.ID))})
		}
	case Request, Indication:
		if h.Mesh {
			a.respond(m, h.Path)
		}
	}
}

// respond answers a node of the mesh.
func (a *actor) respond(m Message, path packet.Path) {
	var f facts
	udp := path.Kind() == packet.UDP && a.cfg.Pather != nil
	if udp && m.Class == Request && a.asks.byID[m.ID] == nil { // not our own question, by hairpin
		f.otherPort = a.secondPort(path.Remote())
		if m.Change&ChangeAddress != 0 {
			for _, s := range a.cfg.Servers() {
				if s.mesh() {
					f.others = append(f.others, netip.AddrPortFrom(s.Addr.Addr().Unmap(), s.Addr.Port()))
				}
			}
		}
	}
	r, ok := a.responder.answer(a.cfg.Clock(), m, path.Remote(), f)
	if !ok {
		return
	}
	if r.to.IsValid() {
		if !udp {
			return // only UDP has other ways than the one that the question came
		}
		var socket packet.Socket
		if r.otherPort {
			socket = a.second[r.to.Addr().Is6()]
		}
		var err error
		if path, err = a.cfg.Pather.Through(socket, r.to); err != nil {
			return
		}
	}
	a.post.send(path, true, r.message)
}

// secondPort is the port of the second socket of remote's family, opened when the
// first question comes, so that nodes that nobody asks have none.
func (a *actor) secondPort(remote netip.AddrPort) uint16 {
	v6 := remote.Addr().Unmap().Is6()
	socket, ok := a.second[v6]
	if !ok {
		opened, err := a.cfg.Pather.Sockets(1, v6)
		if err != nil || len(opened) == 0 {
			return 0
		}
		socket = opened[0]
		a.second[v6] = socket
	}
	path, err := a.cfg.Pather.Through(socket, remote)
	if err != nil {
		return 0
	}
	return path.Local().Port()
}

// transmit sends the questions that are due and gives up those that nobody answers.
func (a *actor) transmit(now time.Time) {
	send, silent := a.asks.due(now)
	for _, o := range send {
		m := Message{Class: Request, ID: stun.NewTransactionID(), Change: o.change}
		if o.asker.IsValid() {
			m.Class, m.Asker = Indication, o.asker
		}
		if o.mesh {
			m.Time = a.cfg.Clock()
		}
		a.asks.sent(now, o, m.ID)
		a.post.send(o.path, o.mesh, m)
	}
	for _, o := range silent {
		o.done(now, answer{outcome: Silent})
	}
	if len(silent) > 0 {
		a.transmit(now) // what was asked instead
	}
}

// idle is how long the loop waits when there is nothing to do.
const idle = time.Hour

// wait is how long the loop has nothing to do.
func (a *actor) wait(now time.Time) time.Duration {
	wait := idle
	times := []time.Time{a.plan.next(), a.asks.next(), a.lifetime.at}
	if a.survey != nil { // what is planned has to wait
		times[0] = a.survey.tellAt()
	}
	if a.tcp != nil {
		times[0] = a.tcp.until
	}
	for _, t := range times {
		if !t.IsZero() {
			wait = min(wait, t.Sub(now))
		}
	}
	return max(wait, time.Millisecond)
}

// post sends single messages.
type post struct {
	seal  func(body []byte, limit int) []byte
	train *packet.Train
}

// send sends m. What cannot be sent is lost, as it may be on the way.
func (p *post) send(path packet.Path, mesh bool, m Message) {
	datagram := m.Append(nil)
	if mesh {
		datagram = p.seal(datagram, path.MaxDatagram())
	}
	p.train.Reset(path.Prefix())
	if slot := p.train.Next(len(datagram)); slot != nil {
		copy(slot, datagram)
		_ = path.Send(p.train)
	}
}

func shuffle(n int, swap func(i, j int)) { rand.Shuffle(n, swap) }

// selfID marks questions to this node itself, which travel sealed.
var selfID = message.NodeID{1}
