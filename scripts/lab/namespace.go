package lab

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespace is one host of the lab.
type Namespace struct {
	Name string // as `ip netns` knows it
	Role string // short and unique in its lab
	lab  *Lab
}

// Run runs a program in the namespace to its end, or kills it with ctx, and
// returns what it printed to stdout and stderr.
func (n *Namespace) Run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := output(ctx, "ip", append([]string{"netns", "exec", n.Name, name}, args...)...)
	if err != nil {
		return out, fmt.Errorf("in %s: %w", n.Role, err)
	}
	return out, nil
}

// Shell runs a script in the namespace; the first command that fails ends it.
func (n *Namespace) Shell(ctx context.Context, script string) (string, error) {
	return n.Run(ctx, "sh", "-ec", script)
}

// Ping sends count echo requests, interval seconds apart, and fails unless at
// least one is answered. It returns ping's own report.
func (n *Namespace) Ping(ctx context.Context, target string, count int, interval float64, more ...string) (string, error) {
	args := append([]string{"-n", "-q", "-W", "1", "-c", strconv.Itoa(count), "-i", strconv.FormatFloat(interval, 'f', -1, 64)}, more...)
	return n.Run(ctx, "ping", append(args, target)...)
}

// Reaches waits until one ping to the target is answered.
func (n *Namespace) Reaches(ctx context.Context, target string) error {
	return Until(ctx, n.Role+" reaches "+target, func() error {
		_, err := n.Ping(ctx, target, 1, 1)
		return err
	})
}

// Firewall loads an nftables script into the namespace.
func (n *Namespace) Firewall(ctx context.Context, script string) error {
	path := n.lab.file(n.Role + ".nft")
	if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
		return err
	}
	_, err := n.Run(ctx, "nft", "-f", path)
	return err
}

// Counter reads the packets of a named counter in table `inet lab`.
func (n *Namespace) Counter(ctx context.Context, name string) (packets uint64, err error) {
	out, err := n.Run(ctx, "nft", "list", "counter", "inet", "lab", name)
	if err != nil {
		return 0, err
	}
	_, after, found := strings.Cut(out, "packets ")
	if !found {
		return 0, fmt.Errorf("in %s: no counter in %q", n.Role, out)
	}
	digits, _, _ := strings.Cut(after, " ")
	return strconv.ParseUint(digits, 10, 64)
}

// Do calls f on a thread inside the namespace: sockets that f opens stay in it.
func (n *Namespace) Do(f func() error) error {
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			failed <- err
			return // still locked: the thread ends with its goroutine
		}
		defer home.Close()
		target, err := os.Open("/run/netns/" + n.Name)
		if err != nil {
			failed <- err
			return
		}
		defer target.Close()
		if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
			failed <- fmt.Errorf("enter %s: %w", n.Role, err)
			return
		}
		err = f()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		failed <- err
	}()
	return <-failed
}
