package punch

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// world is two nodes behind NATs, with a relay that both reach, in a time of its own.
type world struct {
	now    time.Time
	queue  events
	serial int
	nodes  [2]*node
	direct time.Duration // one way
	relay  time.Duration
	loss   float64
	rng    *rand.Rand
	// strict routers take an early packet for a flow of their own: see stolen.
	deaf bool // nothing gets through but the relay's
}

type event struct {
	at     time.Time
	serial int
	do     func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	if c := q[i].at.Compare(q[j].at); c != 0 {
		return c < 0
	}
	return cmp.Less(q[i].serial, q[j].serial)
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

func (w *world) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.queue, event{w.now.Add(d), w.serial, do})
}

// run lets time pass until done or the limit.
func (w *world) run(limit time.Duration, done func() bool) bool {
	end := w.now.Add(limit)
	for w.queue.Len() > 0 && !done() {
		e := heap.Pop(&w.queue).(event)
		if e.at.After(end) {
			w.now = end
			heap.Push(&w.queue, e)
			return done()
		}
		w.now = e.at
		e.do()
	}
	return done()
}

// box is a NAT of one public address.
type box struct {
	kind   NAT
	public netip.Addr
	rng    *rand.Rand
	last   uint16
	// Mappings by what they depend on, and who was sent to through each port.
	out  map[[2]netip.AddrPort]uint16
	in   map[uint16]netip.AddrPort
	sent map[uint16]map[netip.AddrPort]bool
	// stolen: an early packet to a mapped port that is not let in makes the router
	// map the inside elsewhere, as one without an input drop does.
	steals bool
	stolen map[netip.AddrPort]map[uint16]bool
}

func newBox(kind NAT, public string, seed uint64) *box {
	return &box{
		kind: kind, public: netip.MustParseAddr(public), rng: rand.New(rand.NewPCG(seed, 3)), last: 40000,
		out: map[[2]netip.AddrPort]uint16{}, in: map[uint16]netip.AddrPort{}, sent: map[uint16]map[netip.AddrPort]bool{},
		stolen: map[netip.AddrPort]map[uint16]bool{},
	}
}

func (b *box) outward(src, dst netip.AddrPort) netip.AddrPort {
	if b.kind.Mapping == message.Direct {
		b.note(src.Port(), dst, src)
		return src
	}
	key := [2]netip.AddrPort{src}
	if b.kind.Symmetric() {
		key[1] = dst
	}
	port, ok := b.out[key]
	if !ok {
		switch {
		case b.kind.Stepped():
			b.last = uint16(int(b.last) + b.kind.Step)
			port = b.last
		case b.kind.Random():
			port = uint16(1024 + b.rng.IntN(64000))
		default:
			port = src.Port()
		}
		b.out[key] = port
	}
	if b.stolen[dst][port] {
		port++ // the tuple is taken
	}
	b.note(port, dst, src)
	return netip.AddrPortFrom(b.public, port)
}

func (b *box) note(port uint16, dst, src netip.AddrPort) {
	b.in[port] = src
	if b.sent[port] == nil {
		b.sent[port] = map[netip.AddrPort]bool{}
	}
	b.sent[port][dst] = true
}

func (b *box) inward(src netip.AddrPort, port uint16) (netip.AddrPort, bool) {
	inside, ok := b.in[port]
	if ok {
		switch b.kind.Filtering {
		case message.EndpointIndependent:
			return inside, true
		case message.AddressDependent:
			for to := range b.sent[port] {
				if to.Addr() == src.Addr() {
					return inside, true
				}
			}
		default:
			if b.sent[port][src] {
				return inside, true
			}
		}
	}
	if b.steals {
		if b.stolen[src] == nil {
			b.stolen[src] = map[uint16]bool{}
		}
		b.stolen[src][port] = true
	}
	return netip.AddrPort{}, false
}

// simPath is a packet.Path of one node.
type simPath struct {
	kind          packet.Kind
	local, remote netip.AddrPort
	far           *simPath // of fake TCP
}

func (p *simPath) Send(*packet.Train) error { return nil }
func (p *simPath) Prefix() int              { return 0 }
func (p *simPath) MaxDatagram() int         { return 1400 }
func (p *simPath) Kind() packet.Kind        { return p.kind }
func (p *simPath) Local() netip.AddrPort    { return p.local }
func (p *simPath) Remote() netip.AddrPort   { return p.remote }
func (p *simPath) Adopt()                   {}
func (p *simPath) Alive() bool              { return true }
func (p *simPath) Close()                   {}

// node is one side: an Opener and what a link does for it.
type node struct {
	w       *world
	name    string
	host    netip.Addr
	nat     *box
	o       *Opener
	far     *node
	look    Look
	paths   map[[2]netip.AddrPort]*simPath
	next    packet.Socket
	sent    int // packets, not counting answers
	low     int // of them with few hops
	reports []Report
	effects map[string]int
	moved   packet.Path
	second  packet.Path
	wake    time.Time
	noRelay bool
	tcp     bool
}

var server = netip.MustParseAddrPort("198.51.100.1:3478")

func port0(s packet.Socket) uint16 { return 51820 + uint16(s) }

func (n *node) path(local, remote netip.AddrPort) *simPath {
	key := [2]netip.AddrPort{local, remote}
	if n.paths[key] == nil {
		n.paths[key] = &simPath{kind: packet.UDP, local: local, remote: remote}
	}
	return n.paths[key]
}

// local is what the node knows of itself: its host and what a server sees.
func (n *node) local() *Offer {
	src := netip.AddrPortFrom(n.host, port0(0))
	seen := n.nat.outward(src, server)
	return &Offer{NAT: n.nat.kind, Candidates: []Candidate{
		{Kind: message.Host, Transport: packet.UDP, Addr: src},
		{Kind: message.Mapped, Transport: packet.UDP, Addr: seen},
	}}
}

func (n *node) step(in Input) {
	for _, e := range n.o.Step(n.w.now, in) {
		n.effects[fmt.Sprintf("%T", e)]++
		n.do(e)
	}
	if next := n.o.Next(); !next.IsZero() && (n.wake.Before(n.w.now) || next.Before(n.wake)) {
		n.wake = next
		n.w.after(max(next.Sub(n.w.now), 0), func() { n.wake = time.Time{}; n.step(n.look) })
	}
}

func (n *node) say(in Input) {
	if !n.noRelay {
		n.w.after(n.w.relay, func() { n.far.step(in) })
	}
}

func (n *node) do(e Effect) {
	switch e := e.(type) {
	case Gather:
		n.w.after(2*n.w.relay, func() {
			var seen []Candidate
			if e.Fresh {
				n.next++
				a := n.nat.outward(netip.AddrPortFrom(n.host, port0(n.next)), server)
				seen = append(seen, Candidate{Kind: message.Mapped, Transport: packet.UDP, Addr: a})
			}
			n.step(Gathered{Try: e.Try, Candidates: seen, Done: true})
		})
	case Call:
		n.say(Called(e))
	case Answer:
		n.say(Answered{Try: e.Try, Offer: e.Offer})
	case Open:
		got := Got{Try: e.Try}
		for range e.N {
			n.next++
			got.Sockets = append(got.Sockets, n.next)
		}
		n.w.after(0, func() { n.step(got) })
	case Probe:
		n.sent++
		if e.Hops > 0 {
			n.low++
		}
		local := netip.AddrPortFrom(n.host, port0(e.Socket))
		if e.Path != nil {
			local = e.Path.Local()
			if p := e.Path.(*simPath); p.far != nil {
				far := n.far
				n.w.after(n.w.direct, func() { far.arrives(Probe{Try: e.Try, Seq: e.Seq}, p.far) })
				return
			}
		}
		n.send(local, e.Remote, e.Hops, func(far *node, p *simPath) { far.arrives(e, p) })
	case Cross:
		far := n.far
		if n.tcp && far.tcp {
			a := &simPath{kind: packet.RawTCP, local: netip.AddrPortFrom(n.host, 7), remote: e.Remotes[0]}
			b := &simPath{kind: packet.RawTCP, local: e.Remotes[0], remote: netip.AddrPortFrom(n.host, 7), far: a}
			a.far = b
			n.w.after(2*n.w.direct, func() { n.step(Crossed{Try: e.Try, Path: a}) })
			n.w.after(2*n.w.direct, func() { far.step(Crossed{Try: e.Try, Path: b}) })
		}
	case Move:
		if n.look.Direct != nil {
			n.second = e.Path
			return
		}
		n.move(e.Path)
	case Report:
		n.reports = append(n.reports, e)
	}
}

// move takes a path and says something on it, which the peer follows.
func (n *node) move(p packet.Path) {
	n.moved, n.look.Direct = p, p
	n.w.after(0, func() { n.step(n.look) })
	follow := func(far *node, p *simPath) {
		if far.look.Direct == nil {
			far.move(p)
		}
	}
	if s := p.(*simPath); s.far != nil {
		far := n.far
		n.w.after(n.w.direct, func() { follow(far, s.far) })
		return
	}
	n.send(p.Local(), p.Remote(), 0, follow)
}

// arrives answers a probe, as a link does, and tells the Opener.
func (n *node) arrives(e Probe, p *simPath) {
	echo := func(far *node, p *simPath) { far.step(Echoed{Try: e.Try, Seq: e.Seq, Path: p}) }
	if p.far != nil {
		far := n.far
		n.w.after(n.w.direct, func() { echo(far, p.far) })
	} else {
		n.send(p.local, p.remote, 0, echo)
	}
	n.step(Asked{Try: e.Try, Path: p})
}

// send carries one UDP packet from a local address of n to remote.
func (n *node) send(local, remote netip.AddrPort, hops uint8, arrived func(far *node, p *simPath)) {
	w, far := n.w, n.far
	deliver := func(dst, src netip.AddrPort) {
		w.after(w.direct, func() { arrived(far, far.path(dst, src)) })
	}
	if remote.Addr() == far.host && (far.nat.kind.Mapping == message.Direct && n.nat.kind.Mapping == message.Direct || n.nat == far.nat) {
		deliver(remote, local)
		return
	}
	src := n.nat.outward(local, remote)
	switch {
	case hops > 0, w.deaf, w.rng.Float64() < w.loss, n.nat == far.nat && remote.Addr() == n.nat.public:
		return
	case remote.Addr() != far.nat.public:
		return
	}
	w.after(w.direct, func() {
		if inside, ok := far.nat.inward(src, remote.Port()); ok {
			deliver2 := far.path(inside, src)
			arrived(far, deliver2)
		}
	})
}

// The kinds of NAT.
var kinds = map[string]NAT{
	"none":            {Mapping: message.Direct, Filtering: message.EndpointIndependent},
	"full cone":       {Mapping: message.EndpointIndependent, Filtering: message.EndpointIndependent},
	"restricted":      {Mapping: message.EndpointIndependent, Filtering: message.AddressDependent},
	"port-restricted": {Mapping: message.EndpointIndependent, Filtering: message.AddressAndPortDependent},
	"firewall":        {Mapping: message.Direct, Filtering: message.AddressAndPortDependent},
	"step":            {Mapping: message.AddressAndPortDependent, Filtering: message.AddressAndPortDependent, Step: 2},
	"random":          {Mapping: message.AddressAndPortDependent, Filtering: message.AddressAndPortDependent},
}

func newWorld(t testing.TB, a, b NAT, seed uint64, tcp bool) *world {
	t.Helper()
	w := &world{
		now: time.Unix(1_700_000_000, 0), direct: 20 * time.Millisecond, relay: 35 * time.Millisecond,
		rng: rand.New(rand.NewPCG(seed, 1)),
	}
	for i, kind := range []NAT{a, b} {
		public := fmt.Sprintf("203.0.113.%d", i+1)
		n := &node{
			w: w, name: string(rune('a' + i)), host: netip.MustParseAddr(fmt.Sprintf("10.0.%d.2", i)),
			nat: newBox(kind, public, seed*2+uint64(i)), paths: map[[2]netip.AddrPort]*simPath{},
			effects: map[string]int{}, tcp: tcp,
		}
		if kind.Mapping == message.Direct {
			n.host = netip.MustParseAddr(public)
		}
		n.o = New(Config{Chooses: i == 0, UDP: true, TCP: tcp, Search: true, Rand: rand.New(rand.NewPCG(seed, uint64(10+i)))})
		w.nodes[i] = n
	}
	w.nodes[0].far, w.nodes[1].far = w.nodes[1], w.nodes[0]
	return w
}

// start lets both know themselves; wanted says who has traffic.
func (w *world) start(wanted ...int) {
	for i, n := range w.nodes {
		n.look = Look{Up: true, RTT: 2 * w.relay}
		for _, k := range wanted {
			n.look.Wanted = n.look.Wanted || k == i
		}
		first := n.look
		first.Local = n.local()
		n.step(first)
	}
}

func (w *world) linked() bool { return w.nodes[0].look.Direct != nil && w.nodes[1].look.Direct != nil }
