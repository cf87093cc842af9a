package impair

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Prompt has the calling goroutine keep its thread and be served before whatever
// has an ordinary priority, until it ends: for what must keep time on a busy
// machine, and needs little of it. Where that priority is not to be had, times are
// less exact.
func Prompt() {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK}, 0)
}
