package rawtcp

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// The machine's tests have no clock and no network: t0 is any time.
const t0 = 24 * time.Hour

var (
	testLocal  = netip.MustParseAddrPort("192.0.2.1:40000")
	testRemote = netip.MustParseAddrPort("192.0.2.2:9000")
)

// opening returns a machine that has sent its SYN with sequence number isn.
func opening(t *testing.T, isn uint32) (*machine, *stream) {
	t.Helper()
	tr := &Transport{cfg: Config{DialTimeout: time.Minute}, profile: testProfile(), secrets: newSecrets()}
	f := tr.dialledFlow(newTuple(testLocal, testRemote), testHop{&testWire{mtu: 1500}, false}, &dial{}, t0)
	f.machine.sent = isn
	f.sndNxt.Store(isn + 1)
	out := f.machine.step(t0, event{kind: open})
	if out.n != 1 || out.replies[0] != (reply{flags: flagSYN, seq: isn}) {
		t.Fatalf("opens with %+v", out)
	}
	return &f.machine, &f.stream
}

// synAckTo is the answer to m's SYN, sent at once by a Linux server with isn.
func synAckTo(m *machine, isn uint32) *segment {
	return &segment{flags: flagSYN | flagACK, seq: isn, ack: m.sent + 1, window: 65160,
		opts: options{mss: 1460, wscale: 10, sack: true, stamps: true, val: 1000, ecr: m.s.stamp(m.firstSYN)}}
}

// connected returns an established machine: our next byte is isn+1, the peer's
// is peerISN+1.
func connected(t *testing.T, isn, peerISN uint32) (*machine, *stream) {
	t.Helper()
	m, s := opening(t, isn)
	out := m.step(t0+30*time.Millisecond, event{kind: arrive, seg: synAckTo(m, peerISN)})
	if m.state != established || out.n != 1 || out.replies[0] != (reply{flags: flagACK, seq: isn + 1}) {
		t.Fatalf("%v, %+v", m.state, out)
	}
	return m, s
}

// from is a segment of m's peer that fits what is expected.
func from(m *machine, flags uint8, payload int) *segment {
	s := m.s
	return &segment{flags: flags | flagACK, seq: s.rcvNxt.Load(), ack: s.sndNxt.Load(), window: 63,
		opts: options{wscale: -1, stamps: true, val: 1001, ecr: s.oldest.Load()}, payload: make([]byte, payload)}
}

func TestSYNIsRepeatedWhenTheKernelDoes(t *testing.T) {
	for _, c := range []struct {
		linear int
		want   []float64
	}{
		{4, []float64{1.02, 2.04, 3.07, 4.09, 5.11, 7.13, 11.3}}, // Linux 6.5 and later, measured
		{0, []float64{1.02, 3.07, 7.13, 15.3, 31.7, 64.4}},
	} {
		m, _ := opening(t, 1)
		p := *m.profile
		p.synLinear, p.synRetries = c.linear, len(c.want)
		m.profile, m.giveUp = &p, t0+100*time.Second
		m.deadline = t0 + p.synInterval(0)
		var got []float64
		for now := t0; now < t0+99*time.Second; now += time.Millisecond {
			if out := m.step(now, event{kind: tick}); out.n > 0 {
				if out.replies[0] != (reply{flags: flagSYN, seq: 1}) {
					t.Fatalf("sent %+v", out.replies[0])
				}
				got = append(got, (now - t0).Seconds())
			}
		}
		close := func(a, b float64) bool { return a > b*0.98 && a < b*1.02 }
		if !slices.EqualFunc(got, c.want, close) {
			t.Errorf("linear %d: at %.2f, want %v", c.linear, got, c.want)
		}
		m.step(t0+101*time.Second, event{kind: tick})
		if m.state != closed {
			t.Errorf("linear %d: never gives up", c.linear)
		}
	}
}

func TestSYNSentAcceptsOnlyTheAnswerToItsSYN(t *testing.T) {
	for name, c := range map[string]struct {
		change func(g *segment)
		state  state
		sends  uint8 // flags of the reply; 0: none
		reason string
	}{
		"the answer":            {func(*segment) {}, established, flagACK, ""},
		"no timestamps offered": {func(g *segment) { g.opts.stamps = false }, established, flagACK, ""},
		"ack of nothing":        {func(g *segment) { g.ack += 5 }, synSent, flagRST, ""},
		"echo of the future":    {func(g *segment) { g.opts.ecr += 1000 }, synSent, 0, ""},
		"echo of the past":      {func(g *segment) { g.opts.ecr-- }, synSent, 0, ""},
		"simultaneous open":     {func(g *segment) { g.flags = flagSYN }, synSent, 0, ""},
		"refusal":               {func(g *segment) { g.flags = flagRST | flagACK }, closed, 0, "connection refused by 192.0.2.2:9000"},
		"refusal out of place":  {func(g *segment) { g.flags, g.ack = flagRST|flagACK, 9 }, synSent, 0, ""},
		"refusal without ack":   {func(g *segment) { g.flags = flagRST }, synSent, 0, ""},
		"plain ack":             {func(g *segment) { g.flags = flagACK }, synSent, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := opening(t, 77)
			g := synAckTo(m, 5000)
			c.change(g)
			out := m.step(t0+time.Millisecond, event{kind: arrive, seg: g})
			var flags uint8
			if out.n > 0 {
				flags = out.replies[0].flags
			}
			if m.state != c.state || flags != c.sends || (c.reason == "") != (out.reason == nil) {
				t.Fatalf("%v, sends %+v, reason %v", m.state, out.replies[:out.n], out.reason)
			}
			if out.reason != nil && !strings.Contains(out.reason.Error(), c.reason) {
				t.Fatal(out.reason)
			}
		})
	}
}

func TestNegotiationTakesTheSmallerOfBothSides(t *testing.T) {
	m, s := opening(t, 1)
	g := synAckTo(m, 2)
	g.opts = options{mss: 1400, wscale: -1}
	m.step(t0, event{kind: arrive, seg: g})
	if s.stamps || s.ownScale != 0 || s.peerScale.Load() != 0 || s.mss.Load() != 1400 || s.window() != 64240 {
		t.Fatalf("stamps %v, scales %d %d, window %d", s.stamps, s.ownScale, s.peerScale.Load(), s.window())
	}
	_, s = connected(t, 1, 2)
	if !s.stamps || s.ownScale != 10 || s.peerScale.Load() != 10 || s.window() != 63 { // as Linux: see the golden ACK
		t.Fatalf("stamps %v, scales %d %d, window %d", s.stamps, s.ownScale, s.peerScale.Load(), s.window())
	}
}

// RFC 5961, sections 3.2 and 4.2.
func TestBlindResetsAndSYNsAreChallenged(t *testing.T) {
	for name, c := range map[string]struct {
		flags  uint8
		offset int32
		state  state
		sends  int
	}{
		"reset at the exact place":   {flagRST, 0, closed, 0},
		"reset inside the window":    {flagRST, 1, established, 1},
		"reset at the window's end":  {flagRST, 63<<10 - 1, established, 1},
		"reset beyond the window":    {flagRST, 63 << 10, established, 0},
		"reset before the window":    {flagRST, -1, established, 0},
		"reset in the other half":    {flagRST, -1 << 31, established, 0},
		"SYN at the exact place":     {flagSYN, 0, established, 1},
		"SYN anywhere":               {flagSYN, 1 << 30, established, 1},
		"SYN with ACK, as a retry":   {flagSYN | flagACK, -1, established, 1},
		"segment without any flag":   {0, 0, established, 0},
		"FIN far beyond the window":  {flagFIN | flagACK, 1 << 27, established, 1},
		"FIN far behind the windows": {flagFIN | flagACK, -1 << 27, established, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m, s := connected(t, 0xfffffff0, 0xfffffff8)
			g := from(m, 0, 0)
			g.flags = c.flags
			g.seq += uint32(c.offset)
			out := m.step(t0+time.Second, event{kind: arrive, seg: g})
			if m.state != c.state || out.n != c.sends {
				t.Fatalf("%v, sends %+v", m.state, out.replies[:out.n])
			}
			if out.n == 1 && out.replies[0] != (reply{flags: flagACK, seq: s.sndNxt.Load()}) {
				t.Fatalf("challenge %+v", out.replies[0])
			}
			if c.sends == 1 {
				if out = m.step(t0+time.Second+100*time.Millisecond, event{kind: arrive, seg: g}); out.n != 0 {
					t.Fatal("challenges are not limited")
				}
				if out = m.step(t0+2*time.Second, event{kind: arrive, seg: g}); out.n != 1 {
					t.Fatal("challenges stay away")
				}
			}
		})
	}
}

func TestTeardownByEitherSideAndByBoth(t *testing.T) {
	at := t0 + time.Second
	t.Run("ours", func(t *testing.T) {
		m, s := connected(t, 10, 20)
		out := m.step(at, event{kind: shut})
		if m.state != finWait1 || out.n != 1 || out.replies[0] != (reply{flags: flagFIN | flagACK, seq: 11}) || !errors.Is(out.reason, net.ErrClosed) {
			t.Fatalf("%v %+v", m.state, out)
		}
		m.step(at, event{kind: arrive, seg: from(m, 0, 0)})
		if m.state != finWait2 {
			t.Fatal(m.state)
		}
		out = m.step(at, event{kind: arrive, seg: from(m, flagFIN, 0)})
		if m.state != timeWait || out.n != 1 || out.replies[0].flags != flagACK || s.rcvNxt.Load() != 22 {
			t.Fatalf("%v %+v", m.state, out)
		}
		if m.step(at+2*time.Second, event{kind: tick}); m.state != closed {
			t.Fatal(m.state)
		}
	})
	t.Run("theirs", func(t *testing.T) {
		m, _ := connected(t, 10, 20)
		out := m.step(at, event{kind: arrive, seg: from(m, flagFIN, 0)})
		if m.state != lastAck || out.n != 1 || out.replies[0] != (reply{flags: flagFIN | flagACK, seq: 11}) || out.reason != errPeerFIN {
			t.Fatalf("%v %+v", m.state, out)
		}
		if m.step(at, event{kind: arrive, seg: from(m, 0, 0)}); m.state != closed {
			t.Fatal(m.state)
		}
	})
	t.Run("both at once", func(t *testing.T) {
		m, _ := connected(t, 10, 20)
		m.step(at, event{kind: shut})
		g := from(m, flagFIN, 0)
		g.ack-- // has not seen ours
		if out := m.step(at, event{kind: arrive, seg: g}); m.state != closing || out.n != 1 {
			t.Fatalf("%v %+v", m.state, out)
		}
		if m.step(at, event{kind: arrive, seg: from(m, 0, 0)}); m.state != timeWait {
			t.Fatal(m.state)
		}
	})
	t.Run("nobody answers", func(t *testing.T) {
		m, _ := connected(t, 10, 20)
		m.step(at, event{kind: shut})
		fins := 0
		for now := at; m.state != closed && now < at+time.Minute; now += 10 * time.Millisecond {
			fins += m.step(now, event{kind: tick}).n
		}
		if m.state != closed || fins != finRetries {
			t.Fatalf("%v after %d more FINs", m.state, fins)
		}
	})
	t.Run("before the answer to our SYN", func(t *testing.T) {
		m, _ := opening(t, 1)
		if out := m.step(at, event{kind: shut}); m.state != closed || out.n != 0 || !errors.Is(out.reason, net.ErrClosed) {
			t.Fatalf("%v %+v", m.state, out)
		}
	})
}

func TestUnacknowledgedBytesAreProbedAndAtLastGivenUp(t *testing.T) {
	m, s := connected(t, 100, 200)
	s.reserve(1000, 1000)
	var probes []time.Duration
	now := t0 + time.Second
	for ; m.state == established && now < t0+2*time.Minute; now += 10 * time.Millisecond {
		if out := m.step(now, event{kind: tick}); out.n > 0 {
			if r := out.replies[0]; r != (reply{flags: flagACK, seq: 1100, probe: true}) {
				t.Fatalf("%+v", r)
			}
			probes = append(probes, now-t0-time.Second)
		}
	}
	if len(probes) != probeRetries || probes[0] < 200*time.Millisecond || probes[0] > 300*time.Millisecond || m.state != closed {
		t.Fatalf("%v at %v, probes at %v", m.state, now-t0, probes)
	}
	m, s = connected(t, 100, 200)
	s.reserve(1000, 1000)
	for i := range 600 {
		now = t0 + time.Second + time.Duration(i)*100*time.Millisecond
		m.step(now, event{kind: tick})
		if i%20 == 19 { // somebody does answer, now and then
			s.take(from(m, 0, 0), millis(now))
			s.reserve(1000, 1000)
		}
	}
	if m.state != established || m.tries > 6 {
		t.Fatalf("%v after %d tries", m.state, m.tries)
	}
}

func FuzzStep(f *testing.F) {
	for _, text := range goldens {
		f.Add(unhex(f, text), uint8(arrive), uint32(100))
	}
	f.Add([]byte{}, uint8(tick), uint32(5000))
	f.Add([]byte{}, uint8(shut), uint32(1))
	f.Fuzz(func(t *testing.T, pkt []byte, kind uint8, ms uint32) {
		r := rand.New(rand.NewPCG(uint64(ms), uint64(kind)))
		m, s := connected(t, r.Uint32(), r.Uint32())
		now := t0 + time.Second
		var g segment
		parsed := g.parse(pkt)
		for range 20 {
			now += time.Duration(ms%1000) * time.Millisecond
			h := *from(m, uint8(r.Uint32()), r.IntN(3))
			if parsed {
				h.flags ^= g.flags
				h.window = g.window
				if r.IntN(2) == 0 {
					h.seq, h.ack = h.seq+g.seq>>uint(r.IntN(32)), h.ack-g.ack>>uint(r.IntN(32))
				}
			}
			if m.state == closed {
				return
			}
			if r.IntN(3) == 0 {
				s.reserve(100, 1000)
			}
			if r.IntN(3) == 0 {
				s.take(&h, millis(now))
			}
			out := m.step(now, event{kind: eventKind(kind%3) + 1, seg: &h})
			if before(s.sndNxt.Load(), s.sndUna.Load()) || out.n > 2 || m.wake() < 0 {
				t.Fatalf("%v: una runs ahead of nxt", m.state)
			}
			if m.state != established && m.state != closed && m.deadline == 0 {
				t.Fatalf("%v without a timer", m.state)
			}
		}
	})
}
