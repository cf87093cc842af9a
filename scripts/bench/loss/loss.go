// Package loss measures how a tunnel fares on bad lines: random loss, loss in
// bursts, congestion, outages, flows that die silently, a changing address and
// a shrinking path MTU. What a node of this project does on its own
// (-fec auto) stands beside the same node without forward error correction
// (-fec off) and beside the bare line, in one run, as medians in Markdown,
// with what the project promises.
//
// The line has 50 ms of round trip and a bottleneck of 100 Mbit/s with 50 ms of
// queue in each direction, before the loss. Each measurement starts cold: new
// hosts, new nodes, a new connection. Every contender meets the same seeds, so
// that packet number n of the line is lost for all of them or for none.
// TCP is one stream with cubic set on its socket. Wire bytes are those of whole
// Ethernet frames entering the line, counted by the line itself.
package loss

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// Command is the word that selects this benchmark on the command line.
const Command = "loss"

// plan is what the flags choose.
type plan struct {
	node       string
	only       *regexp.Regexp
	contenders []string
	seconds    int
	repeats    int
}

// Run measures what the arguments select, prints the report to stdout, and
// returns an error if something required was missed and -check was given.
func Run(ctx context.Context, args []string) error {
	p, check, err := parse(args)
	if err != nil {
		return err
	}
	// The line has threads of its own that the system serves first, but Go would let
	// them wait for the streams: as if the line had jitter of many milliseconds.
	runtime.GOMAXPROCS(max(runtime.NumCPU(), 8))
	began := time.Now()
	r := newResults(p.contenders)
	for repeat := range p.repeats {
		for _, s := range scenarios {
			if !p.only.MatchString(s.name) {
				continue
			}
			for _, contender := range p.contenders {
				if contender == bare && !s.bare {
					continue
				}
				figures, err := p.measure(ctx, s, contender, uint64(repeat+1))
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				r.add(s.name, contender, figures, err)
				if err != nil {
					fmt.Fprintf(os.Stderr, "%d/%d  %-14s %-9s failed: %v\n", repeat+1, p.repeats, s.name, contender, err)
					continue
				}
				fmt.Fprintf(os.Stderr, "%d/%d  %-14s %-9s %s\n", repeat+1, p.repeats, s.name, contender, figures)
			}
		}
	}
	fmt.Printf("50 ms round trip, 100 Mbit/s, 50 ms queue unless said otherwise; %d s per measurement, medians of %d, each from a cold start.\n\n", p.seconds, p.repeats)
	missed := r.report(os.Stdout)
	fmt.Printf("\nTook %s; load averages at the end: %s. Delays and rates are the nodes' own only on a machine that is idle otherwise.\n", time.Since(began).Round(time.Second), load())
	if check && missed > 0 {
		return fmt.Errorf("%d of the required figures are missed", missed)
	}
	return nil
}

// load is what the kernel says about how busy the machine was.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

func parse(args []string) (p plan, check bool, err error) {
	flags := flag.NewFlagSet("bench "+Command, flag.ContinueOnError)
	flags.StringVar(&p.node, "node", "bin/lightweight-tunnel", "our binary")
	only := flags.String("only", "", "regular expression: only these cases ("+scenarioNames()+")")
	contenders := flags.String("contenders", "", "regular expression: only these ("+bare+", "+fecOff+", "+fecAuto+")")
	flags.IntVar(&p.seconds, "seconds", 15, "how long each stream runs")
	flags.IntVar(&p.repeats, "repeats", 3, "how often each measurement is taken; the median counts")
	flags.BoolVar(&check, "check", false, "exit 1 when a required figure is missed")
	if err := flags.Parse(args); err != nil {
		return p, check, err
	}
	if p.seconds < 3 || p.repeats < 1 {
		return p, check, errors.New("-seconds is at least 3, -repeats at least 1")
	}
	if p.only, err = regexp.Compile(*only); err != nil {
		return p, check, fmt.Errorf("-only: %w", err)
	}
	some, err := regexp.Compile(*contenders)
	if err != nil {
		return p, check, fmt.Errorf("-contenders: %w", err)
	}
	for _, name := range []string{bare, fecOff, fecAuto} {
		if some.MatchString(name) {
			p.contenders = append(p.contenders, name)
		}
	}
	p.node, err = filepath.Abs(p.node)
	return p, check, err
}

// measure runs one scenario once for one contender, in a lab of its own.
func (p plan) measure(ctx context.Context, s scenario, contender string, seed uint64) (_ figures, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.seconds)*time.Second+time.Minute)
	defer cancel()
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	way, err := p.connect(ctx, l, s, contender, seed)
	if err != nil {
		return nil, err
	}
	figures, err := s.measure(ctx, way, time.Duration(p.seconds)*time.Second)
	if err != nil {
		err = fmt.Errorf("%w%s", err, way.logs())
	}
	return figures, err
}
