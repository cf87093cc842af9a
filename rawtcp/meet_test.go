package rawtcp

import (
	"math/rand/v2"
	"testing"
	"time"
)

// crossingMachine returns a machine that has sent its SYN with sequence number
// isn toward a peer that does the same.
func crossingMachine(t testing.TB, isn uint32) *machine {
	t.Helper()
	tr := &Transport{cfg: Config{DialTimeout: time.Minute}, profile: testProfile(), secrets: newSecrets()}
	f := tr.dialledFlow(newTuple(testLocal, testRemote), testHop{&testWire{mtu: 1500}, false}, nil, t0)
	m := &f.machine
	m.sent, m.deadline, m.cross = isn, t0, &simultaneous{}
	f.sndNxt.Store(isn + 1)
	if out := m.step(t0, event{kind: tick}); out.n != 1 || out.replies[0] != (reply{flags: flagSYN, seq: isn}) {
		t.Fatalf("opens with %+v", out)
	}
	return m
}

// synTo is the peer's SYN with sequence number isn.
func synTo(m *machine, isn uint32) *segment {
	g := synAckTo(m, isn)
	g.flags, g.ack, g.opts.ecr = flagSYN, 0, 0
	return g
}

// ackTo acknowledges m's SYN or SYN-ACK behind the peer's SYN with number isn.
func ackTo(m *machine, isn uint32) *segment {
	g := synAckTo(m, isn)
	g.flags, g.seq, g.window = flagACK, isn+1, 63
	g.opts = options{wscale: -1, stamps: true, val: 1001, ecr: m.s.stamp(m.firstSYN)}
	return g
}

// Our number is 5000; the peer's is lower where we lead, else higher.
func TestSimultaneousOpenTakesOnlyWhatFitsExactly(t *testing.T) {
	const isn, lower, higher = 5000, 77, 9000
	change := func(g *segment, f func(*segment)) *segment { f(g); return g }
	type step struct {
		seg   *segment
		state state
		sends uint8 // flags of the reply; 0: none
	}
	for name, steps := range map[string]func(m *machine) []step{
		"SYN, and we lead": func(m *machine) []step {
			return []step{{synTo(m, lower), synReceived, flagSYN | flagACK}, {ackTo(m, lower), established, flagACK}}
		},
		"SYN, and the peer leads": func(m *machine) []step {
			return []step{{synTo(m, higher), synReceived, 0}, {synAckTo(m, higher), established, flagACK}}
		},
		"the peer's NAT was closed for our SYN": func(m *machine) []step {
			return []step{{synAckTo(m, higher), established, flagACK}}
		},
		"both sides' SYN-ACKs": func(m *machine) []step {
			return []step{{synTo(m, lower), synReceived, flagSYN | flagACK}, {synAckTo(m, lower), synReceived, flagACK}, {ackTo(m, lower), established, flagACK}}
		},
		"SYN again": func(m *machine) []step {
			return []step{{synTo(m, lower), synReceived, flagSYN | flagACK}, {synTo(m, lower), synReceived, flagSYN | flagACK}}
		},
		"SYN again, and the peer leads": func(m *machine) []step {
			return []step{{synTo(m, higher), synReceived, 0}, {synTo(m, higher), synReceived, 0}}
		},
		"another SYN": func(m *machine) []step {
			return []step{{synTo(m, lower), synReceived, flagSYN | flagACK}, {synTo(m, 99), synReceived, flagSYN | flagACK}, {ackTo(m, lower), synReceived, 0}, {ackTo(m, 99), established, flagACK}}
		},
		"a SYN after the peer's SYN-ACK": func(m *machine) []step {
			return []step{{synTo(m, lower), synReceived, flagSYN | flagACK}, {synAckTo(m, lower), synReceived, flagACK}, {synTo(m, 99), synReceived, 0}, {ackTo(m, lower), established, flagACK}}
		},
		"a SYN-ACK knows better than a SYN": func(m *machine) []step {
			return []step{{synTo(m, 99), synReceived, flagSYN | flagACK}, {synAckTo(m, lower), synReceived, flagACK}, {ackTo(m, lower), established, flagACK}}
		},
		"SYN-ACK of something else": func(m *machine) []step {
			return []step{{change(synAckTo(m, lower), func(g *segment) { g.ack++ }), synSent, 0}}
		},
		"SYN-ACK with an echo of the future": func(m *machine) []step {
			return []step{{change(synAckTo(m, lower), func(g *segment) { g.opts.ecr += 1000 }), synSent, 0}}
		},
		"ACK before any SYN": func(m *machine) []step {
			return []step{{ackTo(m, lower), synSent, 0}}
		},
		"ACK of a SYN-ACK that we have not sent": func(m *machine) []step {
			return []step{{synTo(m, higher), synReceived, 0}, {ackTo(m, higher), synReceived, 0}}
		},
		"ACK of something else": func(m *machine) []step {
			return []step{{synTo(m, lower), synReceived, flagSYN | flagACK}, {change(ackTo(m, lower), func(g *segment) { g.ack-- }), synReceived, 0}}
		},
		"ACK outside the window": func(m *machine) []step {
			return []step{{synTo(m, lower), synReceived, flagSYN | flagACK}, {change(ackTo(m, lower), func(g *segment) { g.seq += 1 << 17 }), synReceived, 0},
				{change(ackTo(m, lower), func(g *segment) { g.seq -= 2 }), synReceived, 0}}
		},
		"ACK without a timestamp": func(m *machine) []step {
			return []step{{synTo(m, lower), synReceived, flagSYN | flagACK}, {change(ackTo(m, lower), func(g *segment) { g.opts.stamps = false }), synReceived, 0}}
		},
		"data instead of the ACK": func(m *machine) []step {
			return []step{{synTo(m, lower), synReceived, flagSYN | flagACK}, {change(ackTo(m, lower), func(g *segment) { g.seq += 1400; g.payload = make([]byte, 1400) }), established, flagACK}}
		},
		"keepalive instead of the ACK": func(m *machine) []step {
			return []step{{synTo(m, lower), synReceived, flagSYN | flagACK}, {change(ackTo(m, lower), func(g *segment) { g.seq-- }), established, flagACK}}
		},
		"FIN instead of the ACK": func(m *machine) []step {
			return []step{{synTo(m, lower), synReceived, flagSYN | flagACK}, {change(ackTo(m, lower), func(g *segment) { g.flags |= flagFIN }), synReceived, 0}}
		},
		"reset of our SYN": func(m *machine) []step {
			return []step{{change(synAckTo(m, 0), func(g *segment) { g.flags = flagRST | flagACK }), synSent, 0}, {synTo(m, lower), synReceived, flagSYN | flagACK}}
		},
		"reset of our SYN-ACK": func(m *machine) []step {
			return []step{{synTo(m, lower), synReceived, flagSYN | flagACK}, {change(ackTo(m, lower), func(g *segment) { g.flags = flagRST }), synSent, 0}, {synTo(m, lower), synReceived, flagSYN | flagACK}}
		},
		"reset out of place": func(m *machine) []step {
			return []step{{synTo(m, lower), synReceived, flagSYN | flagACK}, {change(ackTo(m, lower), func(g *segment) { g.flags = flagRST; g.seq++ }), synReceived, 0}}
		},
		"segments without sense": func(m *machine) []step {
			return []step{{change(synTo(m, lower), func(g *segment) { g.flags = 0 }), synSent, 0}, {change(synTo(m, lower), func(g *segment) { g.flags |= flagFIN }), synSent, 0},
				{change(synTo(m, lower), func(g *segment) { g.flags |= flagRST }), synSent, 0}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := crossingMachine(t, isn)
			for i, s := range steps(m) {
				out := m.step(t0+time.Duration(i+1)*time.Millisecond, event{kind: arrive, seg: s.seg})
				var flags uint8
				if out.n > 0 {
					flags = out.replies[0].flags
				}
				if m.state != s.state || flags != s.sends || out.n > 1 || out.reason != nil {
					t.Fatalf("step %d: %v, sends %+v, reason %v", i, m.state, out.replies[:out.n], out.reason)
				}
			}
			if m.state == established && (m.cross != nil || m.deadline != 0) || m.state != established && m.wake() == 0 {
				t.Fatalf("%v, deadline %v", m.state, m.deadline)
			}
		})
	}
}

func TestTheResetsOfACrossingAreCounted(t *testing.T) {
	m := crossingMachine(t, 5000)
	for range 3 {
		g := synAckTo(m, 0)
		g.flags = flagRST | flagACK
		m.step(t0+time.Millisecond, event{kind: arrive, seg: g})
		g.ack++ // not ours
		m.step(t0+time.Millisecond, event{kind: arrive, seg: g})
	}
	if m.cross.resets != 3 {
		t.Fatalf("%d resets", m.cross.resets)
	}
}

func TestSYNsOfACrossingAreRepeatedQuicklyAndAtOnceWhenTheyMayGoAllTheWay(t *testing.T) {
	for name, c := range map[string]struct {
		full, pace time.Duration
		want       []int // ms
	}{
		"alone":            {0, 0, []int{100, 300, 700, 1200, 1700, 2200}},
		"shy":              {250 * time.Millisecond, 0, []int{100, 250, 350, 550, 950, 1450, 1950, 2450}},
		"one of very many": {0, time.Second, []int{1000, 2000}},
	} {
		t.Run(name, func(t *testing.T) {
			m := crossingMachine(t, 1)
			m.cross = &simultaneous{hops: 2, full: t0 + c.full, pace: c.pace}
			m.deadline, m.tries = t0, 0
			var got []int
			for now := t0; now <= t0+2500*time.Millisecond; now += 10 * time.Millisecond {
				out := m.step(now, event{kind: tick})
				if out.n == 0 {
					continue
				}
				hops := uint8(0)
				if now-t0 < c.full {
					hops = 2
				}
				if out.replies[0] != (reply{flags: flagSYN, seq: 1, hops: hops}) {
					t.Fatalf("%v: %+v", now-t0, out.replies[0])
				}
				got = append(got, int((now - t0).Milliseconds()))
			}
			if len(got) != len(c.want)+1 {
				t.Fatalf("SYNs at %v ms, want %v", got, c.want)
			}
			for i, at := range c.want {
				if got[i+1] != at {
					t.Fatalf("SYNs at %v ms, want %v", got, c.want)
				}
			}
			if m.step(t0+time.Minute, event{kind: tick}); m.state != closed {
				t.Fatal("never gives up")
			}
		})
	}
}

func FuzzMeet(f *testing.F) {
	for _, text := range goldens {
		f.Add(unhex(f, text), uint32(100))
	}
	f.Add([]byte{}, uint32(7))
	f.Fuzz(func(t *testing.T, pkt []byte, seed uint32) {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		m := crossingMachine(t, r.Uint32())
		peer := r.Uint32()
		now := t0
		var g segment
		parsed := g.parse(pkt)
		for range 30 {
			now += time.Duration(r.IntN(300)) * time.Millisecond
			h := *[]func(*machine, uint32) *segment{synTo, synAckTo, ackTo}[r.IntN(3)](m, peer)
			h.payload = make([]byte, r.IntN(3))
			if r.IntN(3) == 0 {
				few := r.Uint32() & r.Uint32()
				h.flags ^= uint8(few)
				h.seq += r.Uint32() >> uint(r.IntN(40))
				h.ack -= r.Uint32() >> uint(r.IntN(40))
			}
			if parsed && r.IntN(2) == 0 {
				h.flags, h.window, h.opts = g.flags, g.window, g.opts
			}
			kind := []eventKind{arrive, arrive, tick}[r.IntN(3)]
			out := m.step(now, event{kind: kind, seg: &h})
			switch {
			case out.n > 1, m.state == closed && out.reason == nil:
				t.Fatalf("%v: %+v", m.state, out)
			case m.state == established && (m.cross != nil || m.s.sndNxt.Load() != m.sent+1):
				t.Fatal("established, but not through")
			case m.state < established && (m.cross == nil || m.deadline == 0):
				t.Fatalf("%v without a timer", m.state)
			case m.state >= established:
				return
			}
			for _, reply := range out.replies[:out.n] {
				if reply.flags&flagRST != 0 || reply.flags&flagACK != 0 && m.state == synSent {
					t.Fatalf("%v sends %+v", m.state, reply)
				}
			}
		}
	})
}
