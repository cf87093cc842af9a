package rawtcp

import "sync/atomic"

// reason names why something was dropped.
type reason uint8

const (
	dropMalformed reason = iota
	dropOutOfWindow
	dropBadTimestamp
	dropJunk
	dropStray
	dropClosed
	dropWindowFull
	dropQueueFull
	dropNoRoute
	dropSendError
	dropTooLong
	dropControl
	dropFlowLimit
	reasons
)

var reasonNames = [reasons]string{
	dropMalformed:    "malformed",
	dropOutOfWindow:  "out-of-window",
	dropBadTimestamp: "bad-timestamp",
	dropJunk:         "no-record",
	dropStray:        "no-connection",
	dropClosed:       "connection-closing",
	dropWindowFull:   "peer-window-full",
	dropQueueFull:    "send-queue-full",
	dropNoRoute:      "no-route",
	dropSendError:    "send-error",
	dropTooLong:      "too-long-for-path",
	dropControl:      "control-queue-full",
	dropFlowLimit:    "flow-limit",
}

// drops counts, by reason: packets on the way in, datagrams on the way out.
type drops [reasons]atomic.Uint64

func (d *drops) add(r reason, n int) { d[r].Add(uint64(n)) }

func (d *drops) snapshot() map[string]uint64 {
	m := make(map[string]uint64, reasons)
	for r := range d {
		if n := d[r].Load(); n != 0 {
			m[reasonNames[r]] = n
		}
	}
	return m
}
