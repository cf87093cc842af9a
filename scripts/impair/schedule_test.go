package impair

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestScheduleReleasesInOrderOfTimeThenArrival(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	type item struct {
		at     time.Duration
		number uint64
	}
	var s schedule
	var want []item
	for i := range uint64(5000) {
		at := time.Duration(random.IntN(300))
		want = append(want, item{at, i})
		s.push(at, binary.BigEndian.AppendUint64(nil, i))
	}
	slices.SortStableFunc(want, func(a, b item) int { return int(a.at - b.at) })
	var got []item
	for now := time.Duration(0); now < 307; now += 7 {
		for {
			e, frame, due := s.pop(now)
			if !due {
				break
			}
			if e.at > now {
				t.Fatalf("at %d something due at %d came out", now, e.at)
			}
			got = append(got, item{e.at, binary.BigEndian.Uint64(frame)})
			s.release(e)
		}
		if next, any := s.next(); any && next <= now {
			t.Fatalf("at %d something due at %d stays", now, next)
		}
	}
	if !slices.Equal(got, want) {
		t.Error("not what went in, or not in order")
	}
	if len(s.free) != len(s.buffers) {
		t.Errorf("of %d buffers %d came back", len(s.buffers), len(s.free))
	}
}
