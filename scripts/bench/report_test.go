package main

import (
	"strings"
	"testing"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

func TestReportComparesMediansWithWhatIsRequired(t *testing.T) {
	r := results{}
	for _, v := range []float64{900, 1000, 5000} {
		r.add("tcp1-up", wireguard, sample{value: v, cpuPerGB: 10})
	}
	for _, v := range []float64{2400, 1, 2600} {
		r.add("tcp1-up", ours, sample{value: v, cpuPerGB: 4})
	}
	r.add("ping", wireguard, sample{value: 0.5})
	r.add("ping", ours, sample{value: 0.4})
	r.add(rssCase, wireguard, sample{value: 200})
	r.add(rssCase, ours, sample{value: 29})

	var out strings.Builder
	if missed := report(&out, lab.AsVeth, r); missed != 2 {
		t.Errorf("with offloads %d bounds are missed, want TCP (2.4x of 2.5x) and ping (0.8x of 0.7x)", missed)
	}
	for _, line := range []string{
		"| TCP, 1 stream, to the seed (Mbit/s) | - | 1000 | 2400 | 2.40x | ≥ 2.5x | **missed** |",
		"| ping, idle (average ms) | - | 0.500 | 0.400 | 0.80x | ≤ 0.7x | **missed** |",
		"| CPU s/GB, tcp1-up | - | 10.00 | 4.00 | 0.40x | ≤ 0.45x | ok |",
		"| peak RSS under load (MB) | - | 200.0 | 29.0 | 0.14x | ≤ 30 MB | ok |",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("the report has no line %q:\n%s", line, out.String())
		}
	}
	if missed := report(&out, lab.NoOffload, r); missed != 1 {
		t.Errorf("without offloads %d bounds are missed, want the ping alone", missed)
	}
}
