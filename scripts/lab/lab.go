// Package lab builds small internets out of network namespaces on one Linux
// machine: two hosts on a cable (Pair), or sites behind NAT routers around a
// public network (Star), with real kernels, real NAT and real links. Tests, the
// demo and the benchmark all run in it.
//
// Everything in a lab goes away with it. The names of its namespaces say which
// process made them; a janitor process removes them when that process ends in
// whatever way, kill -9 included, and every new lab first removes what a dead
// one left (the janitor might have been killed, too). Nothing outside of the
// lab's own namespaces is touched.
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Lab is a set of network namespaces and of the processes in them. Create it
// with New or ForTest, and Close it. Its methods may be called from several
// goroutines.
type Lab struct {
	prefix string // starts the name of each of its namespaces
	dir    string // for logs, captures and configurations; removed by Close

	mu         sync.Mutex
	namespaces map[string]*Namespace
	files      int
	closers    []func()
}

// labs counts the labs of this process: it tells their names apart.
var labs atomic.Int64

// New makes an empty lab. It needs root and the tools of iproute2.
func New() (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root")
	}
	for _, tool := range []string{"ip", "nft", "ethtool"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%w: install it (scripts/deps.sh knows the packages)", err)
		}
	}
	if err := startJanitor(); err != nil {
		return nil, err
	}
	l := &Lab{prefix: fmt.Sprintf("%s%d-", ownPrefix(), labs.Add(1)), namespaces: map[string]*Namespace{}}
	l.dir = dirPrefix() + l.prefix
	return l, os.Mkdir(l.dir, 0o700)
}

// TB is the part of testing.TB that ForTest needs.
type TB interface {
	Helper()
	Cleanup(func())
	Skip(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// ForTest makes a lab that goes away with the test. Without root the test is
// skipped.
func ForTest(t TB) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	l, err := New()
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("lab: %v", err)
		}
	})
	return l
}

// Close kills every process in the lab's namespaces and removes them.
func (l *Lab) Close() error {
	l.mu.Lock()
	all, closers := l.namespaces, l.closers
	l.namespaces, l.closers = map[string]*Namespace{}, nil
	l.mu.Unlock()
	for _, end := range closers {
		end()
	}
	var errs []error
	for name := range all {
		errs = append(errs, remove(name))
	}
	return errors.Join(append(errs, os.RemoveAll(l.dir))...)
}

// Namespace makes a network namespace with its loopback device up. IPv6
// addresses in it are usable at once: nobody else could have taken them.
func (l *Lab) Namespace(ctx context.Context, role string) (*Namespace, error) {
	n := &Namespace{Name: l.prefix + role, Role: role, lab: l}
	l.mu.Lock()
	_, taken := l.namespaces[n.Name]
	if !taken {
		l.namespaces[n.Name] = n
	}
	l.mu.Unlock()
	if taken {
		return nil, fmt.Errorf("lab: there is a namespace %q already", role)
	}
	if _, err := output(ctx, "ip", "netns", "add", n.Name); err != nil {
		return nil, err
	}
	_, err := n.Shell(ctx, `
for f in all default; do echo 0 > /proc/sys/net/ipv6/conf/$f/accept_dad; done
ip link set lo up`)
	return n, err
}

// atClose has something of this process end before the namespaces go.
func (l *Lab) atClose(end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closers = append(l.closers, end)
}

// Dir is a directory for files that go away with the lab.
func (l *Lab) Dir() string { return l.dir }

// file is a fresh path in the lab's directory.
func (l *Lab) file(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files++
	return fmt.Sprintf("%s/%03d-%s", l.dir, l.files, name)
}

// output runs a program and returns what it printed. The error of a program
// that failed carries its words.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	// A killed program's children may hold its pipes open; they are dealt with
	// when their namespace goes.
	cmd.WaitDelay = patience
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
		return string(out), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
