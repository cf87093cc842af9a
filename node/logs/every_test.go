package logs

import (
	"testing"
	"time"
)

func TestEveryLetsOneThroughAndCountsTheRest(t *testing.T) {
	now := time.Unix(1000, 0)
	e := NewEvery(10 * time.Second)
	for i, tt := range []struct {
		after time.Duration
		ok    bool
		held  uint64
	}{{0, true, 0}, {0, false, 0}, {9 * time.Second, false, 0}, {10 * time.Second, true, 2}, {11 * time.Second, false, 0}, {time.Hour, true, 1}} {
		if held, ok := e.Allow(now.Add(tt.after)); ok != tt.ok || held != tt.held {
			t.Errorf("event %d: %v, %d held, want %v, %d", i, ok, held, tt.ok, tt.held)
		}
	}
}

func TestEveryKeyKeepsKeysApartAndBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	e := NewEveryKey[int](time.Minute)
	for key := range MaxKeys {
		if _, ok := e.Allow(key, now); !ok {
			t.Fatalf("key %d was held back by another", key)
		}
	}
	if _, ok := e.Allow(-1, now); !ok {
		t.Error("the first of the keys beyond the bound must pass")
	}
	if _, ok := e.Allow(-2, now); ok {
		t.Error("keys beyond the bound share one interval")
	}
	e.Forget(0)
	if _, ok := e.Allow(0, now); !ok {
		t.Error("a forgotten key starts anew")
	}
	if _, ok := e.Allow(1, now); ok {
		t.Error("key 1 passed twice")
	}
}

func TestEveryDoesNotAllocate(t *testing.T) {
	now := time.Unix(1000, 0)
	e := NewEveryKey[[32]byte](time.Minute)
	one := NewEvery(time.Minute)
	var key [32]byte
	if n := testing.AllocsPerRun(1000, func() { one.Allow(now) }); n != 0 {
		t.Errorf("Every allocates %v times", n)
	}
	e.Allow(key, now)
	if n := testing.AllocsPerRun(1000, func() { e.Allow(key, now) }); n > 1 { // the key in its interface
		t.Errorf("EveryKey allocates %v times", n)
	}
}
