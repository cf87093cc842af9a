package repair

import (
	"math"
	"time"
)

// tcpSender is a model of the sending half of Linux's TCP with cubic, as far as loss
// and delay matter to it: slow start with HyStart, SACK, RACK, proportional rate
// reduction, retransmission timeouts, and the undo of reductions that were
// mistaken. Packets are numbered, not bytes. It always has something to send.
type tcpSender struct {
	send func(seq int, again bool)

	una, next int
	packets   []tcpPacket // by sequence number
	sacked    int         // above una
	lost      int         // marked and not sent again yet
	out       int         // sent again, and not known to have come or to be lost
	lostFrom  int         // no lost ones below

	cwnd, ssthresh float64
	state          tcpState
	highSeq        int

	// What a mistaken reduction took.
	undoMarker             int // -1: none
	undoRetrans            int
	priorCwnd, priorThresh float64
	retransStamp           int64
	// Proportional rate reduction (RFC 6937).
	prrDelivered, prrOut int
	prrPrior             float64

	rack      int64 // when the newest packet that came was sent
	reordered bool
	reoSteps  int64
	highSack  int

	srtt, rttvar, minRTT int64
	timer                int64
	backoff              int64

	cubic cubicState

	retransmits, timeouts, reductions, undone int
}

type tcpPacket struct {
	sent         int64 // last
	sacked, lost bool
	again        int
}

type tcpState uint8

const (
	tcpOpen tcpState = iota
	tcpRecovery
	tcpLoss
)

func newTCPSender(send func(seq int, again bool)) *tcpSender {
	return &tcpSender{send: send, cwnd: 10, ssthresh: math.Inf(1), undoMarker: -1, reoSteps: 1, highSack: -1}
}

func (t *tcpSender) inFlight() int { return t.next - t.una - t.sacked - t.lost }

// transmit sends what the window allows.
func (t *tcpSender) transmit(now int64) {
	for float64(t.inFlight()) < t.cwnd {
		if t.lost > 0 {
			s := max(t.lostFrom, t.una)
			for !t.packets[s].lost {
				s++
			}
			p := &t.packets[s]
			t.lostFrom = s + 1
			p.lost, p.sent = false, now
			p.again++
			t.lost--
			t.out++
			t.retransmits++
			t.undoRetrans++
			if t.retransStamp == 0 {
				t.retransStamp = now
			}
			t.prrOut++
			t.send(s, true)
		} else {
			if t.state == tcpLoss && t.next < t.highSeq {
				return
			}
			t.packets = append(t.packets, tcpPacket{sent: now})
			t.next++
			t.prrOut++
			t.send(t.next-1, false)
		}
		if t.timer == 0 {
			t.rearm(now)
		}
	}
}

func (t *tcpSender) rearm(now int64) {
	rto := int64(time.Second)
	if t.srtt > 0 {
		rto = t.srtt + max(4*t.rttvar, int64(200*time.Millisecond))
	}
	t.timer = now + rto<<t.backoff
}

// tick fires the timer.
func (t *tcpSender) tick(now int64) {
	if t.timer == 0 || now < t.timer || t.una == t.next {
		return
	}
	t.timeouts++
	if t.state != tcpLoss {
		t.reduce(now)
	}
	t.cubic = cubicState{}
	t.state, t.highSeq = tcpLoss, t.next
	t.cwnd = 1
	t.lost, t.out = 0, 0
	for s := t.una; s < t.next; s++ {
		if p := &t.packets[s]; !p.sacked {
			p.lost = true
			t.lost++
		}
	}
	t.lostFrom = t.una
	t.backoff = min(t.backoff+1, 6)
	t.rearm(now)
	t.transmit(now)
}

// reduce takes a loss for congestion.
func (t *tcpSender) reduce(now int64) {
	t.reductions++
	t.priorCwnd, t.priorThresh = t.cwnd, t.ssthresh
	t.undoMarker, t.undoRetrans, t.retransStamp = t.una, 0, 0
	c := &t.cubic
	c.epoch = 0
	if t.cwnd < c.lastMax {
		c.lastMax = t.cwnd * (1 + cubicBeta) / 2
	} else {
		c.lastMax = t.cwnd
	}
	t.ssthresh = math.Max(2, math.Floor(t.cwnd*cubicBeta))
	t.prrDelivered, t.prrOut, t.prrPrior = 0, 0, t.cwnd
}

func (t *tcpSender) undo(now int64) {
	t.undone++
	t.cwnd = math.Max(t.cwnd, t.priorCwnd)
	if t.priorThresh > t.ssthresh {
		t.ssthresh = t.priorThresh
	}
	t.undoMarker, t.retransStamp = -1, 0
	for s := t.una; s < t.next; s++ {
		if p := &t.packets[s]; p.lost {
			p.lost = false
		}
	}
	t.lost = 0
	t.state = tcpOpen
}

// tcpAck is what the receiver says: all below next came, and these as well.
type tcpAck struct {
	next int
	came []tcpArrival // new ones since the last one that was sent
	echo int64        // when the packet that made next advance was sent
}

type tcpArrival struct {
	seq  int
	sent int64 // which transmission
	dup  bool
}

// ack takes an acknowledgement.
func (t *tcpSender) ack(now int64, a *tcpAck) {
	delivered, rtt := 0, int64(0)
	newest := int64(0)
	dsack := false
	for _, c := range a.came {
		if c.dup {
			dsack = true
			if t.undoRetrans > 0 && t.packets[c.seq].again > 0 {
				t.undoRetrans--
			}
			continue
		}
		if c.seq < t.una {
			continue
		}
		p := &t.packets[c.seq]
		if p.sacked {
			continue
		}
		p.sacked = true
		t.sacked++
		delivered++
		newest = max(newest, t.arrived(p))
		if p.again == 0 && c.seq < t.highSack {
			t.reordered = true
		}
		t.rack = max(t.rack, c.sent)
		t.highSack = max(t.highSack, c.seq)
	}
	advanced := a.next > t.una
	for ; t.una < a.next; t.una++ {
		if p := &t.packets[t.una]; p.sacked {
			t.sacked--
		} else { // the arrival was told in an acknowledgement that was lost
			delivered++
			newest = max(newest, t.arrived(p))
		}
	}
	if newest > 0 {
		rtt = now - newest
		t.sample(rtt)
	}
	if advanced {
		t.backoff = 0
		t.rearm(now)
		if t.una == t.next {
			t.timer = 0
		}
	}
	if dsack {
		t.reoSteps = min(t.reoSteps+1, 64)
	}
	t.detect(now)
	delayed := advanced && t.retransStamp != 0 && a.echo < t.retransStamp
	switch t.state {
	case tcpOpen:
		if dsack && t.undoMarker >= 0 && t.undoRetrans == 0 && t.retransStamp != 0 {
			t.undo(now)
		}
		if t.lost > 0 {
			t.reduce(now)
			t.state, t.highSeq = tcpRecovery, t.next
		}
	case tcpRecovery:
		may := t.undoMarker >= 0 && (t.undoRetrans == 0 && t.retransStamp != 0 || delayed)
		switch {
		case t.una >= t.highSeq:
			t.state = tcpOpen
			if may {
				t.undo(now)
			} else {
				t.cwnd = t.ssthresh
			}
			if t.lost > 0 {
				t.reduce(now)
				t.state, t.highSeq = tcpRecovery, t.next
			}
		case delayed && t.out == 0 && t.undoMarker >= 0, dsack && may && t.undoRetrans == 0:
			t.undo(now)
			t.detect(now)
			if t.lost > 0 {
				t.reduce(now)
				t.state, t.highSeq = tcpRecovery, t.next
			}
		}
	case tcpLoss:
		if t.una >= t.highSeq {
			t.state = tcpOpen
			if t.undoMarker >= 0 && (t.undoRetrans == 0 || delayed) {
				t.undo(now)
			}
		}
	}
	switch t.state {
	case tcpRecovery:
		t.prrDelivered += delivered
		in := t.inFlight()
		var n int
		if float64(in) > t.ssthresh {
			n = int(math.Ceil(t.ssthresh*float64(t.prrDelivered)/t.prrPrior)) - t.prrOut
		} else {
			n = int(t.ssthresh) - in
			n = min(n, max(t.prrDelivered-t.prrOut, delivered)+1)
		}
		if t.prrOut == 0 {
			n = max(n, 1)
		}
		t.cwnd = float64(in + max(n, 0))
	default:
		if rtt > 0 {
			t.hystart(now, rtt)
		}
		if advanced {
			t.grow(now, delivered)
		}
	}
	t.transmit(now)
}

// arrived notes that a packet came, and returns when it was sent; 0: more than once.
func (t *tcpSender) arrived(p *tcpPacket) int64 {
	switch {
	case p.lost:
		p.lost = false
		t.lost--
	case p.again > 0:
		t.out--
	}
	if p.again > 0 {
		return 0
	}
	return p.sent
}

func (t *tcpSender) sample(rtt int64) {
	if t.srtt == 0 {
		t.srtt, t.rttvar, t.minRTT = rtt, rtt/2, rtt
		return
	}
	d := rtt - t.srtt
	t.srtt += d / 8
	if d < 0 {
		d = -d
	}
	t.rttvar += (d - t.rttvar) / 4
	t.minRTT = min(t.minRTT, rtt)
}

// detect marks what RACK takes for lost.
func (t *tcpSender) detect(now int64) {
	if t.sacked == 0 && t.out == 0 {
		return
	}
	reo := int64(0)
	if t.reordered || t.sacked < 3 {
		if t.state == tcpOpen || t.reordered {
			reo = min(t.minRTT/4*t.reoSteps, t.srtt)
		}
	}
	for s := t.una; s <= t.highSack && s < t.next; s++ {
		p := &t.packets[s]
		if p.sacked || p.lost || p.sent >= t.rack {
			continue
		}
		// A packet is lost if one that was sent later came, and a round trip and
		// the reordering that is usual have passed.
		if now-p.sent > t.srtt+reo || reo == 0 && t.rack > p.sent {
			p.lost = true
			t.lost++
			if p.again > 0 {
				t.out--
			}
			t.lostFrom = min(t.lostFrom, s)
		}
	}
}

// tcpReceiver is the receiving half.
type tcpReceiver struct {
	next int
	have map[int]bool
	came []tcpArrival
	echo int64
}

// take takes a packet that was sent at a time.
func (r *tcpReceiver) take(seq int, sent int64) {
	switch {
	case seq < r.next || r.have[seq]:
		r.came = append(r.came, tcpArrival{seq, sent, true})
		return
	case seq == r.next:
		r.echo = sent
		r.next++
		for r.have[r.next] {
			delete(r.have, r.next)
			r.next++
		}
	default:
		r.have[seq] = true
	}
	r.came = append(r.came, tcpArrival{seq, sent, false})
}
