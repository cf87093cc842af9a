package repair

import (
	"math"
	"time"
)

// cubicState is the state of cubic (RFC 9438) and of HyStart as Linux has it.
type cubicState struct {
	lastMax    float64
	epoch      int64
	k, origin  float64
	tcpCwnd    float64
	delayMin   int64
	found      bool
	endSeq     int
	roundStart int64
	lastAck    int64
	currRTT    int64
	samples    int
}

const cubicBeta = 717.0 / 1024

// hystart looks for the end of slow start in the delays and in the length of trains.
func (t *tcpSender) hystart(now, rtt int64) {
	c := &t.cubic
	if c.delayMin == 0 || rtt < c.delayMin {
		c.delayMin = rtt
	}
	if t.una > c.endSeq { // a round trip is over
		c.endSeq = t.next
		c.roundStart, c.lastAck, c.currRTT, c.samples = now, now, math.MaxInt64, 0
	}
	if c.found || t.cwnd >= t.ssthresh || t.cwnd < 16 {
		return
	}
	if now-c.lastAck <= int64(2*time.Millisecond) {
		c.lastAck = now
		if now-c.roundStart > (c.delayMin+int64(time.Millisecond))/2 {
			c.found, t.ssthresh = true, t.cwnd
		}
	}
	c.currRTT = min(c.currRTT, rtt)
	if c.samples < 8 {
		c.samples++
	} else if c.currRTT > c.delayMin+min(max(c.delayMin/8, int64(4*time.Millisecond)), int64(16*time.Millisecond)) {
		c.found, t.ssthresh = true, t.cwnd
	}
}

// grow opens the window for n packets that came.
func (t *tcpSender) grow(now int64, n int) {
	acked := float64(n)
	if t.cwnd < t.ssthresh {
		add := math.Min(acked, t.ssthresh-t.cwnd)
		t.cwnd += add
		if acked -= add; acked <= 0 {
			return
		}
	}
	c := &t.cubic
	if c.epoch == 0 {
		c.epoch = now
		c.tcpCwnd = t.cwnd
		if c.lastMax <= t.cwnd {
			c.k, c.origin = 0, t.cwnd
		} else {
			c.k, c.origin = math.Cbrt((c.lastMax-t.cwnd)/0.4), c.lastMax
		}
	}
	at := float64(now-c.epoch+c.delayMin) / 1e9
	target := c.origin + 0.4*math.Pow(at-c.k, 3)
	perAck := 0.01 / t.cwnd
	if target > t.cwnd {
		perAck = (target - t.cwnd) / t.cwnd
	}
	perAck = math.Min(perAck, 0.5)
	c.tcpCwnd += acked * 3 * (1 - cubicBeta) / (1 + cubicBeta) / t.cwnd
	if c.tcpCwnd > t.cwnd {
		perAck = math.Max(perAck, (c.tcpCwnd-t.cwnd)/t.cwnd)
	}
	t.cwnd += perAck * acked
}
