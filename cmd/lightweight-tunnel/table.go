package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// table is rows of cells, the first row its heading.
type table [][]string

// print aligns the columns. Cells are never cut: scripts read them too.
func (t table) print(w io.Writer) {
	var widths []int
	for _, row := range t {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range t {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		fmt.Fprintln(w, line.String())
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func list(all []string) string { return dash(strings.Join(all, ",")) }

func positive(n int) string {
	if n <= 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

// short is enough of a node's id to tell it from others.
func short(id string) string { return dash(id[:min(len(id), 10)]) }

// addresses shows overlay addresses without their prefix lengths.
func addresses(all []string, every bool) string {
	var plain []string
	for _, a := range all {
		if p, err := netip.ParsePrefix(a); err == nil {
			a = p.Addr().String()
		}
		plain = append(plain, a)
	}
	if len(plain) > 1 && !every {
		plain = plain[:1]
	}
	return list(plain)
}

func milliseconds(ms *float64) string {
	if ms == nil {
		return "-"
	}
	if *ms < 1 {
		return strconv.FormatFloat(*ms, 'f', 2, 64) + "ms"
	}
	return strconv.FormatFloat(*ms, 'f', 1, 64) + "ms"
}

func percent(p *float64) string {
	if p == nil {
		return "-"
	}
	return strconv.FormatFloat(*p, 'f', 1, 64) + "%"
}

// si shows a number in thousands: 0, 310k, 4.1M, 22M.
func si(n float64) string {
	unit := ""
	for _, u := range []string{"k", "M", "G", "T"} {
		if n < 999.5 {
			break
		}
		n, unit = n/1000, u
	}
	if unit != "" && n < 9.95 {
		return strconv.FormatFloat(n, 'f', 1, 64) + unit
	}
	return strconv.FormatFloat(n, 'f', 0, 64) + unit
}

// span shows seconds: 0s, 59s, 4m, 3h12m, 5d.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 0:
		return "-"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return strconv.Itoa(int(d.Hours())/24) + "d"
}

// interruptible ends the context with the first Ctrl-C, so that a command can
// print what it has. The next one ends the process.
func interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // gives the signals back
	return ctx, stop
}
