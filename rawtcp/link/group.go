package link

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// group is a descriptor that is readable while a socket is, or after somebody has
// rung. Its zero value is not open, and rings for nobody.
type group struct {
	once  sync.Once
	err   error
	epoll int
	bell  int // eventfd
	state atomic.Uint32
}

const (
	groupUnused uint32 = iota
	groupQuiet
	groupRung
)

// open makes the descriptor; a second call does nothing. What it opens is closed
// when nobody can reach t any more: one who rings late must not write to whatever
// has got the number since.
func (g *group) open(t *Tap, socket int) error {
	g.once.Do(func() {
		if g.epoll, g.err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); g.err != nil {
			g.err = fmt.Errorf("open epoll instance: %w", g.err)
			return
		}
		if g.bell, g.err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); g.err != nil {
			_ = unix.Close(g.epoll)
			g.err = fmt.Errorf("open eventfd: %w", g.err)
			return
		}
		for _, fd := range []int{socket, g.bell} {
			if g.err = unix.EpollCtl(g.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}); g.err != nil {
				g.err = fmt.Errorf("wait for packet socket: %w", g.err)
				_, _ = unix.Close(g.epoll), unix.Close(g.bell)
				return
			}
		}
		runtime.AddCleanup(t, func(fds [2]int) { _, _ = unix.Close(fds[0]), unix.Close(fds[1]) }, [2]int{g.epoll, g.bell})
		g.state.Store(groupQuiet)
	})
	return g.err
}

// ring makes the descriptor readable; false: nobody waits for it.
func (g *group) ring() bool {
	if g.state.CompareAndSwap(groupQuiet, groupRung) {
		_, _ = unix.Write(g.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	return g.state.Load() != groupUnused
}

// hush takes the ringing back.
func (g *group) hush() {
	if g.state.Load() == groupRung {
		var count [8]byte
		_, _ = unix.Read(g.bell, count[:])
		g.state.CompareAndSwap(groupRung, groupQuiet)
	}
}
