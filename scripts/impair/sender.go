package impair

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sender sends frames through one device, many with one system call.
type sender struct {
	fd      int
	headers [maxBatch]mmsghdr
	vectors [maxBatch]unix.Iovec
}

// maxBatch bounds a system call, and with it how long a direction is deaf.
const maxBatch = 64

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

func openSender(device int) (*sender, error) {
	// Protocol 0: it receives nothing.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = errors.Join(unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: device}),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20))
		if err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("sending socket: %w", err)
	}
	return &sender{fd: fd}, nil
}

// send sends at most maxBatch frames and returns how many the device took. One
// that it refuses is skipped: a cable does not try again.
func (s *sender) send(frames [][]byte) (sent int) {
	for i, frame := range frames {
		s.vectors[i].Base = &frame[0]
		s.vectors[i].SetLen(len(frame))
		s.headers[i].header.Iov = &s.vectors[i]
		s.headers[i].header.SetIovlen(1)
	}
	for next := 0; next < len(frames); {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.headers[next])), uintptr(len(frames)-next), 0, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			next++
		default:
			next += int(n)
			sent += int(n)
		}
	}
	return sent
}

func (s *sender) close() { unix.Close(s.fd) }
