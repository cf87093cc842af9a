package simnet

import (
	"net/netip"
	"time"
)

// conntrack is a router's opinion of the TCP connections through it, so that a
// sequence of segments which routers do not take for a connection fails here,
// too: the states and transitions are those of Linux (net/netfilter,
// nf_conntrack_proto_tcp.c), without the windows. It is pure.
type conntrack struct {
	established time.Duration // timeout
	conns       map[natKey]*conn
	prune       int // conns' size at which the dead are looked for
}

// conn is one connection between an inside endpoint and a remote one.
type conn struct {
	state   ctState
	outward bool // the first segment came from inside
	at      time.Time
}

type ctState uint8

const (
	ctNone ctState = iota
	ctSynSent
	ctSynRecv
	ctEstablished
	ctFinWait
	ctCloseWait
	ctLastAck
	ctTimeWait
	ctClose
	ctSynSent2 // both have sent a SYN
	ctInvalid  // not a state: the segment is dropped
	ctIgnore   // not a state: the segment passes and changes nothing
)

// closeTimeout is how long a connection is remembered that a reset has ended.
const closeTimeout = 10 * time.Second

const (
	xNO, xSS, xSR, xES, xFW = ctNone, ctSynSent, ctSynRecv, ctEstablished, ctFinWait
	xCW, xLA, xTW, xCL, xS2 = ctCloseWait, ctLastAck, ctTimeWait, ctClose, ctSynSent2
	xIV, xIG                = ctInvalid, ctIgnore
)

// ctNext is the new state by direction (0: that of the first segment), segment
// (SYN, SYN-ACK, FIN, ACK, RST) and old state.
var ctNext = [2][5][ctSynSent2 + 1]ctState{
	{
		{xSS, xSS, xIG, xIG, xIG, xIG, xIG, xSS, xSS, xS2},
		{xIV, xIV, xSR, xIV, xIV, xIV, xIV, xIV, xIV, xSR},
		{xIV, xIV, xFW, xFW, xLA, xLA, xLA, xTW, xCL, xIV},
		{xES, xIV, xES, xES, xCW, xCW, xTW, xTW, xCL, xIV},
		{xIV, xCL, xCL, xCL, xCL, xCL, xCL, xCL, xCL, xCL},
	},
	{
		{xIV, xS2, xIV, xIV, xIV, xIV, xIV, xSS, xIV, xS2},
		{xIV, xSR, xIG, xIG, xIG, xIG, xIG, xIG, xIG, xSR},
		{xIV, xIV, xFW, xFW, xLA, xLA, xLA, xTW, xCL, xIV},
		{xIV, xIG, xSR, xES, xCW, xCW, xTW, xTW, xCL, xIG},
		{xIV, xCL, xCL, xCL, xCL, xCL, xCL, xCL, xCL, xCL},
	},
}

func newConntrack(established time.Duration) *conntrack {
	return &conntrack{established: established, conns: map[natKey]*conn{}, prune: 1024}
}

// timeout is how long a connection in that state is remembered.
func (c *conntrack) timeout(s ctState) time.Duration {
	switch s {
	case ctSynRecv, ctCloseWait:
		return 60 * time.Second
	case ctEstablished:
		return c.established
	case ctLastAck:
		return 30 * time.Second
	case ctClose:
		return closeTimeout
	}
	return 120 * time.Second
}

// knows says whether there is a connection between them.
func (c *conntrack) knows(now time.Time, inner, remote netip.AddrPort) bool {
	conn := c.conns[natKey{inner, remote}]
	return conn != nil && !c.dead(conn, now)
}

func (c *conntrack) dead(conn *conn, now time.Time) bool {
	return now.Sub(conn.at) > c.timeout(conn.state)
}

// segment notes a segment between an inside endpoint and a remote one and says
// whether it may pass.
func (c *conntrack) segment(now time.Time, inner, remote netip.AddrPort, outward bool, kind wireKind) bool {
	key := natKey{inner, remote}
	seen := c.conns[key]
	if seen == nil || c.dead(seen, now) {
		seen = &conn{outward: outward}
	}
	event := [...]int{wireSYN: 0, wireSYNACK: 1, wireFIN: 2, wireACK: 3, wireData: 3, wireRST: 4}[kind]
	direction := 0
	if seen.outward != outward {
		direction = 1
	}
	switch next := ctNext[direction][event][seen.state]; next {
	case ctInvalid:
		return false
	case ctIgnore:
	default:
		seen.state, seen.at = next, now
		c.conns[key] = seen
	}
	if len(c.conns) > c.prune {
		for key, conn := range c.conns {
			if c.dead(conn, now) {
				delete(c.conns, key)
			}
		}
		c.prune = max(1024, 2*len(c.conns))
	}
	return true
}

func (c *conntrack) forget() { clear(c.conns) }
