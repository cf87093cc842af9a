package tun

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Writer is one goroutine's way to write to a [Queue]. Writers of one queue do
// not disturb each other.
type Writer struct {
	q     *Queue
	buf   []byte
	errno syscall.Errno
	once  func(fd uintptr)
}

// NewWriter returns a further writer for q, for use by one goroutine.
func (q *Queue) NewWriter() *Writer {
	w := &Writer{q: q}
	w.once = w.writeOnce
	return w
}

// Write does what [Queue.Write] says.
func (w *Writer) Write(buf []byte) error {
	w.buf = buf
	err := w.q.raw.Control(w.once)
	w.buf = nil
	if err != nil {
		return w.q.failure("write to", err)
	}
	switch w.errno {
	case 0:
		return nil
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		w.q.drops.full.Add(1)
		return nil
	case unix.EIO:
		w.q.drops.down.Add(1)
		return nil
	case unix.EBADFD, unix.EBADF:
		return w.q.failure("write to", w.errno)
	}
	w.q.drops.bad.Add(1)
	return nil
}

func (w *Writer) writeOnce(fd uintptr) {
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITE, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(w.buf))), uintptr(len(w.buf)))
		if errno == unix.EINTR {
			continue
		}
		w.errno = errno
		return
	}
}
