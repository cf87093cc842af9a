package udp

import (
	"sync/atomic"
	"time"
)

// limiter allows so many events in each second of the clock. It may be used by
// any goroutine. Its zero value allows none.
type limiter struct {
	perSecond uint32
	state     atomic.Uint64 // second, count
}

func (l *limiter) allow(now time.Duration) bool {
	second := uint64(now/time.Second) & 0xffffffff
	for {
		was := l.state.Load()
		is := second << 32
		if was>>32 == second {
			is = was
		}
		if uint32(is) >= l.perSecond {
			return false
		}
		if l.state.CompareAndSwap(was, is+1) {
			return true
		}
	}
}
