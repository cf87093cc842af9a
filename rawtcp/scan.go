package rawtcp

import (
	"fmt"
	"time"
)

// scan looks at every timer. Flows with something unacknowledged in either
// direction are looked at every ackDelay; armed tells the pumps that this is so.
func (c *control) scan(now time.Duration) {
	t := c.t
	t.armed.Store(false)
	c.wake = 0
	busy := false
	ms := millis(now)
	for _, f := range c.flows {
		c.inspect(now, f)
		if f.machine.state == established {
			if wait, waiting := f.ackWait(ms); waiting {
				if wait <= 0 {
					t.sendAck(f, ms, &c.ack)
				} else {
					c.wakeAt(now + wait)
				}
				busy = true
			}
			busy = busy || f.inFlight() != 0
		}
		if f.machine.state != closed {
			c.step(now, f, event{kind: tick})
		}
	}
	for _, h := range c.holdings {
		c.letGo(h)
	}
	c.wakeAt(c.backlog.due(now, t.profile.ackRetries, func(h *halfOpen) { c.synAck(now, h) }))
	if busy {
		c.wakeAt(now + ackDelay*time.Millisecond)
		t.armed.Store(true)
	}
	if len(c.flows) > 0 {
		c.wakeAt(now + time.Second)
	}
	const finest = 5 * time.Millisecond
	if c.wake != 0 {
		c.wake = max(c.wake, now+finest)
	}
}

// inspect ends flows that nobody wants or that cannot work any more.
func (c *control) inspect(now time.Duration, f *Flow) {
	switch {
	case f.machine.state > established:
		return
	case f.cross != nil:
		if f.cross.cancelled.Load() {
			c.step(now, f, event{kind: shut})
		}
		return
	case f.wantClose.Load(), f.dial != nil && f.machine.state == synSent && f.dial.cancelled.Load():
		c.step(now, f, event{kind: shut})
		return
	case f.dial == nil && !f.adopted.Load():
		if now >= f.born+AdoptTime {
			c.step(now, f, event{kind: shut})
			return
		}
		c.wakeAt(f.born + AdoptTime)
	case f.dial != nil && f.hop.Ready() && f.hop.Source() != f.tuple.localAddr():
		c.t.log.Info("local address changed", "path", f, "reason", fmt.Sprintf("now %v", f.hop.Source()))
		c.step(now, f, event{kind: shut})
		return
	}
	// Sequence comparison of timestamps works over 24 days: keep the oldest
	// believed one within 12.
	const span = 1 << 30
	if limit := f.stamp(millis(now)) - span; before(f.oldest.Load(), limit) && f.stamps {
		f.oldest.Store(limit)
	}
}
