package repair

import "time"

// lossStats sums what reports tell, the newest weighing most. Its zero value has
// heard nothing.
type lossStats struct {
	last               Report // counts of the newest report
	known              bool
	sent, lost, bursts float64
	gone               float64 // given up
}

// statsWindow is how many datagrams weigh half as much as the newest.
const statsWindow = 8192

// take takes a report and returns how many losses are new in it, of either kind.
func (l *lossStats) take(r *Report) (lost, crowded uint32) {
	if !l.known || r.Index != l.last.Index {
		l.last = Report{Index: r.Index}
		l.known = true
	}
	if r.Newest < l.last.Newest || int32(r.Got-l.last.Got) < 0 {
		return 0, 0 // an older one
	}
	lost, crowded = uint32(max(int32(r.Lost-l.last.Lost), 0)), r.Crowded-l.last.Crowded
	bursts := r.Bursts - l.last.Bursts
	l.sent += float64(r.Got-l.last.Got) + float64(lost)
	l.lost += float64(lost)
	l.bursts += float64(bursts)
	l.last.Newest, l.last.Got, l.last.Lost, l.last.Bursts, l.last.Crowded = r.Newest, r.Got, r.Lost, r.Bursts, r.Crowded
	for l.sent > statsWindow {
		l.sent, l.lost, l.bursts, l.gone = l.sent/2, l.lost/2, l.bursts/2, l.gone/2
	}
	return lost, crowded
}

// rateMeter measures events per second, over some tenths of a second. Its zero
// value has seen none.
type rateMeter struct {
	since  int64
	events int
	smooth float64
}

const ratePeriod = int64(200 * time.Millisecond)

func (m *rateMeter) count(now int64) {
	m.settle(now)
	m.events++
}

func (m *rateMeter) settle(now int64) {
	passed := now - m.since
	if passed < ratePeriod {
		return
	}
	rate := float64(m.events) / (float64(passed) / 1e9)
	if m.smooth == 0 || passed > 4*ratePeriod {
		m.smooth = rate
	}
	m.smooth += (rate - m.smooth) / 2
	m.since, m.events = now, 0
}

// rate is the number of events per second.
func (m *rateMeter) rate(now int64) float64 {
	m.settle(now)
	return m.smooth
}
