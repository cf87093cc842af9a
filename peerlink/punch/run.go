package punch

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

const (
	// shyTime is how long probes die on the way, so that neither router sees what
	// it does not expect: longer than the two sides begin apart.
	shyTime  = 250 * time.Millisecond
	shyEvery = 100 * time.Millisecond
	shyHops  = 2 // past the own routers, not to the peer's

	// spreadAfter lets the sockets of the other side be open before ports are spent
	// on them, though it may begin a little later.
	spreadAfter = 100 * time.Millisecond

	firstGap = 50 * time.Millisecond
	maxGap   = 500 * time.Millisecond
	maxEach  = 12 // probes of one target

	spreadRate   = 500 // probes a second
	spreadEvery  = 10 * time.Millisecond
	mostAtOnce   = 20 // after a pause
	socketPass   = 64 // of the birthday's sockets at once
	secondPass   = 1500 * time.Millisecond
	udpFirst     = 200 * time.Millisecond // for UDP, if fake TCP was there before it
	followWithin = time.Second            // how long the side that does not choose waits
)

// run is the probing of one try. Its zero value is not usable: see newRun.
type run struct {
	try     uint64
	plan    plan
	began   time.Time
	until   time.Time
	chooses bool
	rng     *rand.Rand

	probing []probing
	paths   map[packet.Path]bool // in probing
	sent    map[uint32]sent
	seq     uint32

	sockets []packet.Socket // of the birthday
	pass    int             // of them that have probed, over both passes
	passT   time.Time
	spread  int
	spreadT time.Time
	used    map[uint16]bool

	proven  []proven
	moved   packet.Path // chosen
	movedAt time.Time
	inUse   packet.Path // by the link
	stats   Stats
	out     []Effect
}

// probing is the state of one target, or of a path on which the peer was heard.
type probing struct {
	target
	path packet.Path
	n    int
	gap  time.Duration
	next time.Time
}

type sent struct {
	at     time.Time
	remote netip.AddrPort
	path   packet.Path
}

type proven struct {
	path packet.Path
	rtt  time.Duration
	at   time.Time
	near bool
}

func newRun(now time.Time, try uint64, p plan, length time.Duration, chooses bool, rng *rand.Rand) *run {
	r := &run{
		try: try, plan: p, began: now, until: now.Add(length), chooses: chooses, rng: rng,
		paths: map[packet.Path]bool{}, sent: map[uint32]sent{}, used: map[uint16]bool{},
		spreadT: now.Add(spreadAfter),
	}
	for _, t := range p.targets {
		r.probing = append(r.probing, probing{target: t, next: now, gap: firstGap})
	}
	if p.birthday.IsValid() {
		r.emit(Open{Try: try, N: birthdaySockets})
	}
	for family, remotes := range p.cross {
		if len(remotes) > 0 {
			r.emit(Cross{Try: try, V6: family == 1, Crossing: packet.Crossing{
				Remotes: remotes, Hops: shyHops, Shy: shyTime, Timeout: length,
			}})
		}
	}
	for _, remote := range p.dial {
		r.emit(Dial{Try: try, Remote: remote})
	}
	return r
}

func (r *run) emit(e Effect) { r.out = append(r.out, e) }

// next is when tick has something to do.
func (r *run) next() time.Time {
	due := r.until
	earlier := func(t time.Time) {
		if t.Before(due) {
			due = t
		}
	}
	for i := range r.probing {
		if r.probing[i].n < maxEach && r.wants(&r.probing[i]) {
			earlier(r.probing[i].next)
		}
	}
	if r.spreading() {
		earlier(r.spreadT)
	}
	if r.passing() {
		earlier(r.passT)
	}
	if len(r.proven) > 0 && r.moved == nil && r.inUse == nil {
		earlier(r.decideAt())
	}
	return due
}

// tick sends what is due and chooses.
func (r *run) tick(now time.Time) {
	r.probe(now)
	r.pour(now)
	r.choose(now)
}

// settle says that the link uses a path: what is looked for now is a second one
// of another kind, to be kept warm.
func (r *run) settle(p packet.Path) { r.inUse = p }

// unsettle says that the link has left that path: it was none, or is no more.
func (r *run) unsettle() {
	lost := r.inUse
	r.inUse, r.moved = nil, nil
	r.proven = slices.DeleteFunc(r.proven, func(p proven) bool { return p.path == lost })
}

// has says whether there is a path of a kind.
func (r *run) has(kind packet.Kind) bool {
	if p := r.inUse; p != nil && p.Kind() == kind {
		return true
	}
	return slices.ContainsFunc(r.proven, func(p proven) bool { return p.path.Kind() == kind })
}

// complete says that nothing more is worth waiting for.
func (r *run) complete() bool {
	return r.nearby(r.inUse) ||
		(r.has(packet.UDP) || len(r.plan.targets) == 0 && !r.plan.spread.IsValid()) && (r.has(packet.RawTCP) || !r.plan.crosses())
}

// second is the best proven path of another kind than that in use; nil: none.
func (r *run) second() *proven {
	others := slices.DeleteFunc(slices.Clone(r.proven), func(p proven) bool {
		return !p.path.Alive() || p.path.Kind() == r.inUse.Kind()
	})
	if len(others) == 0 {
		return nil
	}
	best := bestOf(others)
	return &best
}

// wants says whether a target may still be of use.
func (r *run) wants(p *probing) bool {
	switch {
	case r.inUse == nil:
		return r.moved == nil
	case p.path != nil:
		return !r.has(p.path.Kind())
	}
	return !r.has(packet.UDP)
}

// probe sends to the targets that are due.
func (r *run) probe(now time.Time) {
	for i := range r.probing {
		p := &r.probing[i]
		if p.n >= maxEach || now.Before(p.next) || !r.wants(p) {
			continue
		}
		shy := p.shy && now.Before(r.began.Add(shyTime))
		hops := uint8(0)
		if shy {
			hops = shyHops
			p.next = now.Add(shyEvery)
			if end := r.began.Add(shyTime); p.next.After(end) {
				p.next = end
			}
		} else {
			p.n++
			p.next = now.Add(p.gap)
			p.gap = min(2*p.gap, maxGap)
		}
		r.send(now, Probe{Path: p.path, Remote: p.remote, Hops: hops})
	}
}

func (r *run) send(now time.Time, p Probe) {
	r.seq++
	p.Try, p.Seq = r.try, r.seq
	if p.Path != nil {
		p.Remote = remoteOf(p.Path)
	}
	r.sent[r.seq] = sent{at: now, remote: p.Remote, path: p.Path}
	r.stats.Probes++
	r.emit(p)
}

func (r *run) spreading() bool {
	return r.plan.spread.IsValid() && r.spread < maxSpread && len(r.proven) == 0
}

func (r *run) passing() bool { return r.pass < 2*len(r.sockets) && !r.has(packet.UDP) }

// pour sends what the birthday search has to send.
func (r *run) pour(now time.Time) {
	if r.spreading() && !now.Before(r.spreadT) {
		// As many as belong to the time that has passed, but no burst after a pause.
		n := int((now.Sub(r.spreadT) + spreadEvery) * spreadRate / time.Second)
		r.spreadT = now.Add(spreadEvery)
		for range min(n, mostAtOnce, maxSpread-r.spread) {
			r.spread++
			r.stats.Spread++
			r.send(now, Probe{Remote: netip.AddrPortFrom(r.plan.spread, r.anyPort())})
		}
	}
	if r.passing() && !now.Before(r.passT) {
		hops := uint8(shyHops) // first they only open the own NAT
		if r.pass >= len(r.sockets) {
			hops = 0
		}
		for range min(socketPass, len(r.sockets)-r.pass%len(r.sockets)) {
			r.send(now, Probe{Socket: r.sockets[r.pass%len(r.sockets)], Remote: r.plan.birthday, Hops: hops})
			r.pass++
		}
		r.passT = now.Add(spreadEvery)
		if r.pass == len(r.sockets) {
			r.passT = now.Add(secondPass)
		}
	}
}

// anyPort returns a port that was not probed yet.
func (r *run) anyPort() uint16 {
	for {
		port := uint16(1024 + r.rng.IntN(0x10000-1024))
		if !r.used[port] {
			r.used[port] = true
			return port
		}
	}
}

// got takes the sockets of the birthday.
func (r *run) got(now time.Time, sockets []packet.Socket) {
	if r.plan.birthday.IsValid() {
		r.sockets, r.passT = sockets, now
	}
}

// asked takes a probe of the peer: where it came from is worth one too.
func (r *run) asked(now time.Time, path packet.Path) {
	r.stats.Asked++
	r.add(now, path)
}

// add probes a path until it is proven.
func (r *run) add(now time.Time, path packet.Path) {
	if r.paths[path] || len(r.probing) >= 2*maxTargets {
		return
	}
	r.paths[path] = true
	r.probing = append(r.probing, probing{path: path, target: target{near: r.nearby(path)}, next: now, gap: firstGap})
}

func remoteOf(p packet.Path) netip.AddrPort {
	a := p.Remote()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func (r *run) nearby(path packet.Path) bool {
	remote := remoteOf(path)
	for _, t := range r.plan.targets {
		if t.remote == remote {
			return t.near
		}
	}
	return false
}

// echoed takes the answer to a probe. It proves the path only if it came from
// where the probe went.
func (r *run) echoed(now time.Time, seq uint32, path packet.Path) {
	s, ok := r.sent[seq]
	if !ok {
		return
	}
	if s.path != nil && s.path != path || s.remote != remoteOf(path) {
		r.add(now, path)
		return
	}
	for _, p := range r.proven {
		if p.path == path {
			return
		}
	}
	if len(r.proven) == 0 {
		r.stats.Took = now.Sub(r.began)
	}
	r.stats.Proven++
	r.proven = append(r.proven, proven{path: path, rtt: now.Sub(s.at), at: now, near: r.nearby(path)})
	for i := range r.probing {
		if r.probing[i].path == path {
			r.probing[i].n = maxEach
		}
	}
}

// decideAt is when a path is chosen of those that are proven.
func (r *run) decideAt() time.Time {
	first := r.proven[0].at
	best := bestOf(r.proven)
	if best.path.Kind() != packet.UDP && len(r.plan.targets) > 0 {
		first = first.Add(udpFirst) // UDP costs less; it may be there in a moment
	}
	if !r.chooses {
		first = first.Add(followWithin)
	}
	return first
}

// bestOf is the path to take: the local network, then UDP, then the shortest.
func bestOf(all []proven) proven {
	best := all[0]
	for _, p := range all[1:] {
		switch {
		case p.near != best.near:
			if p.near {
				best = p
			}
		case p.path.Kind() != best.path.Kind():
			if p.path.Kind() == packet.UDP {
				best = p
			}
		case p.rtt < best.rtt:
			best = p
		}
	}
	return best
}

func (r *run) choose(now time.Time) {
	r.proven = slices.DeleteFunc(r.proven, func(p proven) bool { return !p.path.Alive() })
	if r.moved != nil || r.inUse != nil || len(r.proven) == 0 || now.Before(r.decideAt()) {
		return
	}
	best := bestOf(r.proven)
	r.moved, r.movedAt = best.path, now
	r.emit(Move{Path: best.path, RTT: best.rtt})
}
