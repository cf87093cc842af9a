package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// RunDir is where the sockets of nodes without a --state-dir are.
const RunDir = "/run/lightweight-tunnel"

// ErrNodeRunning is wrapped by [Listen] when another node has the socket.
var ErrNodeRunning = errors.New("a node is running here already")

// SocketPath is where the node with this device and state directory (empty:
// none was given) listens for commands.
func SocketPath(stateDir, device string) string {
	if stateDir != "" {
		return filepath.Join(stateDir, "control.sock")
	}
	return filepath.Join(RunDir, device+".sock")
}

// Socket is the node's claim on a socket's path, and the socket itself. It
// outlives restarts of the [Server] that serves it. A process that dies loses
// the claim; what it leaves behind is replaced by the next.
type Socket struct {
	l    *net.UnixListener
	path string
	lock *os.File
	done atomic.Bool
}

// Listen claims path, makes its directory (0700) if it is missing, and listens.
// It wraps ErrNodeRunning if a living node has the claim.
func Listen(path string) (*Socket, error) {
	if len(path) >= len(unix.RawSockaddrUnix{}.Path) {
		return nil, fmt.Errorf("control socket %s: the name has %d bytes and a socket's may have %d; give a shorter --state-dir", path, len(path), len(unix.RawSockaddrUnix{}.Path)-1)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the control socket: %w", err)
	}
	lock, err := claim(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	// The claim is ours, so whoever made a socket that is still there is dead.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("replace the control socket of a dead node: %w", err), lock.Close())
	}
	l, err := bind(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), os.Remove(lock.Name()), lock.Close())
	}
	l.SetUnlinkOnClose(false)
	return &Socket{l: l, path: path, lock: lock}, nil
}

// bind listens on path. The mode is set on the socket before it has a name, so
// that there is no moment in which others may connect (the kernel gives the
// name the mode of the socket: unix(7), fchmod).
func bind(path string) (*net.UnixListener, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return nil, fmt.Errorf("set its mode: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, fmt.Errorf("bind %s: %w", path, err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil
}

// claim takes an exclusive lock on a file that it makes. The kernel drops the
// lock with the process.
func claim(name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, ErrNodeRunning
			}
			return nil, err
		}
		// The last holder may have removed the file between open and lock; then
		// the name belongs to nobody, or to a third process.
		mine, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if there, err := os.Stat(name); err == nil && os.SameFile(mine, there) {
			return f, nil
		}
		f.Close()
	}
}

// Path is where the socket is.
func (s *Socket) Path() string { return s.path }

// Close gives the claim up and removes socket and lock, and the directory in
// /run if no other node needs it. It may be called again.
func (s *Socket) Close() error {
	if s.done.Swap(true) {
		return nil
	}
	err := errors.Join(s.l.Close(), os.Remove(s.path), os.Remove(s.lock.Name()), s.lock.Close())
	if dir := filepath.Dir(s.path); dir == RunDir {
		_ = os.Remove(dir) // fails, rightly, while others are in it
	}
	return err
}

// lease is the listener for one run of a server: closing it ends Accept and
// leaves the socket to the next run.
type lease struct{ *net.UnixListener }

func (s *Socket) lease() (lease, error) { return lease{s.l}, s.l.SetDeadline(time.Time{}) }

func (l lease) Close() error { return l.SetDeadline(time.Unix(1, 0)) }

// alive says whether somebody listens at path.
func alive(path string) bool {
	c, err := net.Dial("unix", path)
	if err != nil {
		return errors.Is(err, syscall.EAGAIN) || errors.Is(err, fs.ErrPermission)
	}
	c.Close()
	return true
}
