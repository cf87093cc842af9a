// Command bench measures a node of this project against wireguard-go and
// against the bare link, side by side in one run, and prints the medians as
// Markdown together with the ratios that the project promises.
//
// The contenders take turns (A, B, C, A, B, C, ...) because a shared machine
// is faster in one minute than in the next. Both ends, iperf3 and the kernel
// between them share this machine's processors: the numbers say how the
// contenders compare, not what a network card would carry.
//
// `bench loss` measures bad lines instead, see package loss; -soak and -junk see
// to it that nothing breaks in the long run and under a flood.
//
// It is a module of its own so that wireguard-go is no dependency of the product.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/bench/loss"
	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// plan is what the flags choose.
type plan struct {
	node       string // path of our binary; empty: leave it out
	only       *regexp.Regexp
	settings   []lab.Offload
	contenders []string
	seconds    int
	repeats    int
	profile    string
	soak, junk time.Duration
	transport  string        // of soak and junk: rawtcp or udp
	rate       int           // packets of junk a second
	rekey      time.Duration // of soak
}

// carrier is the contender that soak and junk are about.
func (p plan) carrier() string {
	if p.transport == "udp" {
		return oursUDP
	}
	return ours
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == wireguardCommand {
		exit(runWireguard(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == loss.Command {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err := loss.Run(ctx, os.Args[2:])
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		exit(err)
	}
	p, check, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	missed, err := p.run(ctx)
	if err == nil && check && missed > 0 {
		err = fmt.Errorf("%d of the required ratios are missed", missed)
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func parse(args []string) (p plan, check bool, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	node := flags.String("node", "bin/lightweight-tunnel", "our binary")
	only := flags.String("only", "", "regular expression: only these cases ("+caseNames()+")")
	setting := flags.String("setting", "", "regular expression: only these settings (veth, gro, none)")
	contenders := flags.String("contenders", "", "regular expression: only these ("+veth+", "+wireguard+", "+ours+", "+oursUDP+")")
	flags.IntVar(&p.seconds, "seconds", 3, "how long each measurement takes")
	flags.IntVar(&p.repeats, "repeats", 3, "how often each is taken; the median counts")
	flags.StringVar(&p.profile, "profile", "", "directory for a `perf record` of our two nodes in each case (build with STRIP= for symbols)")
	flags.DurationVar(&p.soak, "soak", 0, "instead of comparing, load our nodes for so long; watch their memory, that the traffic never stops, and what a change of keys loses")
	flags.DurationVar(&p.rekey, "rekey", 0, "of -soak: our nodes agree on new keys so often, instead of every two minutes")
	flags.DurationVar(&p.junk, "junk", 0, "instead of comparing, flood a seed's port with junk for so long while a site's TCP streams pass")
	flags.IntVar(&p.rate, "rate", 100_000, "of -junk: packets a second")
	flags.StringVar(&p.transport, "transport", "rawtcp", "of -soak and -junk: rawtcp or udp")
	flags.BoolVar(&check, "check", false, "exit 1 when a required ratio is missed")
	if err := flags.Parse(args); err != nil {
		return p, check, err
	}
	if p.seconds < 1 || p.repeats < 1 {
		return p, check, errors.New("-seconds and -repeats are at least 1")
	}
	if p.transport != "rawtcp" && p.transport != "udp" {
		return p, check, fmt.Errorf("-transport: %q: want rawtcp or udp", p.transport)
	}
	if p.rate < 1 || p.rekey < 0 || p.soak < 0 || p.junk < 0 || p.junk > 0 && p.junk < time.Second || p.junk > 0 && p.soak > 0 {
		return p, check, errors.New("-rate is at least 1, -junk at least 1s; -junk and -soak are two runs")
	}
	if p.only, err = regexp.Compile(*only); err != nil {
		return p, check, fmt.Errorf("-only: %w", err)
	}
	settings, err := regexp.Compile(*setting)
	if err != nil {
		return p, check, fmt.Errorf("-setting: %w", err)
	}
	for name, offload := range map[string]lab.Offload{"veth": lab.AsVeth, "gro": lab.ReceiverGRO, "none": lab.NoOffload} {
		if settings.MatchString(name) {
			p.settings = append(p.settings, offload)
		}
	}
	slices.Sort(p.settings)
	some, err := regexp.Compile(*contenders)
	if err != nil {
		return p, check, fmt.Errorf("-contenders: %w", err)
	}
	for _, name := range []string{veth, wireguard, ours, oursUDP} {
		if some.MatchString(name) {
			p.contenders = append(p.contenders, name)
		}
	}
	// The node is started with another working directory in mind than ours.
	p.node, err = filepath.Abs(*node)
	return p, check, err
}

// run measures everything and prints the report. It returns how many of the
// required ratios were missed.
func (p plan) run(ctx context.Context) (missed int, err error) {
	if p.soak > 0 {
		return 0, p.runSoak(ctx)
	}
	if p.junk > 0 {
		return 0, p.runJunk(ctx)
	}
	began := time.Now()
	fmt.Printf("%d s per measurement, medians of %d, contenders taking turns.\n", p.seconds, p.repeats)
	for _, setting := range p.settings {
		results, err := p.measure(ctx, setting)
		if err != nil {
			return missed, err
		}
		missed += report(os.Stdout, setting, results)
	}
	fmt.Printf("\nTook %s.\n", time.Since(began).Round(time.Second))
	return missed, nil
}

// measure runs all cases in one setting.
func (p plan) measure(ctx context.Context, setting lab.Offload) (_ results, err error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	var field []*contender
	for _, name := range p.contenders {
		c, err := p.start(ctx, l, name, setting)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		field = append(field, c)
	}
	r := results{}
	for repeat := range p.repeats {
		for _, kase := range cases {
			if !p.only.MatchString(kase.name) {
				continue
			}
			for _, c := range field {
				stop := p.startProfile(c, setting, kase.name)
				sample, err := kase.measure(ctx, c, p.seconds)
				if err != nil && ctx.Err() == nil {
					fmt.Fprintf(os.Stderr, "bench: %s, %s: %v: once more\n", c.name, kase.name, err)
					sample, err = kase.measure(ctx, c, p.seconds)
				}
				stop()
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w\n%s", c.name, kase.name, err, c.logs())
				}
				fmt.Fprintf(os.Stderr, "%d/%d  %-32s %-12s %-18s %s\n", repeat+1, p.repeats, setting, kase.name, c.name, sample)
				r.add(kase.name, c.name, sample)
			}
		}
	}
	for _, c := range field {
		peak, err := c.peakRSS()
		if err != nil {
			return nil, err
		}
		if peak > 0 {
			r.add(rssCase, c.name, sample{value: peak})
		}
	}
	return r, nil
}
