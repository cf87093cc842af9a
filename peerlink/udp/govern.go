package udp

import (
	"time"

	"golang.org/x/sys/unix"
)

// govern looks at the queues behind all sockets, so that a slow interface has no
// standing one of ours before it: see [link.Govern].
func (t *Transport) govern(now time.Time) (busy bool) {
	for _, s := range *t.sockets.Load() {
		if s.govern(now) {
			busy = true
		}
	}
	return busy
}

func (s *socket) govern(now time.Time) (busy bool) {
	if !s.enter() {
		return false
	}
	defer s.leave()
	return s.queue.Look(now, s.fd, s.sent.Load(), s.refused.Load())
}

// took counts what the kernel took of a burst, and whether it had no room for the
// rest.
func (s *socket) took(bytes int, errno unix.Errno) {
	if bytes > 0 {
		s.sent.Add(uint64(bytes))
	}
	if errno != 0 && reasonOf(errno) == dropQueueFull {
		s.refused.Add(1)
	}
}
