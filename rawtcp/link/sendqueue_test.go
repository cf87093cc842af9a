package link

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestQueuesAreLookedAtOftenOnlyWhileOneIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second+time.Millisecond)
		defer cancel()
		began := time.Now()
		var looks [3]int // in each second; traffic flows in the second one
		err := Govern(ctx, func(now time.Time) bool {
			second := int(now.Sub(began) / time.Second)
			looks[min(second, 2)]++
			return second == 1
		})
		if err != nil {
			t.Fatal(err)
		}
		if looks[0] > 10 || looks[2] > 11 {
			t.Errorf("%d and %d looks in a second of rest", looks[0], looks[2])
		}
		if looks[1] < 90 || looks[1] > 101 {
			t.Errorf("%d looks in a busy second", looks[1])
		}
	})
}

func TestAnIdleSocketCostsNoSystemCall(t *testing.T) {
	q := NewSendQueue(1 << 20)
	now := time.Unix(1_700_000_000, 0)
	const nobody = -1 // every system call on it fails
	for range 100 {
		now = now.Add(governIdle)
		if q.Look(now, nobody, 0, 0) || !q.at.IsZero() {
			t.Fatal("it is busy")
		}
	}
}
