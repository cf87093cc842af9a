package udp

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// reason names why something was dropped.
type reason uint8

const (
	dropQueueFull reason = iota
	dropTooLong
	dropNoRoute
	dropIntoTunnel
	dropRefused
	dropForbidden
	dropSendError
	dropBusy
	dropTruncated
	dropEmpty
	dropNotUnicast
	dropNotListened
	dropOutOfTunnel
	dropForgotten
	reasons
	noDrop = reasons
)

var reasonNames = [reasons]string{
	dropQueueFull:   "send-queue-full",
	dropTooLong:     "too-long-for-path",
	dropNoRoute:     "no-route",
	dropIntoTunnel:  "route-into-tunnel",
	dropRefused:     "port-unreachable",
	dropForbidden:   "firewall",
	dropSendError:   "send-error",
	dropBusy:        "too-many-strangers",
	dropTruncated:   "malformed",
	dropEmpty:       "empty",
	dropNotUnicast:  "not-unicast",
	dropNotListened: "not-our-address",
	dropOutOfTunnel: "out-of-tunnel",
	dropForgotten:   "stranger-forgotten",
}

// dropOverrun is what the kernel threw away because Receive was late.
const dropOverrun = "receive-queue-full"

// reasonOf names the kernel's refusal of a datagram.
func reasonOf(e unix.Errno) reason {
	switch e {
	case 0:
		return noDrop
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return dropQueueFull
	case unix.EMSGSIZE:
		return dropTooLong
	case unix.ENETDOWN, unix.ENXIO, unix.ENODEV, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EADDRNOTAVAIL:
		return dropNoRoute
	case unix.ECONNREFUSED:
		return dropRefused
	case unix.EPERM, unix.EACCES:
		return dropForbidden
	}
	return dropSendError
}

// drops counts datagrams, by reason; forgotten strangers too.
type drops [reasons]atomic.Uint64

func (d *drops) add(r reason, n int) { d[r].Add(uint64(n)) }

func (d *drops) snapshot() map[string]uint64 {
	m := make(map[string]uint64, reasons+1)
	for r := range d {
		if n := d[r].Load(); n != 0 {
			m[reasonNames[r]] = n
		}
	}
	return m
}
