package doctor

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// errNoSandbox says that there was no place to try something out.
var errNoSandbox = errors.New("a private network namespace is needed to try it out without changing this host")

// sandbox calls f on a thread in a network namespace of its own, in which only
// the loopback is up. The namespace vanishes with the thread and with what f left
// open.
func sandbox(f func() error) error {
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with its goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			failed <- fmt.Errorf("%w: %w", errNoSandbox, err)
			return
		}
		if err := loopbackUp(); err != nil {
			failed <- fmt.Errorf("%w: %w", errNoSandbox, err)
			return
		}
		failed <- f()
	}()
	return <-failed
}

func loopbackUp() error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	lo, err := handle.LinkByName("lo")
	if err != nil {
		return err
	}
	return handle.LinkSetUp(lo)
}
