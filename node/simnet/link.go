package simnet

import (
	"math/rand/v2"
	"time"
)

// Link is what one direction of a line does to packets. The zero value is a
// perfect line without delay. Probabilities are from 0 to 1.
type Link struct {
	Delay  time.Duration // of propagation
	Jitter time.Duration // uniformly more, up to this; order is kept

	Loss  float64 // of each packet, independently
	Burst Burst   // besides: losses in bursts

	Reorder   float64       // of a packet to be overtaken by those behind it
	ReorderBy time.Duration // how long it is held back; 0: 5 ms
	Duplicate float64       // of a packet to arrive twice

	MTU   int   // bytes of the largest IP packet, larger ones vanish; 0: no limit
	Rate  int64 // bits per second, of IP packets; 0: no limit
	Queue int   // bytes that wait in front of Rate, the rest is dropped; 0: 64 KiB
}

// Burst is the loss model of Gilbert and Elliott: a line is good or bad, and
// changes at each packet with a probability. While it is bad it loses. Its mean
// loss is Enter/(Enter+Leave)*Loss and the mean length of a bad time 1/Leave
// packets. The zero value loses nothing.
type Burst struct {
	Enter float64 // good to bad
	Leave float64 // bad to good
	Loss  float64 // in the bad state; 0: all is lost
}

// Bursts is the Burst of a mean loss (below 1) and a mean length in packets (at
// least 1) of the runs that are lost whole.
func Bursts(loss, length float64) Burst {
	return Burst{Enter: loss / (length * (1 - loss)), Leave: 1 / length}
}

// fate is what happens to one packet.
type fate struct {
	copies int       // that arrive, 0 to 2
	at     time.Time // of arrival
	reason string    // why there are none
}

// channel is one direction of a line: a [Link] and its state. It is pure: time
// is an argument and randomness its own.
type channel struct {
	link      Link
	own       bool // link was set for this line, not by default
	blackhole bool
	flows     map[pair]bool // seen on the line; true: it has vanished
	rng       *rand.Rand

	bad       bool      // the state of Burst
	busyUntil time.Time // when all that was accepted will have been sent
	lastAt    time.Time // arrival of the latest packet, for order under jitter
}

// pass decides the fate of a packet of size bytes that enters at now.
func (c *channel) pass(now time.Time, size int) fate {
	l := &c.link
	switch {
	case c.blackhole:
		return fate{reason: "blackhole"}
	case l.MTU > 0 && size > l.MTU:
		return fate{reason: "mtu"}
	}
	sent := now
	if l.Rate > 0 {
		if c.busyUntil.Before(now) {
			c.busyUntil = now
		}
		waiting := int64(c.busyUntil.Sub(now)) * l.Rate / 8 / int64(time.Second)
		queue := l.Queue
		if queue == 0 {
			queue = 64 << 10
		}
		if waiting+int64(size) > int64(queue) {
			return fate{reason: "queue"}
		}
		c.busyUntil = c.busyUntil.Add(time.Duration(int64(size) * 8 * int64(time.Second) / l.Rate))
		sent = c.busyUntil
	}
	// What is lost on the line has used its rate.
	if c.chance(l.Loss) {
		return fate{reason: "loss"}
	}
	if c.burst() {
		return fate{reason: "burst"}
	}
	f := fate{copies: 1, at: sent.Add(l.Delay)}
	if l.Jitter > 0 {
		f.at = f.at.Add(time.Duration(c.rng.Int64N(int64(l.Jitter) + 1)))
	}
	if f.at.Before(c.lastAt) {
		f.at = c.lastAt
	}
	if c.chance(l.Reorder) {
		by := l.ReorderBy
		if by == 0 {
			by = 5 * time.Millisecond
		}
		f.at = f.at.Add(by)
	} else {
		c.lastAt = f.at
	}
	if c.chance(l.Duplicate) {
		f.copies = 2
	}
	return f
}

// chance draws nothing for what cannot happen, so that switching one impairment
// on leaves the others' draws as they were.
func (c *channel) chance(p float64) bool { return p > 0 && c.rng.Float64() < p }

// burst steps the Gilbert-Elliott state and says whether the packet is lost.
func (c *channel) burst() bool {
	b := c.link.Burst
	if b.Enter <= 0 {
		return false
	}
	if c.bad {
		c.bad = !c.chance(b.Leave)
	} else {
		c.bad = c.chance(b.Enter)
	}
	return c.bad && (b.Loss == 0 || c.chance(b.Loss))
}
