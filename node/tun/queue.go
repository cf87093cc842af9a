package tun

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Queue is one of a device's packet queues, a file descriptor of its own. One
// goroutine may read ([Queue.Read], [Queue.Poll]) while another writes
// ([Queue.Write]); further writers each take a [Writer].
type Queue struct {
	file   *os.File
	raw    syscall.RawConn
	name   string
	in     reader
	out    *Writer
	drops  drops
	closed atomic.Bool
}

// ErrClosed is what a queue returns after its device was closed here.
var ErrClosed = errors.New("tun device is closed")

// ErrGone is wrapped by what a queue returns when somebody else removed the
// interface. Close the device and open a new one.
var ErrGone = errors.New("the interface was removed from outside")

// Polls before a reader parks. Waking a parked goroutine costs more than any of
// the work on a packet, so while packets flow a reader looks again for some
// microseconds; the number falls while the looking is in vain.
const (
	minPolls = 4
	maxPolls = 12
)

// reader is what a read in progress needs; the closures are made once, so that
// reading allocates nothing.
type reader struct {
	buf    []byte
	n      int
	errno  syscall.Errno
	polls  int
	parked bool
	wait   func(fd uintptr) bool
	once   func(fd uintptr)
}

// drops counts the packets that the kernel did not take.
type drops struct{ full, bad, down atomic.Uint64 }

// Drops are the packets that Write lost since the queue was opened, by reason.
type Drops struct {
	Full uint64 // the kernel had no room for it just then
	Bad  uint64 // the kernel refused it as malformed
	Down uint64 // the interface is set down
}

func newQueue(fd int, name string) (*Queue, error) {
	// The descriptor must be bound to its interface and non-blocking before the
	// runtime's poller sees it: TUN reports an error event until then.
	file := os.NewFile(uintptr(fd), "/dev/net/tun")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("watch queue of %s: %w", name, err)
	}
	q := &Queue{file: file, raw: raw, name: name}
	q.in.polls = maxPolls
	if runtime.GOMAXPROCS(0) == 1 {
		q.in.polls = 0 // looking again would only keep the sender from running
	}
	q.in.wait, q.in.once = q.in.readOrPark, q.in.readOnce
	q.out = q.NewWriter()
	return q, nil
}

// Read waits for one packet and copies it into buf, its [Header] in front. It
// returns the bytes of both. Give it a buffer of [MaxRead] bytes: the kernel cuts
// off what does not fit. It returns [ErrClosed] after Close, an error that wraps
// [ErrGone] when the interface was removed, and 0 after [Queue.Wake].
func (q *Queue) Read(buf []byte) (int, error) {
	r := &q.in
	r.buf, r.parked = buf, false
	err := q.raw.Read(r.wait)
	r.buf = nil
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, q.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return 0, q.failure("read from", err)
	}
	if r.errno != 0 {
		return 0, q.failure("read from", r.errno)
	}
	return r.n, nil
}

// Wake makes a Read that waits, or the next one, return 0 bytes and no error. Any
// goroutine may call it.
func (q *Queue) Wake() { _ = q.file.SetReadDeadline(time.Unix(1, 0)) } // fails only when closed, which wakes too

// Poll reads like [Queue.Read] but never waits: ok is false when there is no
// packet now.
func (q *Queue) Poll(buf []byte) (n int, ok bool, err error) {
	r := &q.in
	r.buf = buf
	err = q.raw.Control(r.once)
	r.buf = nil
	if err != nil {
		return 0, false, q.failure("read from", err)
	}
	switch r.errno {
	case 0:
		return r.n, true, nil
	case unix.EAGAIN:
		return 0, false, nil
	}
	return 0, false, q.failure("read from", r.errno)
}

// Write gives one packet to the kernel, its [Header] in front. It never waits.
// A packet that the kernel does not take is lost and counted, which is not an
// error; see [Queue.Drops]. Errors are [ErrClosed] and those that wrap [ErrGone].
func (q *Queue) Write(buf []byte) error { return q.out.Write(buf) }

// Drops returns what Write lost so far, through all writers of this queue. Any
// goroutine may call it.
func (q *Queue) Drops() Drops {
	return Drops{Full: q.drops.full.Load(), Bad: q.drops.bad.Load(), Down: q.drops.down.Load()}
}

// Close ends all reads and writes with [ErrClosed]. Closing the last queue
// removes the interface.
func (q *Queue) Close() error {
	q.closed.Store(true)
	return q.file.Close()
}

func (r *reader) readOrPark(fd uintptr) bool {
	for left := r.polls; ; left-- {
		switch r.readOnce(fd); {
		case r.errno != unix.EAGAIN:
			if !r.parked && r.polls > 0 {
				r.polls = maxPolls
			}
			return true
		case left <= 0:
			r.parked = true
			if r.polls > 0 {
				r.polls = max(minPolls, r.polls/2)
			}
			return false
		}
	}
}

// readOnce enters the kernel without telling the scheduler: the read cannot
// block, and takes microseconds.
func (r *reader) readOnce(fd uintptr) {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(r.buf))), uintptr(len(r.buf)))
		if errno == unix.EINTR {
			continue
		}
		r.n, r.errno = int(n), errno
		return
	}
}

// failure puts into words why the descriptor no longer serves.
func (q *Queue) failure(doing string, err error) error {
	var errno syscall.Errno
	switch {
	case q.closed.Load():
		return ErrClosed
	// Without a number it is the poller that complains: of an error event on
	// the descriptor, which TUN raises when it has no interface any more.
	case !errors.As(err, &errno), errno == unix.EBADFD, errno == unix.EFAULT:
		return fmt.Errorf("%s %s: %w", doing, q.name, ErrGone)
	}
	return fmt.Errorf("%s %s: %w", doing, q.name, err)
}
