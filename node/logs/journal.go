package logs

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

const journalSocket = "/run/systemd/journal/socket"

// Journal is an hclog sink that speaks the journal's native protocol
// (systemd's JOURNAL_NATIVE_PROTOCOL). It never waits: an entry for which there
// is no room is dropped and counted. While there is no journal, lines go to the
// fallback file instead. Any goroutine may use it. It lives as long as the
// process.
type Journal struct {
	fd       int
	to       *unix.SockaddrUnix
	level    hclog.Level
	fallback *os.File
	dropped  atomic.Uint64
}

func newJournal(socket string, level hclog.Level, fallback *os.File) (*Journal, error) {
	if socket == "" {
		socket = journalSocket
	}
	// Not connected: the name is looked up for every entry, so a restarted
	// journald is found again without any effort.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket to the journal: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<20) // smaller works too, with more memfds
	return &Journal{fd: fd, to: &unix.SockaddrUnix{Name: socket}, level: level, fallback: fallback}, nil
}

// Dropped is the number of entries lost because nobody took them.
func (j *Journal) Dropped() uint64 { return j.dropped.Load() }

// Accept takes one log entry; hclog calls it.
func (j *Journal) Accept(name string, level hclog.Level, msg string, args ...any) {
	if level < j.level {
		return
	}
	e := entry{name: name, level: level, message: msg, args: args}
	data := e.append(make([]byte, 0, 512))
	err := j.send(data)
	switch {
	case err == nil:
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
		j.dropped.Add(1)
	default:
		j.fallBack(e)
	}
}

func (j *Journal) send(data []byte) error {
	err := unix.Sendto(j.fd, data, unix.MSG_NOSIGNAL, j.to)
	if errors.Is(err, unix.EMSGSIZE) {
		return j.sendFile(data)
	}
	return err
}

// sendFile hands over an entry that is too large for a datagram as a sealed
// memory file; the journal refuses one that could still change.
func (j *Journal) sendFile(data []byte) error {
	fd, err := unix.MemfdCreate("lightweight-tunnel-log", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err != nil {
			return err
		}
		data = data[n:]
	}
	seals := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return err
	}
	return unix.Sendmsg(j.fd, nil, unix.UnixRights(fd), j.to, unix.MSG_NOSIGNAL)
}

// fallBack writes a line to stderr if that takes it at once: with the journal
// gone, stderr may be its other end, and full.
func (j *Journal) fallBack(e entry) {
	ready := []unix.PollFd{{Fd: int32(j.fallback.Fd()), Events: unix.POLLOUT}}
	n, err := unix.Poll(ready, 0)
	if err != nil || n != 1 || ready[0].Revents&unix.POLLOUT == 0 {
		j.dropped.Add(1)
		return
	}
	line := e.line()
	if len(line) > unix.PathMax { // as much as a pipe with room surely takes
		line = append(line[:unix.PathMax-4], "...\n"...)
	}
	if _, err := j.fallback.Write(line); err != nil {
		j.dropped.Add(1)
	}
}
