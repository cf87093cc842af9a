package link

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// SendQueue keeps what waits in the kernel behind one socket short, so that a slow
// interface has no standing queue of ours before it: see [Govern]. It belongs to
// one goroutine.
type SendQueue struct {
	governor
	told    int // bytes that the kernel lets wait
	refused uint64
}

// NewSendQueue returns the queue of a socket whose send buffer was asked to be
// buffer bytes, which is what it has again while nothing is wrong.
func NewSendQueue(buffer int) *SendQueue {
	most := 2 * buffer // the kernel doubles what it is told
	return &SendQueue{governor: governor{most: most}, told: most}
}

// Look asks how much waits behind the socket fd and tells the kernel how much may.
// sent and refused are the bytes that the socket took so far, and the bursts for
// which it had no room. busy: something goes on that wants the next look soon. A
// socket that is idle costs no system call.
func (q *SendQueue) Look(now time.Time, fd int, sent, refused uint64) (busy bool) {
	busy = sent != q.sent || refused != q.refused || q.queued > 0
	if !busy && q.told == q.most {
		return false
	}
	queued, err := unix.IoctlGetInt(fd, unix.TIOCOUTQ)
	if err != nil {
		return false
	}
	q.refused = refused
	if limit := q.step(now, queued, sent, refused); limit != q.told {
		q.told = limit
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, limit/2) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, limit/2)
		}
	}
	return busy || queued > 0
}

// Govern calls look, which looks at all of somebody's queues and says whether one
// of them is busy, until ctx ends: every 10 ms while one is, every 100 ms else.
func Govern(ctx context.Context, look func(now time.Time) (busy bool)) error {
	timer := time.NewTimer(governIdle)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-timer.C:
			if look(now) {
				timer.Reset(governEvery)
			} else {
				timer.Reset(governIdle)
			}
		}
	}
}

// Govern keeps the queues behind the sockets short, until ctx ends.
func (s *Sender) Govern(ctx context.Context) error {
	fds := s.sockets.all()
	var queues [len(fds)]*SendQueue
	for i := range queues {
		queues[i] = NewSendQueue(s.buffer)
	}
	return Govern(ctx, func(now time.Time) (busy bool) {
		for i, fd := range fds {
			if fd >= 0 && !s.closed.Load() && queues[i].Look(now, fd, s.sent.Load(), s.refused.Load()) {
				busy = true
			}
		}
		return busy
	})
}
