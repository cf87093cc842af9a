package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

// receivers is one [packet.Receiver] of several: the replay windows of a peer's
// sessions belong to one pump, on whichever transport its datagrams come. Receive
// belongs to one goroutine, the other methods may be called by any.
type receivers struct {
	parts []packet.Poller
	turn  int // whose arrivals were taken last
	spin  link.Spin

	epoll *os.File // holds the parts' descriptors and bell
	raw   syscall.RawConn
	bell  int // eventfd that Wake rings
	woken atomic.Bool
	wait  func(uintptr) bool // r.look, made once
	got   packet.Arrivals
	err   error
}

func newReceivers(parts ...packet.Poller) (*receivers, error) {
	r := &receivers{parts: parts}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open epoll instance: %w", err)
	}
	if err = unix.SetNonblock(epoll, true); err == nil { // so that Go's poller takes it
		r.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("open eventfd: %w", err)
	}
	r.epoll = os.NewFile(uintptr(epoll), "epoll")
	descriptors := []int{r.bell}
	for _, p := range parts {
		fd, err := p.Descriptor()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("wait for transports: %w", err), r.Close())
		}
		descriptors = append(descriptors, fd)
	}
	for _, fd := range descriptors {
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return nil, errors.Join(fmt.Errorf("wait for transports: %w", err), r.Close())
		}
	}
	if r.raw, err = r.epoll.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for transports: %w", err), r.Close())
	}
	r.wait = r.look
	return r, nil
}

// Receive implements [packet.Receiver]. What it returns is of one transport; they
// take turns.
func (r *receivers) Receive() (packet.Arrivals, error) {
	r.got, r.err = nil, nil
	if err := r.raw.Read(r.wait); err != nil {
		return nil, net.ErrClosed
	}
	return r.got, r.err
}

// look takes what one of the parts has. Before it reports that there is nothing,
// whereupon the goroutine sleeps, it looks a few more times.
func (r *receivers) look(epoll uintptr) bool {
	for vain := 0; ; vain++ {
		if r.woken.Swap(false) {
			var count [8]byte
			_, _ = unix.Read(r.bell, count[:])
			return true
		}
		if r.poll() {
			r.spin.Found(vain)
			return true
		}
		if !r.spin.Again(vain) {
			return false
		}
	}
}

// poll asks each part once.
func (r *receivers) poll() bool {
	closed := 0
	for range r.parts {
		r.turn = (r.turn + 1) % len(r.parts)
		got, err := r.parts[r.turn].Poll()
		switch {
		case errors.Is(err, net.ErrClosed):
			closed++
		case err != nil:
			r.err = err
			return true
		case len(got) > 0:
			r.got = got
			return true
		}
	}
	if closed == len(r.parts) {
		r.err = net.ErrClosed
		return true
	}
	return false
}

// Wake implements [packet.Receiver].
func (r *receivers) Wake() {
	r.woken.Store(true)
	// Under the epoll instance, which Close closes first: one who wakes late must not
	// write to whatever has got the bell's number since.
	_ = r.raw.Control(func(uintptr) {
		_, _ = unix.Write(r.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full means that it rings already
	})
}

// Close makes Receive return net.ErrClosed. The parts are their maker's to close.
func (r *receivers) Close() error {
	err := r.epoll.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	_ = unix.Close(r.bell)
	return err
}
