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

const (
	// verifyEvery is below the time a neighbour stays reachable (15 s at least).
	verifyEvery = 10 * time.Second
	// restEvery bounds the work when a routing daemon is busy: the first change
	// is followed at once, the next ones together after this time.
	restEvery = 50 * time.Millisecond
	// eventBuffer of kernel memory lets a burst of changes wait.
	eventBuffer = 1 << 20
)

// subscribe opens a socket that receives every change that may move a next hop.
func subscribe() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, err
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
	return os.NewFile(uintptr(fd), "route netlink"), nil
}

// changes is what a number of notifications amount to.
type changes struct {
	routes     bool // ask for every hop again
	local      bool // this host's own addresses
	neighbours map[netip.Addr]int
}

// add notes what one datagram of notifications says.
func (c *changes) add(datagram []byte) {
	msgs, err := syscall.ParseNetlinkMessage(datagram)
	if err != nil {
		c.routes, c.local = true, true
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
		case unix.RTM_NEWADDR, unix.RTM_DELADDR, unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			c.routes, c.local = true, true
		default: // links, rules, next hop objects
			c.routes = true
		}
	}
}

func (r *Resolver) watch(ctx context.Context) error {
	raw, err := r.events.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch routes: %w", err)
	}
	_ = r.events.SetReadDeadline(time.Time{}) // a former run has set one to end itself
	arrived := make(chan changes, 1)
	failed := make(chan error, 1)
	go func() {
		for {
			c, err := readChanges(raw)
			if err != nil {
				failed <- err
				return
			}
			select {
			case arrived <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer context.AfterFunc(ctx, func() { _ = r.events.SetReadDeadline(time.Unix(1, 0)) })()

	r.readLocal() // what changed before Run
	r.resolveAll()
	verify := time.NewTicker(verifyEvery)
	defer verify.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watch routes: %w", err)
		case <-verify.C:
			r.verifyNeighbours()
			continue
		case <-r.again:
			r.resolveAll()
		case c := <-arrived:
			r.follow(c)
			if !c.routes {
				continue
			}
		}
		rest := time.NewTimer(restEvery)
		select {
		case <-ctx.Done():
		case <-rest.C:
		}
		rest.Stop()
	}
}

// follow asks again whatever the changes may have moved.
func (r *Resolver) follow(c changes) {
	if c.local {
		r.readLocal()
	}
	if c.routes {
		r.resolveAll()
		return
	}
	for n := range r.held {
		h := n.cur.Load()
		if h.dev == nil || !h.via.IsValid() {
			continue
		}
		if index, ok := c.neighbours[h.via]; ok && index == h.dev.index {
			r.resolve(n)
		}
	}
}

// readChanges waits for notifications and reads all that are there.
func readChanges(raw syscall.RawConn) (c changes, err error) {
	buf := make([]byte, 32<<10)
	got := false
	var failure error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			switch {
			case err == nil:
				c.add(buf[:n])
				got = true
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.ENOBUFS): // notifications were lost: look at everything
				c.routes, c.local, got = true, true, true
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
