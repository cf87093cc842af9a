package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Watcher receives the kernel's notifications of changed links, addresses,
// routes, rules and neighbours. It belongs to one goroutine.
type Watcher struct {
	file *os.File
	raw  syscall.RawConn
}

const (
	// restEvery bounds the work when a routing daemon is busy: the first change
	// is followed at once, the next ones together after this time.
	restEvery = 50 * time.Millisecond
	// eventBuffer of kernel memory lets a burst of changes wait.
	eventBuffer = 1 << 20
)

// NewWatcher subscribes in the network namespace of the calling thread. What
// happens from now on is seen, even before Watch is called.
func NewWatcher() (*Watcher, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open route netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind route netlink socket: %w", err)
	}
	for _, group := range []int{
		unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
		unix.RTNLGRP_NEXTHOP,
	} {
		// A kernel without a group (next hop objects before 5.3) lacks the thing too.
		err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group)
		if err != nil && group != unix.RTNLGRP_NEXTHOP {
			unix.Close(fd)
			return nil, fmt.Errorf("join netlink group %d: %w", group, err)
		}
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, eventBuffer) != nil {
		// Without the privilege the default must do; an overrun is noticed anyway.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, eventBuffer)
	}
	w := &Watcher{file: os.NewFile(uintptr(fd), "route netlink")}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		w.file.Close()
		return nil, fmt.Errorf("route netlink socket: %w", err)
	}
	return w, nil
}

// Close ends the subscription.
func (w *Watcher) Close() error { return w.file.Close() }

// Change is what a number of notifications amount to. The zero Change means that
// nothing was notified: see [Watcher.Watch].
type Change struct {
	Links   bool // interfaces
	Routes  bool // anything that may give a destination another way
	Default bool // a default route, of any table
	Local   bool // this host's own addresses

	neighbours map[netip.Addr]int // address -> interface
}

// add notes what one datagram of notifications says.
func (c *Change) add(datagram []byte) {
	msgs, err := syscall.ParseNetlinkMessage(datagram)
	if err != nil {
		c.all()
		return
	}
	for _, m := range msgs {
		switch m.Header.Type {
		case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
			if n, ok := parseNeighbour(m.Data); ok {
				if c.neighbours == nil {
					c.neighbours = map[netip.Addr]int{}
				}
				c.neighbours[n.address] = n.index
			}
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			c.Routes, c.Local = true, true
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			c.Routes = true
			const length, table = 1, 4 // offsets in struct rtmsg
			c.Local = c.Local || len(m.Data) > table && m.Data[table] == unix.RT_TABLE_LOCAL
			c.Default = c.Default || len(m.Data) > length && m.Data[length] == 0
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			c.Links, c.Routes = true, true
		default: // rules, next hop objects
			c.Routes = true
		}
	}
}

// all is what must be supposed when notifications were lost.
func (c *Change) all() { c.Links, c.Routes, c.Default, c.Local = true, true, true, true }

// Watch calls follow after every change, and with the zero Change whenever tick
// or poke (both may be nil) is ready, until ctx ends; it returns nil then.
func (w *Watcher) Watch(ctx context.Context, tick <-chan time.Time, poke <-chan struct{}, follow func(Change)) error {
	if err := w.file.SetReadDeadline(time.Time{}); err != nil { // a former Watch set one to end itself
		return fmt.Errorf("watch routes: %w", err)
	}
	arrived, failed := make(chan Change), make(chan error, 1)
	go func() {
		for {
			c, err := w.read()
			if err != nil {
				failed <- err
				return
			}
			select {
			case arrived <- c:
			case <-ctx.Done():
				failed <- nil
				return
			}
		}
	}()
	defer context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		var c Change
		select {
		case <-ctx.Done():
			<-failed //nolint:errcheck // the socket is ours alone again; why is no news
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watch routes: %w", err)
		case <-tick:
		case <-poke:
		case c = <-arrived:
		}
		follow(c)
		if !c.Routes {
			continue
		}
		rest := time.NewTimer(restEvery)
		select {
		case <-ctx.Done():
		case <-rest.C:
		}
		rest.Stop()
	}
}

// read waits for notifications and reads all that are there.
func (w *Watcher) read() (c Change, err error) {
	buf := make([]byte, 32<<10)
	got := false
	var failure error
	err = w.raw.Read(func(fd uintptr) bool {
		for {
			n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			switch {
			case err == nil:
				c.add(buf[:n])
				got = true
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.ENOBUFS): // some were lost
				c.all()
				got = true
			case errors.Is(err, unix.EAGAIN):
				return got
			default:
				failure = err
				return true
			}
		}
	})
	if err == nil {
		err = failure
	}
	return c, err
}
