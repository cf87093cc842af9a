package loss

import (
	"errors"
	"strings"
	"testing"
)

func TestReportJudgesMediansByEachKindOfBound(t *testing.T) {
	r := newResults([]string{bare, fecOff, fecAuto})
	for _, v := range []float64{90, 10, 70} {
		r.add("random-3", fecAuto, figures{mbps: v, wire: 1.2}, nil)
	}
	r.add("random-3", bare, figures{mbps: 1}, nil)
	r.add("congested-50", fecOff, figures{mbps: 18, wire: 1.1, rtt: 60}, nil)
	r.add("congested-50", fecAuto, figures{mbps: 17.5, wire: 1.2, rtt: 70}, nil) // wire 1.09 of 1.05
	r.add("clean-udp", fecOff, figures{wire: 1.1, p50: 0.2, p99: 1}, nil)
	r.add("clean-udp", fecAuto, figures{wire: 1.1, p50: 0.9, p99: 1.5}, nil) // p50 0.7 more, 0.5 allowed
	r.add("mtu", fecAuto, nil, errors.New("no way\nand its log"))

	var out strings.Builder
	if missed := r.report(&out); missed != 4 {
		t.Errorf("%d bounds are missed, want congested-50's wire, clean-udp's median and both of mtu", missed)
	}
	for _, line := range []string{
		"| 3 % random, TCP | goodput (Mbit/s) | 1.0 | - | 70.0 | ≥ 70 | ok |",
		"|  | wire bytes per byte | - | - | 1.200 | ≤ 1.3 | ok |",
		"| 20 Mbit/s, queue of 50 ms, TCP | goodput (Mbit/s) | - | 18.0 | 17.5 | ≥ 0.95x -fec off | ok |",
		"|  | wire bytes per byte | - | 1.100 | 1.200 | ≤ 1.05x -fec off | **missed** |",
		"|  | added delay, median (ms) | - | 0.20 | 0.90 | ≤ 0.5 more than -fec off | **missed** |",
		"|  | added delay, p99 (ms) | - | 1.00 | 1.50 | ≤ 1 more than -fec off | ok |",
		"| path MTU 1400 to 1280, ICMP swallowed, under TCP | stall (s) | - | - | - (1 failed) | ≤ 5 | **missed** |",
		"- mtu, -fec auto failed: no way",
	} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("the report has no line %q:\n%s", line, out.String())
		}
	}
}

func TestEveryBoundIsOnAFigureOfTheReport(t *testing.T) {
	shown := map[string]bool{}
	for _, figure := range order {
		shown[figure] = true
	}
	for _, s := range scenarios {
		if len(s.bounds) == 0 {
			t.Errorf("%s requires nothing", s.name)
		}
		for figure := range s.bounds {
			if !shown[figure] {
				t.Errorf("%s requires %q, which is not shown", s.name, figure)
			}
		}
	}
}
