package loss

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// figures are what one measurement found, by name.
type figures map[string]float64

func (f figures) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		parts = append(parts, fmt.Sprintf("%s %.2f", name, f[name]))
	}
	return strings.Join(parts, ", ")
}

// bound is what a figure of -fec auto must reach: in itself, or against the
// same figure of another contender.
type bound struct {
	limit   float64
	least   bool // otherwise at most
	against string
	minus   bool // by difference, otherwise by ratio
}

// value, ratio and beyond begin a bound: ratio(x).atLeast(0.9).
var value bound

func ratio(against string) bound  { return bound{against: against} }
func beyond(against string) bound { return bound{against: against, minus: true} }

func (b bound) atLeast(limit float64) bound { b.limit, b.least = limit, true; return b }
func (b bound) atMost(limit float64) bound  { b.limit = limit; return b }

// String is "≥ 75", "≥ 0.98x -fec off" or "≤ 0.5 more than -fec off".
func (b bound) String() string {
	sign := "≤"
	if b.least {
		sign = "≥"
	}
	switch {
	case b.against == "":
		return fmt.Sprintf("%s %g", sign, b.limit)
	case b.minus:
		return fmt.Sprintf("%s %g more than %s", sign, b.limit, b.against)
	}
	return fmt.Sprintf("%s %gx %s", sign, b.limit, b.against)
}

// holds says whether ours is within the bound, if theirs is the other's.
func (b bound) holds(ours, theirs float64) bool {
	switch {
	case b.against == "":
	case b.minus:
		ours -= theirs
	default:
		ours /= theirs
	}
	if b.least {
		return ours >= b.limit
	}
	return ours <= b.limit
}

// results are all that was measured.
type results struct {
	contenders []string
	samples    map[string]map[string][]figures // by scenario and contender
	failures   map[string]map[string][]error
}

func newResults(contenders []string) *results {
	return &results{contenders, map[string]map[string][]figures{}, map[string]map[string][]error{}}
}

func (r *results) add(scenario, contender string, f figures, err error) {
	if r.samples[scenario] == nil {
		r.samples[scenario], r.failures[scenario] = map[string][]figures{}, map[string][]error{}
	}
	if err != nil {
		r.failures[scenario][contender] = append(r.failures[scenario][contender], err)
		return
	}
	r.samples[scenario][contender] = append(r.samples[scenario][contender], f)
}

// median is that of a contender's figure; false if it was never measured.
func (r *results) median(scenario, contender, figure string) (float64, bool) {
	var values []float64
	for _, f := range r.samples[scenario][contender] {
		if v, any := f[figure]; any {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return 0, false
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2, true
	}
	return values[middle], true
}

// order is how the figures of a scenario stand in the report.
var order = []string{mbps, wire, wireBack, rtt, retransmits, residual, early, p50, p99, recovery, kept, stall, survives, overtaken, doubled}

// report prints the table and returns how many bounds are missed. A bound whose
// figure could not be measured because something failed is missed, too.
func (r *results) report(w io.Writer) (missed int) {
	fmt.Fprintf(w, "| case | figure | %s | required | |\n|---|---|%s---|---|\n", strings.Join(r.contenders, " | "), strings.Repeat("---:|", len(r.contenders)))
	for _, s := range scenarios {
		if r.samples[s.name] == nil {
			continue
		}
		title := s.title
		for _, figure := range order {
			b, bounded := s.bounds[figure]
			cells, any := r.cells(s.name, figure)
			failed := len(r.failures[s.name][fecAuto]) > 0
			if !any && !(bounded && failed) {
				continue
			}
			required, verdict := "", ""
			if bounded {
				required = b.String()
				if verdict = r.verdict(s.name, figure, b); verdict == "**missed**" {
					missed++
				}
			}
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", title, figure, strings.Join(cells, " | "), required, verdict)
			title = ""
		}
	}
	r.reportFailures(w)
	return missed
}

// cells are the medians of one figure; any says whether there is one.
func (r *results) cells(scenario, figure string) (cells []string, any bool) {
	for _, contender := range r.contenders {
		cell := "-"
		if v, found := r.median(scenario, contender, figure); found {
			cell, any = fmt.Sprintf("%.*f", digits(figure), v), true
		}
		if n := len(r.failures[scenario][contender]); n > 0 {
			cell += fmt.Sprintf(" (%d failed)", n)
		}
		cells = append(cells, cell)
	}
	return cells, any
}

func digits(figure string) int {
	switch figure {
	case mbps, rtt, kept:
		return 1
	case wire, wireBack, residual, early, recovery, stall:
		return 3
	case p50, p99, overtaken:
		return 2
	}
	return 0
}

func (r *results) verdict(scenario, figure string, b bound) string {
	if !slices.Contains(r.contenders, fecAuto) {
		return ""
	}
	ours, any := r.median(scenario, fecAuto, figure)
	if !any || len(r.failures[scenario][fecAuto]) > 0 {
		return "**missed**"
	}
	theirs, any := r.median(scenario, b.against, figure)
	if b.against != "" && !any {
		return "nothing to compare with"
	}
	if b.holds(ours, theirs) {
		return "ok"
	}
	return "**missed**"
}

// reportFailures says why measurements are missing.
func (r *results) reportFailures(w io.Writer) {
	for _, s := range scenarios {
		for _, contender := range r.contenders {
			for _, err := range r.failures[s.name][contender] {
				first, _, _ := strings.Cut(err.Error(), "\n")
				fmt.Fprintf(w, "\n- %s, %s failed: %s", s.name, contender, first)
			}
		}
	}
	fmt.Fprintln(w)
}
