package rawtcp

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestCookiesComeBackAndDieWithTheirTime(t *testing.T) {
	s := newSecrets()
	tu := newTuple(testRemote, testLocal)
	for slot := range uint32(300) {
		for mss, class := range map[uint16]uint16{1460: 1460, 9000: 1460, 1459: 1452, 536: 536, 100: 216, 0: 216} {
			c := s.makeCookie(&tu, 12345, slot, mssClass(mss))
			for age := range uint32(2) {
				if got, ok := s.checkCookie(&tu, 12345, c, slot+age); !ok || got != class {
					t.Fatalf("slot %d age %d: mss %d became %d, %v", slot, age, mss, got, ok)
				}
			}
			if _, ok := s.checkCookie(&tu, 12345, c, slot+2); ok {
				t.Fatal("an old cookie is good")
			}
			if _, ok := s.checkCookie(&tu, 12345, c, slot-1); ok {
				t.Fatal("a cookie of the future is good")
			}
		}
	}
}

func TestACookieIsGoodForNobodyElse(t *testing.T) {
	s, tu := newSecrets(), newTuple(testRemote, testLocal)
	c := s.makeCookie(&tu, 1, 7, 3)
	other := tu
	other.remotePort++
	if _, ok := s.checkCookie(&other, 1, c, 7); ok {
		t.Error("good for another port")
	}
	if _, ok := s.checkCookie(&tu, 2, c, 7); ok {
		t.Error("good for another sequence number")
	}
	if _, ok := newSecrets().checkCookie(&tu, 1, c, 7); ok {
		t.Error("good after a restart")
	}
	good := 0
	for range 1 << 20 {
		if _, ok := s.checkCookie(&tu, 1, rand.Uint32(), 7); ok {
			good++
		}
	}
	if good > 3 { // 2 slots of 256 times 16 classes of 2^24: one in 134 million
		t.Errorf("%d of a million guesses are good", good)
	}
}

func TestTheTimestampCarriesTheOptions(t *testing.T) {
	for _, o := range []options{{wscale: 10, sack: true}, {wscale: 0}, {wscale: 14}, {wscale: -1, sack: true}} {
		for clock := uint32(1 << 20); clock < 1<<20+200; clock++ {
			ts := stampWithOptions(clock, &o)
			if scaleInStamp(ts) != o.wscale || int32(ts-clock) > 0 || clock-ts >= 1<<stampBits {
				t.Fatalf("%+v at %d: %d, scale %d", o, clock, ts, scaleInStamp(ts))
			}
		}
	}
}

func TestBacklogRepeatsItsAnswersAndStaysBounded(t *testing.T) {
	b, s := newBacklog(3), newSecrets()
	var g segment
	g.parse(unhex(t, linuxSYN4))
	h, kept := b.take(t0, &g, s)
	if again, _ := b.take(t0+time.Millisecond, &g, s); !kept || again != h {
		t.Fatal("a repeated SYN makes a new entry")
	}
	for i := range 5 {
		g.tuple.remotePort = uint16(i)
		if _, kept = b.take(t0, &g, s); kept != (i < 2) {
			t.Fatalf("entry %d kept: %v", i, kept)
		}
	}
	var at []time.Duration
	for now := t0; now < t0+2*time.Minute; now += 100 * time.Millisecond {
		b.due(now, 5, func(x *halfOpen) {
			if x == h {
				at = append(at, (now - t0).Round(time.Second))
			}
		})
	}
	want := []time.Duration{1, 3, 7, 15, 31}
	if len(at) != len(want) || len(b.entries) != 0 {
		t.Fatalf("answered at %v, %d left", at, len(b.entries))
	}
	for i, w := range want {
		if at[i] != w*time.Second {
			t.Fatalf("answered at %v", at)
		}
	}
}

func TestSYNACKIsLinuxs(t *testing.T) {
	var g segment
	g.parse(unhex(t, linuxSYN4))
	h, _ := newBacklog(1).take(t0, &g, newSecrets())
	got := h.synAck(testProfile(), newSecrets(), 1460, millis(t0))
	var want segment
	want.parse(unhex(t, linuxSYNACK4))
	want.opts.val = got.opts.val
	if got.opts != want.opts || got.window != want.window || got.flags != want.flags || got.ack != want.ack || got.id != 0 {
		t.Fatalf("got %+v, Linux sends %+v", got, want)
	}
	// A peer without options gets none that it did not offer.
	h.opts = options{mss: 1460, wscale: -1}
	if got := h.synAck(testProfile(), newSecrets(), 1460, 0); got.opts != (options{mss: 1460, wscale: -1}) {
		t.Fatalf("%+v", got.opts)
	}
}

func TestLimiterLetsItsRateThrough(t *testing.T) {
	l := limiter{perSecond: 200}
	n := 0
	for now := t0; now < t0+10*time.Second; now += 100 * time.Microsecond {
		if l.allow(now) {
			n++
		}
	}
	if n < 1990 || n > 2060 {
		t.Fatalf("%d in 10 s", n)
	}
}
