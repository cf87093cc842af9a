package logs

import (
	"sync"
	"sync/atomic"
	"time"
)

// Every lets one event per interval through and counts the rest, so that a
// flood of equal events costs one log line. It takes no lock; any goroutine may
// call it. Its zero value lets everything through.
type Every struct {
	interval time.Duration
	next     atomic.Int64 // Unix nanoseconds from which the next event passes
	held     atomic.Uint64
}

// NewEvery returns one that lets an event through at most every interval.
func NewEvery(interval time.Duration) *Every { return &Every{interval: interval} }

// Allow says whether the event at now may be logged, and if so how many before
// it were not.
func (e *Every) Allow(now time.Time) (held uint64, ok bool) {
	at, next := now.UnixNano(), e.next.Load()
	if at < next || !e.next.CompareAndSwap(next, at+int64(e.interval)) {
		e.held.Add(1)
		return 0, false
	}
	return e.held.Swap(0), true
}

// EveryKey is one [Every] per key, such as a peer's name. It remembers at most
// MaxKeys keys; further ones share a single Every, so that invented keys cannot
// fill the memory. Any goroutine may call it; a key that is known takes no lock.
type EveryKey[K comparable] struct {
	interval time.Duration
	known    sync.Map // K -> *Every
	count    atomic.Int64
	rest     Every
}

// MaxKeys bounds what an EveryKey remembers.
const MaxKeys = 4096

// NewEveryKey returns one that lets an event through at most every interval per key.
func NewEveryKey[K comparable](interval time.Duration) *EveryKey[K] {
	return &EveryKey[K]{interval: interval, rest: Every{interval: interval}}
}

// Allow is [Every.Allow] for events of this key.
func (e *EveryKey[K]) Allow(key K, now time.Time) (held uint64, ok bool) {
	if known, ok := e.known.Load(key); ok {
		return known.(*Every).Allow(now)
	}
	if e.count.Load() >= MaxKeys {
		return e.rest.Allow(now)
	}
	known, loaded := e.known.LoadOrStore(key, NewEvery(e.interval))
	if !loaded {
		e.count.Add(1)
	}
	return known.(*Every).Allow(now)
}

// Forget drops what is remembered of key: the peer is gone.
func (e *EveryKey[K]) Forget(key K) {
	if _, loaded := e.known.LoadAndDelete(key); loaded {
		e.count.Add(-1)
	}
}
