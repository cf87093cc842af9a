package rawtcp

import (
	"errors"
	"math/rand/v2"
	"testing"
)

func TestTheAcknowledgementRunsPastHolesAndNeverBack(t *testing.T) {
	m, s := connected(t, 1, 0xffffff00)
	start := s.rcvNxt.Load()
	for _, c := range []struct{ at, n, want uint32 }{
		{0, 100, 100}, {1000, 100, 1100}, {100, 100, 1100}, {1100, 1, 1101}, {0, 100, 1101},
	} {
		g := from(m, 0, int(c.n))
		g.seq = start + c.at
		if v := s.take(g, millis(t0)+50); v != accepted && v != acceptedAck {
			t.Fatalf("%+v: %v", c, v)
		}
		if got := s.rcvNxt.Load() - start; got != c.want {
			t.Fatalf("after %+v: %d", c, got)
		}
	}
}

func TestForgedDataChangesNothing(t *testing.T) {
	now := millis(t0) + 50
	for name, forge := range map[string]func(g *segment, s *stream){
		"beyond the window":     func(g *segment, s *stream) { g.seq += 1 << 20 },
		"far behind":            func(g *segment, s *stream) { g.seq -= 1 << 27 },
		"acks what was not":     func(g *segment, s *stream) { g.ack++ },
		"acks the distant past": func(g *segment, s *stream) { g.ack -= 1 << 27 },
		"no timestamps":         func(g *segment, s *stream) { g.opts.stamps = false },
		"echo too old":          func(g *segment, s *stream) { g.opts.ecr = s.oldest.Load() - 1 },
		"echo of the future":    func(g *segment, s *stream) { g.opts.ecr = s.stamp(now) + 1 },
	} {
		m, s := connected(t, 500, 900)
		g := from(m, 0, 100)
		g.opts.val, g.window = 1<<20, 60000
		forge(g, s)
		edge := s.sndEdge.Load()
		if v := s.take(g, now); v == accepted || v == acceptedAck {
			t.Errorf("%s: accepted", name)
		}
		if s.rcvNxt.Load() != 901 || s.sndEdge.Load() != edge || s.recent.Load() != 1000 || s.received.Load() != 0 {
			t.Errorf("%s: left its mark", name)
		}
	}
}

func TestThePeersWindowIsNeverExceeded(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 200 {
		isn := r.Uint32()
		_, s := connected(t, isn, r.Uint32())
		edge, next := isn+1+65160, isn+1
		for range 300 {
			if r.IntN(3) == 0 { // an acknowledgement of something in flight
				ack := s.sndUna.Load()
				if fl := s.inFlight(); fl > 0 {
					ack += r.Uint32N(fl + 1)
				}
				w := uint16(r.IntN(200))
				g := &segment{flags: flagACK, seq: s.rcvNxt.Load(), ack: ack, window: w,
					opts: options{stamps: true, val: 1001, ecr: s.oldest.Load()}}
				if s.take(g, millis(t0)+50) != accepted {
					t.Fatal("refused")
				}
				raise32(&edge, ack+uint32(w)<<10)
			}
			slot, n := 1+r.IntN(1400), 1+r.IntN(45)
			total := slot*(n-1) + 1 + r.IntN(slot)
			seq, granted := s.reserve(slot, total)
			if granted == 0 {
				continue
			}
			if seq != next || granted > total || granted%slot != 0 && granted != total || before(edge, seq+uint32(granted)) {
				t.Fatalf("%d bytes at %d, edge %d", granted, seq-next, int32(edge-seq))
			}
			next += uint32(granted)
		}
	}
}

func TestTheReceiveWindowGrowsToItsCeilingAndNeverShrinks(t *testing.T) {
	m, s := connected(t, 1, 2)
	last := uint32(0)
	for range 1000 {
		s.take(from(m, 0, 60000), millis(t0)+50)
		w := uint32(s.window()) << s.ownScale
		if w < last {
			t.Fatalf("window shrank from %d to %d", last, w)
		}
		last = w
	}
	if last != 32<<20 || last < 16<<20 {
		t.Fatalf("window %d", last)
	}
}

func TestBulkIsAcknowledgedEveryMillisecondOrQuarterWindow(t *testing.T) {
	m, s := connected(t, 1, 2)
	var h header
	ms, acks := millis(t0)+50, 0
	take := func() {
		switch s.take(from(m, 0, 60000), ms) {
		case acceptedAck:
			acks++
			s.fill(&h, ms)
		case accepted:
		default:
			t.Fatal("refused")
		}
		if window := uint32(s.window()) << s.ownScale; s.unacked() >= window/4 {
			t.Fatalf("%d bytes of a window of %d are not acknowledged", s.unacked(), window)
		}
	}
	for range 1000 { // until the window is wide
		take()
	}
	for range 20 {
		ms++
		acks = 0
		for range 20 {
			take()
		}
		if acks != 1 {
			t.Fatalf("%d acknowledgements in a millisecond", acks)
		}
	}
	acks = 0
	for range 10 { // slower: one for every second super-segment and a bit
		ms++
		take()
	}
	if acks < 3 || acks > 5 {
		t.Fatalf("%d acknowledgements of ten super-segments", acks)
	}
}

func TestProfileFollowsTheSysctls(t *testing.T) {
	host := map[string]string{}
	read := func(name string) (string, error) {
		if v, ok := host[name]; ok {
			return v, nil
		}
		return "", errors.New("no such file")
	}
	p := readProfile(read)
	if p.ttl != 64 || !p.stamps || !p.stampOffset || !p.sack || p.wscale != 10 || p.synLinear != 0 || p.synRetries != 6 {
		t.Fatalf("defaults: %+v", p)
	}
	if p.startWindow(1460) != 64240 || p.startWindow(1448) != 65160 || p.startWindow(1440) != 64800 || p.startWindow(65495) != 65495 {
		t.Fatal("start windows are not Linux's")
	}
	host["ipv4/tcp_rmem"] = "4096\t131072\t134217728"
	host["ipv4/tcp_timestamps"], host["ipv4/tcp_sack"], host["ipv4/ip_default_ttl"] = "0", "0", "128"
	if p = readProfile(read); p.stamps || p.sack || p.ttl != 128 || p.wscale != 12 || p.ceiling != 128<<20 {
		t.Fatalf("%+v", p)
	}
	host["ipv4/tcp_window_scaling"] = "0"
	if p = readProfile(read); p.wscale != -1 || p.ceiling != 65535 {
		t.Fatalf("%+v", p)
	}
}
