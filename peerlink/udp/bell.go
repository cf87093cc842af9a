package udp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// bell is an eventfd that makes the epoll instance readable.
type bell struct{ socket }

func newBell() (*bell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open event descriptor: %w", err)
	}
	b := &bell{socket{fd: fd}}
	b.users.Store(1)
	return b, nil
}

// ring may be called by any goroutine.
func (b *bell) ring() {
	if !b.enter() {
		return
	}
	defer b.leave()
	one := [8]byte{7: 1}            // the byte order does not matter: any number but zero rings
	_, _ = unix.Write(b.fd, one[:]) // fails only when it has rung four billion times
}

// hush ends what ring began.
func (b *bell) hush() {
	if !b.enter() {
		return
	}
	defer b.leave()
	var count [8]byte
	_, _ = unix.Read(b.fd, count[:]) // fails when it has not rung
}
