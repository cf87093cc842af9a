package keys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

const lockName = "lock"

// StateDir is the directory in which one node keeps what must outlive it. An
// open StateDir is locked against every other process, until [StateDir.Close] or
// the end of this process, however that comes.
type StateDir struct {
	path string
	lock *os.File
}

// InUseError says that another process holds the state directory.
type InUseError struct {
	Dir string
	PID int // 0: not known
}

func (e *InUseError) Error() string {
	holder := "another process"
	if e.PID != 0 {
		holder = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("state directory %s is in use by %s: stop that node, or give this one a directory of its own with --state-dir", e.Dir, holder)
}

// OpenStateDir makes the directory if it is missing, closes it to other users
// (0700) and locks it. The error is an [*InUseError] if another node runs in it.
func OpenStateDir(path string) (*StateDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("create state directory: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("state directory %s is a file: remove it or choose another with --state-dir", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o700); err != nil {
			return nil, fmt.Errorf("close state directory to other users: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	if err := flock(lock); err != nil {
		defer lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &InUseError{Dir: path, PID: holderOf(lock)}
		}
		return nil, fmt.Errorf("lock state directory %s: %w", path, err)
	}
	if err := writePID(lock); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock state directory %s: %w", path, err)
	}
	return &StateDir{path: path, lock: lock}, nil
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			return err
		}
	}
}

// writePID leaves the number for whoever finds the lock taken. The lock itself
// is the kernel's, so a number left behind by a killed process misleads nobody.
func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func holderOf(f *os.File) int {
	var buf [32]byte
	n, _ := f.ReadAt(buf[:], 0)
	pid, err := strconv.Atoi(string(bytes.TrimSpace(buf[:n])))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

// Path returns the path of a file in the directory; without a name that of the
// directory itself.
func (d *StateDir) Path(name string) string { return filepath.Join(d.path, name) }

// Write puts a file into the directory, whole or not at all: whatever stops the
// process or the machine, a reader finds the old content or the new. Readable by
// the owner alone.
func (d *StateDir) Write(name string, data []byte) (err error) {
	temp := d.Path(name + ".new") // left behind by a killed process: overwritten here
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(temp)
			err = fmt.Errorf("write state file %s: %w", d.Path(name), err)
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(temp, d.Path(name)); err != nil {
		return err
	}
	return d.sync()
}

// sync makes a rename survive a power cut.
func (d *StateDir) sync() error {
	dir, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	// Some file systems cannot sync a directory and say EINVAL.
	if err := dir.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// Close unlocks the directory. The lock file stays: removing it would let a
// third process lock a file that the second no longer finds.
func (d *StateDir) Close() error { return d.lock.Close() }
