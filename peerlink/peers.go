package peerlink

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/noise"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// peers is the actor that owns the directory: it answers handshakes that others
// begin, lets the key manager judge whoever proved an identity, and starts and
// stops the links.
type peers struct {
	d   *Directory
	log hclog.Logger
	sender
	guard    noise.Guard
	waiting  map[uint32]*responding // by our index: answered, third message awaited
	asked    map[uint64]question    // by token: with the key manager
	token    uint64
	said     map[string]time.Time // log lines that are not repeated for a while
	underlay underlay
}

// responding is a handshake that another node began.
type responding struct {
	noise  *noise.Responder
	theirs uint32
	until  time.Time
}

// question is a node that has proven its identity and waits to be admitted.
type question struct {
	proved
	until time.Time
}

const (
	maxResponding = 256
	maxAsked      = 1024
	respondWithin = 10 * time.Second
	housekeeping  = 2 * time.Second
	quietFor      = 10 * time.Minute // between two equal log lines
	maxSaid       = 512
)

type (
	// arrived brings a handshake message of somebody else's handshake.
	arrived struct {
		message wire.Handshake
		path    packet.Path
	}
	// proved brings a handshake that is done on this side.
	proved struct {
		result       noise.Result
		mine, theirs uint32
		final        []byte // body of the third message; nil: this side responded
		path         packet.Path
		seed         string           // HOST:PORT, if a seed's actor began it
		fate         actors.Ref[fate] // of that actor
	}
	// linkChanged says that a link came up or went down.
	linkChanged struct{ peer *Peer }
)

// ToPeers seals the type.
func (arrived) ToPeers() {}

// ToPeers seals the type.
func (proved) ToPeers() {}

// ToPeers seals the type.
func (linkChanged) ToPeers() {}

func newPeers(d *Directory) *peers {
	return &peers{
		d: d, log: d.cfg.Log.Named("peers"), sender: newSender(d),
		waiting: map[uint32]*responding{}, asked: map[uint64]question{}, said: map[string]time.Time{},
		underlay: underlay{routes: d.cfg.Routes, seeds: map[string][]netip.Addr{}},
		token:    uint64(time.Now().UnixNano()), // so that answers to an earlier run match nothing
	}
}

// Run works until ctx ends. Links and seeds of an earlier run go on; what of
// them is missing is started.
func (p *peers) Run(ctx context.Context) error {
	for _, peer := range p.d.Peers() {
		p.d.startLink(peer)
	}
	for _, s := range p.d.Seeds() {
		p.d.startSeed(s)
	}
	defer p.forgetAll()
	ticker := time.NewTicker(housekeeping)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			p.tidy(now)
			p.underlay.tell(p.d.Peers())
		case m := <-p.d.box.C():
			p.take(time.Now(), m)
		}
	}
}

func (p *peers) take(now time.Time, m message.ToPeers) {
	switch m := m.(type) {
	case arrived:
		if m.message.Kind == wire.HandshakeInit {
			p.begun(now, m)
		} else {
			p.finished(now, m)
		}
	case proved:
		p.judge(now, m)
	case message.Authorized:
		p.authorized(now, m)
	case message.Known:
		if m.Advert.ID != p.d.cfg.ID {
			p.ensure(m.Advert.ID, m.Advert.Name)
		}
	case message.Forgotten:
		p.forgotten(m)
	case message.Wanted:
		if peer := p.d.Peer(m.Node); peer != nil {
			peer.box.Ref().Offer(want{})
		}
	case message.JoinSeed:
		m.Reply.Answer(p.join(m.Seed))
	case resolved:
		p.underlay.seeds[m.seed] = m.addresses
		p.underlay.tell(p.d.Peers())
	case linkChanged:
		p.d.cfg.Changed()
		p.underlay.tell(p.d.Peers())
		for _, peer := range p.d.Peers() {
			if peer != m.peer && !peer.directlyUp() {
				peer.box.Ref().Offer(look{})
			}
		}
	case strange:
		p.stranger(now, m.path)
	}
}

// begun answers a first message.
func (p *peers) begun(now time.Time, a arrived) {
	r, init, err := noise.NewResponder(p.d.local(), a.message.Body)
	if err != nil {
		p.log.Debug("a handshake is not valid", "path", pathName(a.path), "reason", err)
		return
	}
	switch p.guard.Judge(now, init) {
	case noise.OffClock:
		p.handshake(a.path, wire.Handshake{
			Kind: wire.Refusal, Receiver: a.message.Sender,
			Body: wire.Refused{Code: wire.RefusedClock, Time: now.UnixNano(), Reason: "the clocks differ"}.Body(),
		})
		return
	case noise.Admit:
	default:
		return
	}
	if len(p.waiting) >= maxResponding {
		p.forgetOldest()
	}
	body, err := r.Respond(p.d.cfg.Hello(), now)
	if err != nil {
		p.log.Error("a handshake cannot be answered", "reason", err)
		return
	}
	index := p.d.sessions.reserve(slot{})
	p.waiting[index] = &responding{noise: r, theirs: a.message.Sender, until: now.Add(respondWithin)}
	p.handshake(a.path, wire.Handshake{
		Kind: wire.HandshakeResponse, Sender: index, Receiver: a.message.Sender, Body: body,
	})
}

// finished takes a third message.
func (p *peers) finished(now time.Time, a arrived) {
	index := a.message.Receiver
	r := p.waiting[index]
	if r == nil {
		if in := p.d.Session(index); in != nil {
			in.peer.box.Ref().Offer(again{in})
		}
		return
	}
	result, err := r.noise.Finish(a.message.Body)
	delete(p.waiting, index)
	if err != nil {
		p.d.sessions.remove(index)
		p.log.Debug("a handshake is not valid", "path", pathName(a.path), "reason", err)
		return
	}
	p.judge(now, proved{result: result, mine: index, theirs: r.theirs, path: a.path})
}

// judge asks the key manager about a node that has proven who it is.
func (p *peers) judge(now time.Time, q proved) {
	id := q.result.Hello.ID
	peer := p.d.Peer(id)
	switch {
	case id == p.d.cfg.ID:
		p.refuse(now, q, wire.RefusedSelf, "this is the node itself, or another one runs with a copy of its state directory")
		return
	case q.seed != "" && peer != nil && !peer.wantsPath():
		p.d.sessions.remove(q.mine)
		q.fate.Offer(fate{peer: peer, spare: true})
		return
	case len(p.asked) >= maxAsked:
		p.d.sessions.remove(q.mine)
		return
	}
	p.token++
	p.asked[p.token] = question{proved: q, until: now.Add(respondWithin)}
	ask := message.Authorize{Hello: q.result.Hello, From: q.path.Remote(), Token: p.token, Reply: p.d.box.Ref()}
	if !p.d.cfg.Keys.Offer(ask) {
		delete(p.asked, p.token)
		p.d.sessions.remove(q.mine)
	}
}

// authorized hands the session to the peer's link, or refuses it.
func (p *peers) authorized(now time.Time, a message.Authorized) {
	q, ok := p.asked[a.Token]
	if !ok {
		return
	}
	delete(p.asked, a.Token)
	if a.Refusal != "" {
		p.refuse(now, q.proved, wire.RefusedByRoster, a.Refusal)
		return
	}
	peer := p.ensure(q.result.Hello.ID, q.result.Hello.Name)
	if peer == nil {
		p.refuse(now, q.proved, wire.RefusedByRoster, "the node has links to as many peers as it may have")
		return
	}
	s := p.d.newSession(peer, q.result, q.mine, q.theirs, q.path, now)
	s.initiator, s.final = q.final != nil, q.final
	s.fate, s.fromSeed = q.fate, q.seed != ""
	if !peer.box.Ref().Offer(adopt{s}) {
		p.d.sessions.remove(q.mine)
	}
}

// refuse says no: to the other node inside the session that nobody will use, or,
// if this node had called, to the actor that called.
func (p *peers) refuse(now time.Time, q proved, code wire.Code, reason string) {
	p.d.sessions.remove(q.mine)
	hello := q.result.Hello
	switch {
	case q.final == nil:
		to := &sealer{masker: p.d.masker, aead: wire.NewAEAD(q.result.Send), index: q.theirs}
		p.control(to, q.path, wire.Refused{Code: code, Time: now.UnixNano(), Reason: reason})
	case q.seed != "":
		q.fate.Offer(fate{peer: p.d.Peer(hello.ID), refusal: reason, self: code == wire.RefusedSelf})
	default:
		if peer := p.d.Peer(hello.ID); peer != nil {
			peer.box.Ref().Offer(judged{refusal: reason})
		}
	}
	if q.seed == "" && code != wire.RefusedSelf && p.once(now, hello.ID.String()+reason) {
		p.log.Warn("a node was refused", "peer", hello.Name, "id", hello.ID.Brief(), "path", pathName(q.path), "reason", reason)
	}
}

// ensure returns the handle of a node and starts its link if it is new; nil if
// there are too many.
func (p *peers) ensure(id message.NodeID, name string) *Peer {
	if peer := p.d.Peer(id); peer != nil {
		return peer
	}
	if len(p.d.Peers()) >= p.d.cfg.MaxPeers {
		return nil
	}
	if name == "" {
		name = id.Brief()
	}
	peer := newPeer(id, name, &p.d.room)
	p.d.addPeer(peer)
	p.d.startLink(peer)
	return peer
}

// forgotten drops a node that gossip lost, unless its link knows better.
func (p *peers) forgotten(m message.Forgotten) {
	peer := p.d.Peer(m.Node)
	if peer == nil || !m.Left && peer.Outbound() != nil || peer.view.Load().Seed {
		return
	}
	_ = p.d.sup.Load().StopSoon(linkName(peer))
	p.d.removePeer(m.Node)
	p.d.sessions.removePeer(peer)
	peer.gone.Store(true)
	peer.forget()
}

func (p *peers) join(address string) error {
	if err := CheckSeed(address); err != nil {
		return err
	}
	var joined []string
	if old := p.d.joined.Load(); old != nil {
		joined = slices.Clone(*old)
	}
	if !slices.Contains(joined, address) {
		joined = append(joined, address)
		p.d.joined.Store(&joined)
	}
	p.d.startSeed(address)
	return nil
}

// stranger logs a source of datagrams that the mesh key does not open.
func (p *peers) stranger(now time.Time, path packet.Path) {
	from := path.Remote().Addr()
	if from == (netip.Addr{}) || !p.once(now, "stranger "+from.String()) {
		return
	}
	p.log.Warn("Decryption error (wrong key?): datagrams arrive that this mesh's key does not open; if the sender is one of yours, give both sides the same key",
		"path", pathName(path))
}

// once says whether a log line was not written lately, and notes it.
func (p *peers) once(now time.Time, line string) bool {
	if t, ok := p.said[line]; ok && now.Sub(t) < quietFor || !ok && len(p.said) >= maxSaid {
		return false
	}
	p.said[line] = now
	return true
}

// tidy forgets what took too long.
func (p *peers) tidy(now time.Time) {
	for index, r := range p.waiting {
		if now.After(r.until) {
			delete(p.waiting, index)
			p.d.sessions.remove(index)
		}
	}
	for token, q := range p.asked {
		if now.After(q.until) {
			delete(p.asked, token)
			p.d.sessions.remove(q.mine)
		}
	}
	for line, t := range p.said {
		if now.Sub(t) >= quietFor {
			delete(p.said, line)
		}
	}
}

func (p *peers) forgetOldest() {
	oldest, found := uint32(0), false
	for index, r := range p.waiting {
		if !found || r.until.Before(p.waiting[oldest].until) {
			oldest, found = index, true
		}
	}
	delete(p.waiting, oldest)
	p.d.sessions.remove(oldest)
}

// forgetAll gives the indexes back; handshakes under way are repeated by who
// began them.
func (p *peers) forgetAll() {
	for index := range p.waiting {
		p.d.sessions.remove(index)
	}
	for _, q := range p.asked {
		p.d.sessions.remove(q.mine)
	}
}
