package pmtu

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// road is a path in virtual time: it carries datagrams of up to size bytes, loses
// some of them and answers the rest.
type road struct {
	s     *Search
	now   time.Time
	size  int
	loss  float64
	rtt   time.Duration
	rng   *rand.Rand
	late  []answer
	sent  int
	bytes int
}

type answer struct {
	id uint32
	at time.Time
}

func newRoad(s *Search, size int, loss float64) *road {
	return &road{s: s, now: time.Unix(1_700_000_000, 0), size: size, loss: loss, rtt: 50 * time.Millisecond, rng: rand.New(rand.NewPCG(3, 3))}
}

// pass steps every 50 ms for a while.
func (r *road) pass(d time.Duration, large bool) {
	for end := r.now.Add(d); r.now.Before(end); {
		r.now = r.now.Add(50 * time.Millisecond)
		for len(r.late) > 0 && !r.late[0].at.After(r.now) {
			r.s.Answered(r.late[0].at, r.late[0].id)
			r.late = r.late[1:]
		}
		for _, p := range r.s.Step(r.now, r.rtt, large) {
			r.sent, r.bytes = r.sent+1, r.bytes+p.Size
			if p.Size <= r.size && r.rng.Float64() >= r.loss {
				r.late = append(r.late, answer{p.ID, r.now.Add(r.rtt)})
			}
		}
	}
}

// until passes time until ok, and says how long it took.
func (r *road) until(t *testing.T, limit time.Duration, large bool, ok func() bool) time.Duration {
	t.Helper()
	for began := r.now; ; r.pass(50*time.Millisecond, large) {
		if took := r.now.Sub(began); ok() {
			return took
		} else if took > limit {
			t.Fatalf("after %v the limit is %d of %d", took, r.s.Limit(), r.size)
		}
	}
}

func TestTheSizeOfAPathIsFound(t *testing.T) {
	for _, size := range []int{520, 600, 1163, 1223, 1343, 1435, 1443, 9000} {
		for _, loss := range []float64{0, 0.1} {
			t.Run(fmt.Sprint(size, " loss ", loss), func(t *testing.T) {
				r := newRoad(New(520, 1443), size, loss)
				r.pass(15*time.Second, true)
				// A size that is lost three times in a row is taken for too large:
				// the search after ten minutes mends that.
				want := min(size, 1443)
				if got := r.s.Limit(); got > want || loss == 0 && got <= want-granularity || got < want*3/4 {
					t.Errorf("found %d, want %d", got, want)
				}
				if r.s.Busy() && loss == 0 && !r.s.Confirmed() {
					t.Error("it goes on")
				}
			})
		}
	}
}

func TestAFullSizePathIsUsedFromTheStartAndCostsOneProbe(t *testing.T) {
	r := newRoad(New(520, 1443), 1500, 0)
	if r.s.Limit() != 1443 {
		t.Fatalf("it starts with %d", r.s.Limit())
	}
	r.pass(5*time.Minute, false)
	if r.sent != 1 || !r.s.Confirmed() {
		t.Errorf("%d probes", r.sent)
	}
	r.pass(10*time.Second, true)
	if r.sent > 1+11 {
		t.Errorf("%d probes in ten seconds of bulk", r.sent)
	}
}

func TestAPathThatShrinksIsNoticedUnderLoad(t *testing.T) {
	for _, loss := range []float64{0, 0.05} {
		r := newRoad(New(520, 1443), 1343, loss)
		r.pass(10*time.Second, true)
		r.size = 1223
		took := r.until(t, 2500*time.Millisecond, true, func() bool { return r.s.Limit() <= 1223 })
		if got := r.s.Limit(); got < 1100 {
			t.Errorf("the limit falls to %d", got)
		}
		r.pass(5*time.Second, true)
		if got := r.s.Limit(); got <= 1223-2*granularity || got > 1223 {
			t.Errorf("loss %v: in the end it is %d", loss, got)
		}
		t.Logf("loss %v: noticed after %v, then %d", loss, took, r.s.Limit())
	}
}

func TestAPathThatShrinksDuringTheSearchIsNoticed(t *testing.T) {
	for wait := range 30 {
		r := newRoad(New(520, 1443), 1343, 0)
		r.pass(time.Duration(wait)*150*time.Millisecond, true)
		r.size = 1223
		took := r.until(t, 2500*time.Millisecond, true, func() bool { return r.s.Limit() <= 1223 })
		if took > 2500*time.Millisecond {
			t.Errorf("after %v of searching: noticed after %v", time.Duration(wait)*150*time.Millisecond, took)
		}
	}
}

func TestAPathThatGrowsIsNoticedInTime(t *testing.T) {
	r := newRoad(New(520, 1443), 1223, 0)
	r.pass(10*time.Second, true)
	r.size = 1500
	r.until(t, raiseEvery+time.Minute, true, func() bool { return r.s.Limit() == 1443 })
}

func TestASizeGivenUpByMistakeIsBackSoon(t *testing.T) {
	r := newRoad(New(520, 1443), 1500, 0)
	r.pass(20*time.Minute, true)
	r.size = 1000 // a queue is full: large ones are dropped
	r.until(t, 5*time.Second, true, func() bool { return r.s.Limit() <= 1000 })
	r.pass(10*time.Second, true)
	r.size = 1500
	r.until(t, raiseFirst+5*time.Second, true, func() bool { return r.s.Limit() == 1443 })
}

func TestANarrowPathIsAskedForMoreEverMoreSeldom(t *testing.T) {
	r := newRoad(New(520, 1443), 1223, 0)
	r.pass(10*time.Second, false)
	var waits []time.Duration
	for last, began := r.sent, r.now; len(waits) < 7; {
		if r.pass(time.Second, false); r.sent != last {
			waits, began = append(waits, r.now.Sub(began).Round(30*time.Second)), r.now
			r.pass(20*time.Second, false) // until that search is over
			last = r.sent
		}
	}
	for i, want := range []time.Duration{30, 60, 120, 240, 480, 600, 600} {
		if i > 0 && (waits[i]-want*time.Second).Abs() > 30*time.Second {
			t.Fatalf("looked after %v", waits)
		}
	}
}

func TestALineThatIsBlackChangesNoSize(t *testing.T) {
	r := newRoad(New(520, 1443), 1343, 0)
	r.pass(10*time.Second, true)
	before := r.s.Limit()
	r.loss = 1
	r.pass(20*time.Second, true)
	if r.s.Limit() != before {
		t.Errorf("from %d to %d", before, r.s.Limit())
	}
	r.loss = 0
	r.pass(10*time.Second, true)
	if r.s.Limit() != before || !r.s.Confirmed() {
		t.Errorf("after the line is back: %d", r.s.Limit())
	}
}

func TestLossAloneHardlyEverShrinksAPath(t *testing.T) {
	r := newRoad(New(520, 1443), 1500, 0.1)
	fell := 0
	for range 3600 {
		r.pass(time.Second, true)
		if r.s.Limit() < 1443 {
			fell++
		}
	}
	if fell > 36 {
		t.Errorf("in %d of 3600 seconds the limit was too small", fell)
	}
}

func TestOtherBoundsBeginASearch(t *testing.T) {
	r := newRoad(New(520, 1443), 1500, 0)
	r.pass(time.Second, false)
	r.s.Bound(520, 1443)
	if !r.s.Confirmed() {
		t.Fatal("the same bounds began one")
	}
	r.s.Bound(520, 1000)
	if r.s.Limit() != 1000 || r.s.Confirmed() {
		t.Errorf("the limit is %d", r.s.Limit())
	}
	r.pass(time.Second, false)
	r.s.Bound(520, 300) // smaller than the least
	r.pass(time.Second, false)
	if r.s.Limit() != 300 || !r.s.Confirmed() {
		t.Errorf("the limit is %d", r.s.Limit())
	}
}

func FuzzTheLimitIsNeverOutOfBounds(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 200, 100, 7}, uint16(520), uint16(1443))
	f.Add([]byte{255, 255, 0, 0, 9, 9, 9}, uint16(0), uint16(0))
	f.Fuzz(func(t *testing.T, ops []byte, least, most uint16) {
		s, now := New(int(least), int(most)), time.Unix(1_700_000_000, 0)
		for _, op := range ops {
			now = now.Add(time.Duration(op) * 13 * time.Millisecond)
			for i, p := range s.Step(now, time.Duration(op)*time.Millisecond, op&1 != 0) {
				if p.Size > int(most) || p.Size < min(int(least), int(most)) {
					t.Fatalf("probe of %d bytes", p.Size)
				}
				if int(op>>1)&(1<<(i%7)) != 0 {
					s.Answered(now, p.ID)
				}
			}
			s.Answered(now, uint32(op))
			if l := s.Limit(); l > int(most) || l < min(int(least), int(most)) {
				t.Fatalf("limit %d outside %d to %d", l, least, most)
			}
			if len(s.sent) > keepSent+rungs+1 {
				t.Fatalf("%d probes are remembered", len(s.sent))
			}
		}
	})
}
