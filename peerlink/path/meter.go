package path

import "time"

// Meter keeps what was measured of one way. Its zero value knows nothing.
type Meter struct {
	rtt, jitter time.Duration
	least       time.Duration
	asked       float64 // share of probes without an answer, smoothed
	loaded      float64 // share of datagrams that was lost under load
	loadedAt    time.Time
	goodput     float64 // bytes per second, at loadedAt
}

// loadedHalf is the time in which the memory of what happened under load fades to
// a half: probes alone do not show that a way is throttled.
const loadedHalf = 5 * time.Minute

const (
	probeMemory = 32 // probes
	// probeNoise is what so few probes cannot tell from chance on a line that loses
	// one in twenty.
	probeNoise = 0.1
)

// Answered takes the round trip of a probe.
func (m *Meter) Answered(took time.Duration) {
	if took <= 0 {
		return
	}
	m.asked -= m.asked / probeMemory
	if m.rtt == 0 {
		m.rtt, m.least = took, took
		return
	}
	off := took - m.rtt
	if off < 0 {
		off = -off
	}
	m.jitter += (off - m.jitter) / 16 // slower than RFC 6298: nothing waits for it
	m.rtt += (took - m.rtt) / 8
	m.least = min(m.least, took)
}

// Missed says that a probe had no answer.
func (m *Meter) Missed() { m.asked += (1 - m.asked) / probeMemory }

// Loaded takes the loss seen by the traffic itself, and, if more was offered than
// got through, the bytes per second that did; else 0.
func (m *Meter) Loaded(now time.Time, loss, goodput float64) {
	m.loaded, m.loadedAt, m.goodput = loss, now, goodput
}

// RTT is the smoothed round trip; 0: not known.
func (m *Meter) RTT() time.Duration { return m.rtt }

// Least is the shortest round trip seen.
func (m *Meter) Least() time.Duration { return m.least }

// Loss is the share of datagrams that is lost, by what is worse: probes, or
// traffic as it was remembered.
func (m *Meter) Loss(now time.Time) float64 {
	return max(m.asked-probeNoise, m.loaded*m.fresh(now), 0)
}

// fresh is how much of the memory of load counts, 0 to 1.
func (m *Meter) fresh(now time.Time) float64 {
	if m.loadedAt.IsZero() {
		return 0
	}
	share, age := 1.0, now.Sub(m.loadedAt)
	for ; age >= loadedHalf && share > 0.01; age -= loadedHalf {
		share /= 2
	}
	return share * (1 - float64(min(max(age, 0), loadedHalf))/float64(2*loadedHalf))
}

// Fill puts the measurements into a candidate.
func Fill[P comparable](c *Candidate[P], m *Meter, now time.Time) {
	c.RTT, c.Jitter, c.Loss = m.rtt, m.jitter, m.Loss(now)
	if m.goodput > 0 && m.fresh(now) >= 0.5 {
		c.Goodput = m.goodput
	}
}
