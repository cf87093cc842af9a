package tun

import (
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// space is a network namespace of its own with the one thread that lives there.
// Sockets and devices opened there stay there.
type space struct{ jobs chan func() }

func newSpace(t *testing.T) *space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := &space{jobs: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ns, err := netns.New()
		if err == nil {
			ns.Close()
			var lo netlink.Link
			if lo, err = netlink.LinkByName("lo"); err == nil {
				err = netlink.LinkSetUp(lo)
			}
		}
		ready <- err
		for job := range s.jobs {
			job()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("make a namespace: %v", err)
	}
	t.Cleanup(func() { close(s.jobs) })
	return s
}

// do runs fn inside and waits for it.
func (s *space) do(fn func()) {
	done := make(chan struct{})
	s.jobs <- func() { defer close(done); fn() }
	<-done
}

// open opens a device inside; it is closed with the test.
func (s *space) open(t *testing.T, cfg Config) *Device {
	t.Helper()
	d, err := s.tryOpen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func (s *space) tryOpen(cfg Config) (d *Device, err error) {
	if cfg.MTU == 0 {
		cfg.MTU = 1400
	}
	s.do(func() { d, err = Open(cfg) })
	return d, err
}

// link returns the interface of that name, or nil.
func (s *space) link(name string) (l netlink.Link) {
	s.do(func() { l, _ = netlink.LinkByName(name) })
	return l
}

func prefixes(all ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, p := range all {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	return ps
}
