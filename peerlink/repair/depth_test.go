package repair

import (
	"testing"
	"time"
)

// inTurn is a sender with a code for everything whose groups are filled in turn.
func inTurn(c Code) *Sender {
	s := NewFixedSender(c.Data, c.Parity)
	for lane := range s.plan.Lanes {
		s.plan.Lanes[lane].Depth, s.plan.Lanes[lane].Deadline = c.Depth, c.Deadline
	}
	return s
}

func TestGroupsThatAreFilledInTurnStandARunOfLossesThatOneDoesNot(t *testing.T) {
	code := Code{Data: 8, Parity: 2, Deadline: 50 * time.Millisecond}
	const run = 8 // as many as the rows of four groups
	lost := func(depth, from int) (packets float64) {
		code.Depth = depth
		l, n := newLine(t, inTurn(code), 1), 0
		l.loses = func() bool { n++; return n > from && n <= from+run }
		l.steady(100*time.Millisecond, 4000, Prompt, 1000)
		if l.twice != 0 {
			t.Errorf("%d packets came twice", l.twice)
		}
		return l.residual(0) * float64(len(l.sent))
	}
	for from := 40; from < 80; from += 3 { // wherever in a round it begins, its rows included
		if n := lost(4, from); n != 0 {
			t.Errorf("four groups in turn: %v packets never came after %d were lost from the %dth on", n, run, from)
		}
	}
	if n := lost(1, 40); n == 0 {
		t.Errorf("one group mended %d losses with %d rows", run, code.Parity)
	}
}

// farAway makes the round trip of a line 300 ms, as all know.
func (l *line) farAway() { l.away(150 * time.Millisecond) }

// away makes the line take oneWay, as all know.
func (l *line) away(oneWay time.Duration) {
	l.oneWay = int64(oneWay)
	l.s.Learn(2 * l.oneWay)
	l.r.Learn(2 * l.oneWay)
}

// unpunctual is the share of packets from id on that did not come within a while of
// when they would have without losses.
func (l *line) unpunctual(from uint32, within time.Duration) float64 {
	late := 0
	for id := from; id < uint32(len(l.sent)); id++ {
		if at, ok := l.got[id]; !ok || at-l.sent[id]-l.oneWay > int64(within) {
			late++
		}
	}
	return float64(late) / float64(uint32(len(l.sent))-from)
}

func TestWhereRepeatsComeLateRunsOfLossesAreSpread(t *testing.T) {
	const rate, size, within = 1786, 1400, 100 * time.Millisecond // a video
	for _, c := range []struct {
		name            string
		burst           float64
		seed            uint64
		overhead, never float64
		unpunctual      float64
	}{
		{"bursts of 2", 2, 1, 0.2, 0.0005, 0.0015},
		{"bursts of 5", 5, 2, 0.3, 0.0005, 0.003},
		{"bursts of 8", 8, 3, 0.45, 0.001, 0.003},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLine(t, NewSender(), c.seed)
			l.farAway()
			l.loses = l.bursts(0.03, c.burst)
			l.steady(3*time.Second, rate, Prompt, size)
			from, before := uint32(len(l.sent)), l.bytes
			l.steady(15*time.Second, rate, Prompt, size)
			code := l.s.plan.Lanes[PromptLane]
			if v := l.s.View(); code.Depth < 2 || v.Depth != code.Depth || v.Parity != code.Parity {
				t.Errorf("the plan is %+v, what is shown %+v", code, v)
			}
			wire := float64(l.bytes-before)/float64((len(l.sent)-int(from))*(size+headers)) - 1
			if never, late := l.residual(from), l.unpunctual(from, within); never > c.never || late > c.unpunctual || wire > c.overhead || l.twice > 0 {
				t.Errorf("%.3f %% never came, %.3f %% not in time, %d twice, at %.1f %% more bytes on the wire",
					100*never, 100*late, l.twice, 100*wire)
			}

			// The same code alone, with its groups in turn and one after the other.
			alone := func(depth int) float64 {
				code.Depth = depth
				l := newLine(t, inTurn(code), c.seed)
				l.farAway()
				l.loses = l.bursts(0.03, c.burst)
				l.steady(15*time.Second, rate, Prompt, size)
				return l.residual(0)
			}
			if spread, single := alone(code.Depth), alone(1); spread > 0.003 || single < 3*spread {
				t.Errorf("%+v leaves %.3f %%, and %.3f %% in groups one after the other", code, 100*spread, 100*single)
			}
		})
	}
}

func TestHoweverLongTheWayARoundEndsBeforeItsGroupsAreForgotten(t *testing.T) {
	for _, oneWay := range []time.Duration{700 * time.Millisecond, 900 * time.Millisecond} {
		l := newLine(t, NewSender(), 5)
		l.away(oneWay)
		l.loses = l.bursts(0.03, 4)
		l.steady(5*time.Second, 700, Prompt, 1000)
		from := uint32(len(l.sent))
		l.steady(20*time.Second, 700, Prompt, 1000)
		if v, share := l.s.View(), l.residual(from); v.Depth < 2 || share > 0.005 || l.twice > 0 {
			t.Errorf("%v: %.3f %% never came, %d came twice under %+v", oneWay, 100*share, l.twice, v)
		}
	}
}

func TestABulkFlowOnALongWayIsPutInOrderAcrossGroups(t *testing.T) {
	l := newLine(t, NewSender(), 4)
	l.farAway()
	l.loses = l.bursts(0.03, 4)
	l.steady(3*time.Second, 4000, Bulk, 1400)
	from := uint32(len(l.sent))
	l.steady(10*time.Second, 4000, Bulk, 1400)
	overtaken := l.overtaken(100+uint32(Bulk), from)
	if share := l.residual(from); share > 0.001 || overtaken > 40 || l.twice > 0 {
		t.Errorf("%.3f %% never came, %d of 40000 were overtaken, %d came twice", 100*share, overtaken, l.twice)
	}
}
