// Command natmatrix runs two real nodes behind every pair of kinds of NAT router,
// on real kernels in network namespaces, and prints which path they reached, how
// long it took from the first packet, and how many packets went straight between
// them, or tried to, until then. Two public nodes are the mesh's seeds.
//
//	natmatrix [-only KIND,KIND|KIND/KIND] [-transport udp|rawtcp|both] [-repeat N] [-json] PATH-OF-LIGHTWEIGHT-TUNNEL
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	binary    string
	only      []string
	transport string // of `node run`
	repeat    int
	wait      time.Duration // for a direct path
	json      bool
	strict    bool
	logs      bool
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "natmatrix:", err)
		}
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	missed, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "natmatrix:", err)
		os.Exit(1)
	}
	if o.strict && missed > 0 {
		os.Exit(3)
	}
}

func parse(args []string) (options, error) {
	var o options
	var only string
	flags := flag.NewFlagSet("natmatrix", flag.ContinueOnError)
	flags.StringVar(&only, "only", "", "pairs of these kinds alone, or, written KIND/KIND, this pair: "+strings.Join(kindNames(), ","))
	flags.StringVar(&o.transport, "transport", "both", "what the two sites may use: udp, rawtcp, or both at once")
	flags.IntVar(&o.repeat, "repeat", 1, "runs of each pair")
	flags.DurationVar(&o.wait, "wait", 25*time.Second, "how long to wait for a direct path")
	flags.BoolVar(&o.json, "json", false, "print JSON")
	flags.BoolVar(&o.strict, "strict", false, "exit with 3 if a pair that must get a direct path did not")
	flags.BoolVar(&o.logs, "logs", false, "print the logs of the sites that got no direct path though they must, to stderr")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() != 1 {
		return o, errors.New("one argument is needed: the path of lightweight-tunnel")
	}
	var err error
	if o.binary, err = filepath.Abs(flags.Arg(0)); err != nil {
		return o, err
	}
	if o.only = kindNames(); only != "" {
		o.only = strings.Split(only, ",")
	}
	for _, part := range o.only {
		for _, name := range strings.SplitN(part, "/", 2) {
			if !slices.Contains(kindNames(), name) {
				return o, fmt.Errorf("-only: there is no kind %q, but %s", name, strings.Join(kindNames(), ", "))
			}
		}
	}
	switch o.transport {
	case "udp", "rawtcp":
	case "both":
		o.transport = "auto"
	default:
		return o, fmt.Errorf("-transport %s: it is udp, rawtcp or both", o.transport)
	}
	if o.repeat < 1 || o.wait <= 0 {
		return o, errors.New("-repeat and -wait are larger than 0")
	}
	return o, nil
}

// run runs all pairs and reports; missed is how many runs got no direct path
// though they must.
func run(ctx context.Context, o options) (missed int, err error) {
	var results []result
	for _, p := range pairs(o.only) {
		for range o.repeat {
			r, err := p.run(ctx, o)
			if err := context.Cause(ctx); err != nil {
				return missed, err
			}
			if err != nil {
				r.Error = err.Error()
			}
			if r.missed() {
				missed++
			}
			results = append(results, r)
			fmt.Fprintln(os.Stderr, r)
		}
	}
	if o.json {
		return missed, json.NewEncoder(os.Stdout).Encode(map[string]any{"results": results})
	}
	fmt.Print(table(results))
	return missed, nil
}
