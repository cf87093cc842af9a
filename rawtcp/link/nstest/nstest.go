// Package nstest gives tests network namespaces of their own. They have no name
// and vanish with the test, however it ends.
package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// NS is a network namespace, bound to one thread.
type NS struct {
	t    testing.TB
	tid  int
	work chan func()
}

// New makes a namespace in which loopback is up. It skips the test without root.
func New(t testing.TB) *NS {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	n := &NS{t: t, work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends, and the namespace with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		n.tid = unix.Gettid()
		ready <- err
		for f := range n.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Skipf("cannot make a network namespace: %v", err)
	}
	t.Cleanup(func() { close(n.work) })
	n.Run("ip link set lo up")
	// Nobody else can have our addresses; detection of duplicates takes seconds.
	_, _ = n.Try("sysctl -qw net.ipv6.conf.default.accept_dad=0")
	return n
}

// Do runs f on the namespace's thread and waits. f must not end the test.
func (n *NS) Do(f func()) {
	done := make(chan struct{})
	n.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

// Try runs a command line in the namespace; words are separated by blanks.
func (n *NS) Try(line string) (string, error) {
	words := strings.Fields(line)
	var out []byte
	var err error
	n.Do(func() { out, err = exec.Command(words[0], words[1:]...).CombinedOutput() })
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", line, err, out)
	}
	return string(out), err
}

// Run is Try for command lines that must work.
func (n *NS) Run(lines ...string) string {
	n.t.Helper()
	var all strings.Builder
	for _, line := range lines {
		out, err := n.Try(line)
		if err != nil {
			n.t.Fatal(err)
		}
		all.WriteString(out)
	}
	return all.String()
}

// Pair connects two new namespaces by a veth link: v0 in each, addresses
// 10.77.0.1 and fd77::1 in the first, 10.77.0.2 and fd77::2 in the second.
func Pair(t testing.TB) (a, b *NS) {
	t.Helper()
	a, b = New(t), New(t)
	a.Run(fmt.Sprintf("ip link add v0 type veth peer name v0 netns %d", b.tid))
	for i, n := range []*NS{a, b} {
		n.Run(
			fmt.Sprintf("ip addr add 10.77.0.%d/24 dev v0", i+1),
			fmt.Sprintf("ip addr add fd77::%d/64 dev v0 nodad", i+1),
		)
	}
	a.Run("ip link set v0 up")
	b.Run("ip link set v0 up")
	return a, b
}

// Behind makes a further namespace, linked to near by a veth: dN there, v0 in the
// new one, with one address (and prefix length) each.
func Behind(t testing.TB, near *NS, nearAddr, farAddr string) *NS {
	t.Helper()
	far := New(t)
	near.Run(fmt.Sprintf("ip link add d%d type veth peer name v0 netns %d", far.tid, far.tid),
		fmt.Sprintf("ip addr add %s dev d%d", nearAddr, far.tid), fmt.Sprintf("ip link set d%d up", far.tid))
	far.Run(fmt.Sprintf("ip addr add %s dev v0", farAddr), "ip link set v0 up")
	return far
}
