package main

import (
	"fmt"
	"io"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// rssCase is measured once per setting, after everything else.
const rssCase = "rss"

// results are all samples of one setting, by case and contender.
type results map[string]map[string][]sample

func (r results) add(kase, contender string, s sample) {
	if r[kase] == nil {
		r[kase] = map[string][]sample{}
	}
	r[kase][contender] = append(r[kase][contender], s)
}

// bound is what our figure must reach: as a ratio to wireguard-go's, or in
// itself.
type bound struct {
	limit    float64
	atLeast  bool // otherwise at most
	absolute bool
}

func (b bound) String() string {
	sign, unit := "≤", "x"
	if b.atLeast {
		sign = "≥"
	}
	if b.absolute {
		unit = " MB"
	}
	return fmt.Sprintf("%s %g%s", sign, b.limit, unit)
}

func (b bound) holds(figure float64) bool {
	if b.atLeast {
		return figure >= b.limit
	}
	return figure <= b.limit
}

// row is one line of the report.
type row struct {
	kase, title string
	whose       string // ours or oursUDP
	of          func(sample) float64
	digits      int
	bound       bound
}

func value(s sample) float64 { return s.value }
func cost(s sample) float64  { return s.cpuPerGB }

// latency gives the lines of pings their own digits and bounds.
func (r *row) latency() {
	switch r.kase {
	case "ping":
		r.digits, r.bound = 3, bound{limit: 0.7}
	case "ping-busy":
		r.digits, r.bound = 3, bound{limit: 1}
	}
}

// rows lists the report's lines for a setting with what the project requires there.
func rows(setting lab.Offload) []row {
	tcpBound := bound{limit: 2, atLeast: true}
	if setting == lab.AsVeth {
		tcpBound.limit = 2.5
	}
	var all []row
	for _, k := range cases {
		r := row{kase: k.name, title: k.title, whose: ours, of: value, bound: tcpBound}
		switch k.name {
		case "udp64", "udp1200":
			r.bound = bound{limit: 2.5, atLeast: true}
		default:
			r.latency()
		}
		all = append(all, r)
	}
	for _, k := range cases[:4] {
		all = append(all, row{kase: k.name, title: "CPU s/GB, " + k.name, whose: ours, of: cost, digits: 2, bound: bound{limit: 0.45}})
	}
	memory := row{kase: rssCase, title: "peak RSS under load (MB)", whose: ours, of: value, digits: 1, bound: bound{limit: 30, absolute: true}}
	all = append(all, memory)
	for _, k := range cases {
		r := row{kase: k.name, title: "over UDP: " + k.title, whose: oursUDP, of: value, bound: bound{limit: 2, atLeast: true}}
		r.latency()
		all = append(all, r)
	}
	for _, k := range cases[:4] {
		all = append(all, row{kase: k.name, title: "over UDP: CPU s/GB, " + k.name, whose: oursUDP, of: cost, digits: 2, bound: bound{limit: 0.5}})
	}
	memory.title, memory.whose = "over UDP: "+memory.title, oursUDP
	return append(all, memory)
}

// report prints one setting's table and returns how many bounds are missed.
func report(w io.Writer, setting lab.Offload, r results) (missed int) {
	fmt.Fprintf(w, "\n### %s\n\n| | %s | %s | %s | ratio to %s | required | |\n|---|---:|---:|---:|---:|---:|---|\n", setting, veth, wireguard, ours, wireguard)
	for _, line := range rows(setting) {
		samples := r[line.kase]
		if samples[line.whose] == nil {
			continue
		}
		figure := func(contender string) (float64, string) {
			f := median(samples[contender], line.of)
			if f == 0 {
				return 0, "-"
			}
			return f, fmt.Sprintf("%.*f", line.digits, f)
		}
		_, bare := figure(veth)
		theirs, theirText := figure(wireguard)
		our, ourText := figure(line.whose)
		ratio, verdict := "-", ""
		if theirs > 0 && our > 0 {
			ratio = fmt.Sprintf("%.2fx", our/theirs)
		}
		compared := our / theirs
		if line.bound.absolute {
			compared = our
		}
		if our > 0 && (theirs > 0 || line.bound.absolute) {
			verdict = "ok"
			if !line.bound.holds(compared) {
				verdict = "**missed**"
				missed++
			}
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s |\n", line.title, bare, theirText, ourText, ratio, line.bound, verdict)
	}
	return missed
}
