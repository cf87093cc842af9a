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

// cell sums up the runs of one pair.
func cell(runs []result) string {
	if len(runs) == 0 {
		return ""
	}
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
	if failed == len(runs) {
		return "failed"
	}
	mark := ""
	if runs[0].Outlook == must && len(seconds) < len(runs) {
		mark = " !"
	}
	if len(seconds) == 0 {
		return "relay" + mark
	}
	slices.Sort(seconds)
	slices.Sort(packets)
	text := fmt.Sprintf("%s %.1f s %d", path, seconds[len(seconds)/2], packets[len(packets)/2])
	if len(runs) > 1 {
		text += fmt.Sprintf(" (%d/%d, worst %.1f s)", len(seconds), len(runs), seconds[len(seconds)-1])
	}
	return text + mark
}

// table is a Markdown table of all pairs.
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
	var names []string
	for _, k := range kinds {
		if seen[k.name] {
			names = append(names, k.name)
		}
	}
	if len(names) > 0 {
		fmt.Fprintf(&out, "| |%s|\n|---|%s\n", " "+strings.Join(names, " | ")+" ", strings.Repeat("---|", len(names)))
	}
	for i, a := range names {
		fmt.Fprintf(&out, "| %s |", a)
		for j, b := range names {
			text := ""
			if j >= i {
				text = cell(byPair[[2]string{a, b}])
			}
			fmt.Fprintf(&out, " %s |", text)
		}
		out.WriteString("\n")
	}
	for _, k := range together {
		if seen[k.name] {
			fmt.Fprintf(&out, "\n%s: %s\n", k.name, cell(byPair[[2]string{k.name, k.name}]))
		}
	}
	fmt.Fprintf(&out, "\nDirect in %d of %d runs in which it must be (the others are marked !). Each cell: path, median seconds from the first packet, packets that left both routers for the other side.\n", got, wanted)
	if failed > 0 {
		fmt.Fprintf(&out, "%d runs failed.\n", failed)
	}
	return out.String()
}
