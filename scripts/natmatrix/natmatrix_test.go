package main

import (
	"strings"
	"testing"
)

func TestPairsAreThoseOfTheKindsNamed(t *testing.T) {
	all := pairs(kindNames())
	if want := len(kinds)*(len(kinds)+1)/2 + len(together); len(all) != want {
		t.Errorf("%d pairs, want %d", len(all), want)
	}
	few := pairs([]string{"random", "none", "same"})
	if len(few) != 4 || few[0].a.name != "none" || few[1].b.name != "random" || !few[3].shared {
		t.Errorf("%+v", few)
	}
	for _, name := range []string{"random/none", "none/random"} {
		if one := pairs([]string{name}); len(one) != 1 || one[0].a.name != "none" || one[0].b.name != "random" {
			t.Errorf("%s: %+v", name, one)
		}
	}
}

func TestOutlooksAreThePromises(t *testing.T) {
	named := map[string]kind{}
	for _, k := range kinds {
		named[k.name] = k
	}
	for _, test := range []struct {
		a, b, transport string
		want            Outlook
	}{
		{"none", "none", "auto", must},
		{"step", "port-restricted", "udp", must},
		{"step", "step", "rawtcp", must},
		{"random", "restricted", "udp", must},
		{"full", "random", "auto", must},
		{"random", "port-restricted", "udp", may},
		{"random", "cgnat", "rawtcp", not},
		{"random", "random", "auto", not},
		{"udp-blocked", "port-restricted", "auto", must},
		{"udp-blocked", "port-restricted", "udp", not},
		{"udp-blocked", "random", "auto", not},
		{"ipv6", "port-restricted", "auto", not},
		{"ipv6", "dual", "auto", must},
		{"cgnat", "reset", "rawtcp", must},
	} {
		for _, p := range []pair{{a: named[test.a], b: named[test.b]}, {a: named[test.b], b: named[test.a]}} {
			if got := p.outlook(test.transport); got != test.want {
				t.Errorf("%s and %s over %s: %s, want %s", p.a.name, p.b.name, test.transport, got, test.want)
			}
		}
	}
}

func TestTheTablesMarkWhatWasMissed(t *testing.T) {
	text := table([]result{
		{A: "none", B: "none", Outlook: must, Direct: true, Path: "udp", Seconds: 0.25, Packets: 4},
		{A: "none", B: "random", Outlook: must, Path: "relay", Seconds: 25},
		{A: "random", B: "random", Outlook: not, Path: "relay", Seconds: 25},
		{A: "random", B: "cgnat", Outlook: may, Direct: true, Path: "udp", Seconds: 2.04, Packets: 512},
		{A: "full", B: "udp-blocked", Outlook: must, Error: "no core"},
		{A: "same", B: "same", Outlook: must, Direct: true, Path: "rawtcp", Seconds: 1, Packets: 0},
		{A: "same", B: "same", Outlook: must, Direct: true, Path: "rawtcp", Seconds: 3, Packets: 2},
	})
	for _, want := range []string{
		"| none | udp 0.2 s, 4 p |  | relay ! |", "| random |  |  | relay |",
		"| symmetric, random | two routers in a row | udp | 2.0 | 512 |", "| full cone | UDP blocked | failed ! |  |  |",
		"| the same router | the same router | rawtcp | 3.0 (2/2, worst 3.0) | 2 |", "Direct in 3 of 5 runs", "1 runs failed",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "| no NAT | symmetric, random |") {
		t.Errorf("a pair of the matrix is listed too:\n%s", text)
	}
}

func TestCommandLinesThatMeanNothingAreRefused(t *testing.T) {
	for _, line := range []string{"", "a b", "-only round bin", "-only none/round bin", "-only none/ bin", "-only , bin", "-transport pigeon bin", "-repeat 0 bin"} {
		if _, err := parse(strings.Fields(line)); err == nil {
			t.Errorf("%q was taken", line)
		}
	}
	o, err := parse(strings.Fields("-only none,random -transport udp -repeat 3 -json bin"))
	if err != nil || len(o.only) != 2 || o.transport != "udp" || o.repeat != 3 || !o.json {
		t.Errorf("%+v, %v", o, err)
	}
}
