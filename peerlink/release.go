package peerlink

import "time"

// releasing is the sending of what was staged while the peer was out of reach.
// All of it at once would overflow the first bottleneck; so it goes in portions,
// and until the last one is gone the pumps go on staging, behind it.
type releasing struct {
	out   *Outbound // nil: nothing is being released
	began time.Time
	next  time.Time // when the next portion may go
}

const (
	releaseEvery   = 5 * time.Millisecond
	releasePortion = 64 << 10              // bytes: 100 Mbit/s in the beginning
	releaseDoubles = 50 * time.Millisecond // so that more comes to an end than still arrives
)

// send makes out what the pumps send with, behind what is staged.
func (l *link) send(out *Outbound) {
	l.releasing = releasing{}
	if l.peer.out.Load() != nil || l.staging.len() == 0 {
		l.peer.out.Store(out)
		l.release()
		return
	}
	l.releasing = releasing{out: out, began: time.Now()}
	l.release()
}

// release sends what is staged, or a portion of it, if there is a way; false:
// there is none. A relay can be out of reach for a moment and come back before
// anybody has looked.
func (l *link) release() bool {
	r, now := l.releasing, time.Now()
	if r.out == nil {
		r = releasing{out: l.peer.out.Load(), began: now}
	}
	if r.out == nil || !r.out.path.Alive() {
		return false
	}
	if now.Before(r.next) {
		return true
	}
	r.next = now.Add(releaseEvery)
	portion := releasePortion << min(now.Sub(r.began)/releaseDoubles, 10)
	if l.staging.flush(r.out, l.train, portion) {
		l.releasing = releasing{}
		l.peer.out.Store(r.out)
		return true
	}
	l.releasing = r
	return true
}
