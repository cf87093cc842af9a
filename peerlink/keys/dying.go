package keys

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// AwaitDying waits until the process that last held the state directory is gone,
// if it has been killed and the kernel is still taking its devices, sockets and
// locks away: then all of them are free when AwaitDying returns. It does not wait
// for one that lives, and for no one longer than most.
func AwaitDying(dir string, most time.Duration) {
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return
	}
	pid := holderOf(f)
	f.Close()
	if pid <= 0 || !dying(pid) {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0) // since Linux 5.3
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// It is readable once the last thread has given everything back.
	for deadline := time.Now().Add(most); ; {
		left := time.Until(deadline)
		if left <= 0 {
			return
		}
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1); err != unix.EINTR {
			return
		}
	}
}

// dying says whether a process has got SIGKILL or is ending already, which each
// of its threads does for itself.
func dying(pid int) bool {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, task := range tasks {
		stat, err := os.ReadFile(filepath.Join(task, "stat"))
		if err != nil {
			return true // that thread is gone since
		}
		// proc(5): the name in parentheses may hold anything; then state, ppid, pgrp,
		// session, tty_nr, tpgid, flags.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 7 {
			continue
		}
		const exiting = 0x4 // PF_EXITING
		if flags, err := strconv.ParseUint(string(fields[6]), 10, 64); err == nil && flags&exiting != 0 {
			return true
		}
		status, _ := os.ReadFile(filepath.Join(task, "status"))
		for line := range bytes.Lines(status) {
			// A thread takes the signal from its own set a little before it is marked as
			// ending; in that of the process it stays.
			field, hex, _ := bytes.Cut(line, []byte(":"))
			if name := string(field); name != "SigPnd" && name != "ShdPnd" {
				continue
			}
			pending, err := strconv.ParseUint(string(bytes.TrimSpace(hex)), 16, 64)
			if err == nil && pending&(1<<(unix.SIGKILL-1)) != 0 {
				return true
			}
		}
	}
	return false
}
