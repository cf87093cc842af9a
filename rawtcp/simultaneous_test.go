package rawtcp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// strictRouter is what Linux's connection tracking makes of one connection, with
// everything invalid dropped and nothing let in that was not asked for
// (net/netfilter/nf_conntrack_proto_tcp.c: states, and the windows roughly).
type strictRouter struct {
	off     bool // no router here
	state   trackState
	sides   [2]trackSide // inside, outside
	invalid []string
}

type trackState uint8

const (
	noState trackState = iota
	synSent1
	synSent2
	synRecv
	tracked
)

type trackSide struct {
	known       bool
	end, maxEnd uint32
	scale       uint8
}

// pass reports whether the segment gets through. The inside host's own SYN makes
// the entry, so the inside is conntrack's original direction.
func (r *strictRouter) pass(outbound bool, g *segment) bool {
	if r.off {
		return true
	}
	const invalid, ignored = 100, 101
	type in struct {
		flags uint8
		from  trackState
	}
	original := map[in]trackState{
		{flagSYN, noState}: synSent1, {flagSYN, synSent1}: synSent1, {flagSYN, synSent2}: synSent2,
		{flagSYN, synRecv}: ignored, {flagSYN, tracked}: ignored,
		{flagSYN | flagACK, synSent2}: synRecv, {flagSYN | flagACK, synRecv}: synRecv,
		{flagACK, synRecv}: tracked, {flagACK, tracked}: tracked,
	}
	reply := map[in]trackState{
		{flagSYN, synSent1}: synSent2, {flagSYN, synSent2}: synSent2,
		{flagSYN | flagACK, synSent1}: synRecv, {flagSYN | flagACK, synSent2}: synRecv,
		{flagSYN | flagACK, synRecv}: ignored, {flagSYN | flagACK, tracked}: ignored,
		{flagACK, synSent1}: ignored, {flagACK, synSent2}: ignored,
		{flagACK, synRecv}: synRecv, {flagACK, tracked}: tracked,
	}
	table, from, to := original, &r.sides[0], &r.sides[1]
	if !outbound {
		if r.state == noState {
			return false
		}
		table, from, to = reply, to, from
	}
	flags := g.flags & (flagSYN | flagACK | flagRST | flagFIN)
	next, valid := table[in{flags, r.state}]
	end := g.seq + uint32(len(g.payload))
	if valid && next != ignored && !g.has(flagSYN) {
		valid = !before(from.maxEnd, g.seq) && !before(to.end, g.ack)
	}
	if !valid {
		r.invalid = append(r.invalid, fmt.Sprintf("outbound=%v flags=%#x in state %d", outbound, flags, r.state))
		return false
	}
	if next == ignored {
		return true
	}
	r.state = next
	if g.has(flagSYN) {
		end++
		if !from.known || before(from.end, end) {
			*from = trackSide{true, end, end, uint8(g.opts.wscale)}
		}
	}
	raise32(&from.end, end)
	if g.has(flagACK) {
		scale := from.scale
		if g.has(flagSYN) {
			scale = 0
		}
		raise32(&to.maxEnd, g.ack+uint32(g.window)<<scale)
	}
	return true
}

// meeting is two hosts that open a connection from both sides, each behind a
// router, without clock or goroutine.
type meeting struct {
	now     time.Duration
	hosts   [2]*control
	flows   [2]*Flow
	routers [2]strictRouter
	air     []inAir
	resets  int
	spoken  [2]bool
	failure error // the first
}

type inAir struct {
	to  int
	pkt []byte
}

// meetingWire puts what is sent into the air.
type meetingWire struct {
	*testWire
	m    *meeting
	side int
}

func (w *meetingWire) sendPacket(_ hop, pkt []byte) error {
	own := append([]byte(nil), pkt...)
	var g segment
	g.parse(own)
	if g.has(flagRST) {
		w.m.resets++
	}
	if w.m.routers[w.side].pass(true, &g) {
		w.m.air = append(w.m.air, inAir{1 - w.side, own})
	}
	return nil
}

func (w *meetingWire) wake() {}

var meetingPlaces = [2]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:40001"), netip.MustParseAddrPort("192.0.2.2:40001")}

func newMeeting(t *testing.T) *meeting {
	m := &meeting{}
	for i := range m.hosts {
		w := newTestNet(t).host(meetingPlaces[i].Addr().String())
		w.next = 40000
		tr, err := newTransport(Config{}, &meetingWire{w, m, i}, testProfile())
		if err != nil {
			t.Fatal(err)
		}
		m.hosts[i] = &tr.state
	}
	return m
}

// begin starts both sides anew; isns are their initial sequence numbers.
func (m *meeting) begin(t *testing.T, isns [2]uint32, hops uint8) {
	m.now, m.air, m.routers, m.spoken, m.failure = t0, m.air[:0], [2]strictRouter{}, [2]bool{}, nil
	for i, c := range m.hosts {
		for tu := range c.flows {
			delete(c.flows, tu)
		}
		h := &holding{t: c.t, port: testPort(40001)}
		x := &crossing{dial: dial{from: h, done: func(packet.Path, error) {}}, began: t0, hops: map[netip.Addr]hop{}, what: packet.Crossing{
			Remotes: []netip.AddrPort{meetingPlaces[1-i]}, Timeout: time.Minute, Hops: hops, Shy: 250 * time.Millisecond}}
		if err := c.approach(t0, x, meetingPlaces[1-i]); err != nil {
			t.Fatal(err)
		}
		f := x.flows[0]
		f.machine.sent = isns[i]
		f.sndNxt.Store(isns[i] + 1)
		m.flows[i] = f
	}
}

func (m *meeting) tick(side int) {
	defer m.judge()
	machine := &m.flows[side].machine
	if at := machine.wake(); at > m.now {
		m.now = at
	}
	if machine.state != closed {
		m.hosts[side].step(m.now, m.flows[side], event{kind: tick})
	}
}

// land takes packet i out of the air.
func (m *meeting) land(i int, lost bool) {
	defer m.judge()
	p := m.air[i]
	m.air = append(m.air[:i:i], m.air[i+1:]...)
	var g segment
	if lost || !g.parse(p.pkt) || !m.routers[p.to].pass(false, &g) {
		return
	}
	m.now += time.Millisecond
	f := m.flows[p.to]
	if f.phase.Load() != phaseOpen || g.has(flagSYN) { // as the pump does
		m.hosts[p.to].step(m.now, f, event{kind: arrive, seg: &g})
		return
	}
	switch f.take(&g, millis(m.now)) {
	case acceptedAck, refusedProbe:
		m.hosts[p.to].t.sendAck(f, millis(m.now), &m.hosts[p.to].ack)
	}
}

func (m *meeting) judge() {
	if err := m.speak(); err != nil && m.failure == nil {
		m.failure = err
	}
}

func (m *meeting) state(side int) state { return m.flows[side].machine.state }

// options is the number of things that can happen next: see choose.
func (m *meeting) options() int { return 2 + 2*len(m.air) }

func (m *meeting) choose(n int) {
	if n < 2 {
		m.tick(n)
		return
	}
	m.land((n-2)/2, n%2 == 1)
}

func (m *meeting) story(choices []int) (s string) {
	for _, n := range choices {
		switch {
		case n < 2:
			s += fmt.Sprintf(" timer of %d,", n)
		case n%2 == 1:
			s += fmt.Sprintf(" segment %d is lost,", (n-2)/2)
		default:
			s += fmt.Sprintf(" segment %d arrives,", (n-2)/2)
		}
	}
	return s
}

// settle lets everything arrive in order from now on.
func (m *meeting) settle() {
	for range 200 {
		for len(m.air) > 0 {
			m.land(0, false)
		}
		if m.state(0) == established && m.state(1) == established {
			return // nothing is in the air
		}
		first := 0
		if a, b := m.flows[0].machine.wake(), m.flows[1].machine.wake(); a == 0 || b != 0 && b < a {
			first = 1
		}
		m.tick(first)
	}
}

// speak tries what a side that has just been established may do at once: fill
// the window. Both routers must let it pass, behind what is in the air.
func (m *meeting) speak() error {
	for side, f := range m.flows {
		if m.spoken[side] || m.state(side) != established {
			continue
		}
		m.spoken[side] = true
		own, far := m.routers[side], m.routers[1-side]
		for _, p := range m.air {
			var g segment
			if p.to != side && g.parse(p.pkt) {
				far.pass(false, &g)
			}
		}
		g := segment{flags: flagACK, seq: f.sndNxt.Load(), ack: f.rcvNxt.Load(), window: f.window(), payload: make([]byte, 1000)}
		for ; int32(f.sndEdge.Load()-g.seq) >= 1000; g.seq += 1000 {
			if !own.pass(true, &g) || !far.pass(false, &g) {
				return fmt.Errorf("byte %d of side %d is lost: %q %q", g.seq-f.sndNxt.Load(), side, own.invalid, far.invalid)
			}
		}
	}
	return nil
}

// check judges a settled meeting.
func (m *meeting) check() error {
	a, b := m.flows[0], m.flows[1]
	switch {
	case m.failure != nil:
		return m.failure
	case m.state(0) != established || m.state(1) != established:
		return fmt.Errorf("%v and %v", m.state(0), m.state(1))
	case a.sndNxt.Load() != b.rcvNxt.Load() || b.sndNxt.Load() != a.rcvNxt.Load():
		return fmt.Errorf("numbers do not fit: %d %d, %d %d", a.sndNxt.Load(), b.rcvNxt.Load(), b.sndNxt.Load(), a.rcvNxt.Load())
	case !m.routers[0].off && m.routers[0].state != tracked, !m.routers[1].off && m.routers[1].state != tracked:
		return fmt.Errorf("a router is not through: states %d and %d", m.routers[0].state, m.routers[1].state)
	case m.resets > 0:
		return fmt.Errorf("%d resets", m.resets)
	case a.ownScale != 10 || b.ownScale != 10 || !a.stamps || !b.stamps:
		return fmt.Errorf("options were lost")
	}
	for i := range m.routers {
		for _, why := range m.routers[i].invalid {
			// A SYN that was repeated while the peer's SYN-ACK was on its way.
			if why != "outbound=false flags=0x2 in state 3" && why != "outbound=false flags=0x2 in state 4" {
				return fmt.Errorf("router %d: %s", i, why)
			}
		}
	}
	return nil
}

// Every order of sending, arriving and getting lost of the first few segments.
func TestBothSidesOpenInEveryInterleaving(t *testing.T) {
	const depth = 6
	places := map[string][2]bool{"two routers": {}, "one router": {false, true}, "one network": {true, true}}
	for name, off := range places {
		t.Run(name, func(t *testing.T) {
			m := newMeeting(t)
			runs := 0
			var choice, options [depth]int
			for done := false; !done; runs++ {
				isns := [2]uint32{100, 0xfffffff0}
				m.begin(t, isns, uint8(runs%2)*3)
				m.routers[0].off, m.routers[1].off = off[0], off[1]
				for i := range depth {
					options[i] = m.options()
					m.choose(choice[i])
				}
				m.settle()
				if err := m.check(); err != nil {
					t.Fatalf("%s: %v", m.story(choice[:]), err)
				}
				done = true
				for i := depth - 1; i >= 0; i-- { // the next sequence of choices
					if choice[i]++; choice[i] < options[i] {
						done = false
						break
					}
					choice[i] = 0
				}
			}
			t.Logf("%d interleavings", runs)
		})
	}
}

// Longer stories, drawn at random.
func TestBothSidesOpenUnderHeavyLoss(t *testing.T) {
	m := newMeeting(t)
	r := rand.New(rand.NewPCG(5, 6))
	for range 5000 {
		m.begin(t, [2]uint32{r.Uint32(), r.Uint32()}, uint8(r.IntN(2)))
		m.routers[0].off, m.routers[1].off = r.IntN(4) == 0, r.IntN(4) == 0
		var choices []int
		for range r.IntN(30) {
			choices = append(choices, r.IntN(m.options()))
			m.choose(choices[len(choices)-1])
		}
		m.settle()
		if err := m.check(); err != nil {
			t.Fatalf("%s: %v", m.story(choices), err)
		}
	}
}

func TestOneSideSendsTheSYNACKWhenTheSYNsCross(t *testing.T) {
	for _, isns := range [][2]uint32{{1, 2}, {2, 1}, {0xffffffff, 0}, {7, 0x80000007}} {
		m := newMeeting(t)
		m.begin(t, isns, 0)
		m.tick(0)
		m.tick(1)
		both := m.air
		m.land(0, false)
		m.land(0, false)
		if len(both) != 2 || len(m.air) != 1 || m.state(0) != synReceived || m.state(1) != synReceived {
			t.Fatalf("%v: %d segments, %v, %v", isns, len(m.air), m.state(0), m.state(1))
		}
		var g segment
		g.parse(m.air[0].pkt)
		if lead := m.air[0].to == 1; g.flags != flagSYN|flagACK || lead != (isns[0] > isns[1]) || g.seq != max(isns[0], isns[1]) || g.ack != min(isns[0], isns[1])+1 {
			t.Fatalf("%v: to %d, %+v", isns, m.air[0].to, g)
		}
		m.settle()
		if err := m.check(); err != nil || len(m.routers[0].invalid)+len(m.routers[1].invalid) != 0 {
			t.Fatal(err, m.routers[0].invalid, m.routers[1].invalid)
		}
	}
}
