package path

import "time"

// Meter keeps what probes have shown of one way. Its zero value knows nothing.
type Meter struct {
	rtt, jitter time.Duration
	least       time.Duration
	asked       float64 // share of probes without an answer, smoothed
}

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

// RTT is the smoothed round trip; 0: not known.
func (m *Meter) RTT() time.Duration { return m.rtt }

// Least is the shortest round trip seen.
func (m *Meter) Least() time.Duration { return m.least }

// Loss is the share of probes that is lost, less what may be chance, 0 to 1.
func (m *Meter) Loss() float64 { return max(m.asked-probeNoise, 0) }

// Fill puts what probes have shown into a candidate.
func Fill[P comparable](c *Candidate[P], m *Meter) {
	c.RTT, c.Jitter = m.rtt, m.jitter
	c.Loss = max(c.Loss, m.Loss())
}
