package main

import (
	"fmt"
	"slices"
	"strings"
)

// result is what came of one run of a pair.
type result struct {
	A         string  `json:"a"`
	B         string  `json:"b"`
	Transport string  `json:"transport"` // of `node run`
	Outlook   Outlook `json:"outlook"`
	Direct    bool    `json:"direct"`  // both sites showed a direct path
	Path      string  `json:"path"`    // as `node peers` shows it; of both sites if they differ
	Seconds   float64 `json:"seconds"` // from the first packet until both showed it, or the end
	Packets   uint64  `json:"packets"` // that left the sites' routers for each other until then
	Error     string  `json:"error,omitempty"`
}

func (r result) missed() bool { return r.Outlook == must && !r.Direct }

func (r result) String() string {
	if r.Error != "" {
		return fmt.Sprintf("%s - %s (%s): failed: %s", r.A, r.B, r.Transport, r.Error)
	}
	miss := ""
	if r.missed() {
		miss = "  MISSED"
	}
	return fmt.Sprintf("%s - %s (%s): %s after %.1f s, %d packets%s", r.A, r.B, r.Transport, r.Path, r.Seconds, r.Packets, miss)
}

// summary is what came of the runs of one pair, in words.
type summary struct{ path, seconds, packets string }

func sum(runs []result) (s summary) {
	var seconds []float64
	var packets []uint64
	path, failed := "", 0
	for _, r := range runs {
		switch {
		case r.Error != "":
			failed++
		case r.Direct:
			seconds, packets, path = append(seconds, r.Seconds), append(packets, r.Packets), r.Path
		}
	}
	mark := ""
	if runs[0].Outlook == must && len(seconds) < len(runs) {
		mark = " !"
	}
	switch {
	case failed == len(runs):
		return summary{path: "failed" + mark}
	case len(seconds) == 0:
		return summary{path: "relay" + mark}
	}
	slices.Sort(seconds)
	slices.Sort(packets)
	s = summary{path + mark, fmt.Sprintf("%.1f", seconds[len(seconds)/2]), fmt.Sprint(packets[len(packets)/2])}
	if len(runs) > 1 {
		s.seconds += fmt.Sprintf(" (%d/%d, worst %.1f)", len(seconds), len(runs), seconds[len(seconds)-1])
	}
	return s
}

// cell is a summary in the matrix.
func cell(runs []result) string {
	if len(runs) == 0 {
		return ""
	}
	s := sum(runs)
	if s.seconds == "" {
		return s.path
	}
	return fmt.Sprintf("%s %s s, %s p", s.path, s.seconds, s.packets)
}

// table is two Markdown tables: the pairs of the kinds of NAT, and those of the
// other kinds of site with everybody, one a line.
func table(results []result) string {
	var out strings.Builder
	byPair := map[[2]string][]result{}
	seen := map[string]bool{}
	wanted, got, failed := 0, 0, 0
	for _, r := range results {
		byPair[[2]string{r.A, r.B}] = append(byPair[[2]string{r.A, r.B}], r)
		seen[r.A], seen[r.B] = true, true
		if r.Outlook == must {
			wanted++
			if r.Direct {
				got++
			}
		}
		if r.Error != "" {
			failed++
		}
	}
	matrix(&out, byPair, seen)
	list(&out, byPair)
	fmt.Fprintf(&out, "\nDirect in %d of %d runs in which it must be (the others are marked !). Path, median seconds from the first packet, packets that left both routers for the other side until then.\n", got, wanted)
	if failed > 0 {
		fmt.Fprintf(&out, "%d runs failed.\n", failed)
	}
	return out.String()
}

// matrix has a cell for each pair of those kinds of NAT that were seen.
func matrix(out *strings.Builder, byPair map[[2]string][]result, seen map[string]bool) {
	var names []string
	for _, k := range nats {
		if seen[k.name] {
			names = append(names, k.name)
		}
	}
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(out, "| |%s|\n|---|%s\n", " "+strings.Join(names, " | ")+" ", strings.Repeat("---|", len(names)))
	for i, a := range names {
		fmt.Fprintf(out, "| %s |", a)
		for j, b := range names {
			text := ""
			if j >= i {
				text = cell(byPair[[2]string{a, b}])
			}
			fmt.Fprintf(out, " %s |", text)
		}
		out.WriteString("\n")
	}
	out.WriteString("\n")
}

// list has a line for each pair that the matrix has no cell for.
func list(out *strings.Builder, byPair map[[2]string][]result) {
	head := "| site | other site | path | seconds | packets |\n|---|---|---|---|---|\n"
	for _, p := range pairs(kindNames()) {
		runs := byPair[[2]string{p.a.name, p.b.name}]
		if len(runs) == 0 || !p.shared && inMatrix(p.a) && inMatrix(p.b) {
			continue
		}
		s := sum(runs)
		fmt.Fprintf(out, "%s| %s | %s | %s | %s | %s |\n", head, p.a.words, p.b.words, s.path, s.seconds, s.packets)
		head = ""
	}
}

func inMatrix(k kind) bool {
	return slices.ContainsFunc(nats, func(o kind) bool { return o.name == k.name })
}
