package packet

import (
	"math"
	"sync/atomic"
)

// Budget bounds the bytes that queues of several goroutines hold together. It only
// counts: who holds something takes as much beforehand and gives it back after. A
// nil Budget bounds nothing. Any goroutine may call the methods; none of them waits.
type Budget struct {
	most int64
	held atomic.Int64
}

// NewBudget returns a budget of so many bytes; of none: nil.
func NewBudget(most int64) *Budget {
	if most <= 0 {
		return nil
	}
	return &Budget{most: most}
}

// Take takes n bytes. False: so many are not left, and none were taken.
func (b *Budget) Take(n int) bool {
	if b == nil {
		return true
	}
	if b.held.Add(int64(n)) > b.most {
		b.held.Add(-int64(n))
		return false
	}
	return true
}

// Charge takes n bytes whether or not they are left: for what cannot be refused any
// more. Whoever does so looks at [Budget.Spent].
func (b *Budget) Charge(n int) {
	if b != nil {
		b.held.Add(int64(n))
	}
}

// Give gives back n bytes that were taken.
func (b *Budget) Give(n int) {
	if b != nil {
		b.held.Add(-int64(n))
	}
}

// Fits says whether n bytes are left.
func (b *Budget) Fits(n int) bool { return b == nil || b.held.Load()+int64(n) <= b.most }

// Spent says that nothing is left.
func (b *Budget) Spent() bool { return b != nil && b.held.Load() >= b.most }

// Tight says that less than an eighth is left: who has much should let go of some,
// so that others find room.
func (b *Budget) Tight() bool { return b != nil && b.held.Load() > b.most-b.most/8 }

// Held is what is taken, in bytes.
func (b *Budget) Held() int64 {
	if b == nil {
		return 0
	}
	return b.held.Load()
}

// Most is how many bytes there are in all.
func (b *Budget) Most() int64 {
	if b == nil {
		return math.MaxInt64
	}
	return b.most
}
