package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/openbmx/lightweight-tunnel/node/config"
	"github.com/openbmx/lightweight-tunnel/node/logs"
	"github.com/openbmx/lightweight-tunnel/node/sdnotify"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "run a node in the foreground",
		Description: `A node with --listen and without --seed is the first seed ("server"). A node with --seed joins the mesh
through it; it may listen as well. Any node of the mesh can be a seed for the next one.

The key is the same on all nodes. It is taken from the first of: --key or --key-file, the environment
variable LIGHTWEIGHT_TUNNEL_KEY, the systemd credential "key", the file given by -c.

It stops on SIGTERM and SIGINT and takes back what it changed on this host; a second signal ends it at once.`,
		UsageText: `(umask 077; lightweight-tunnel genkey > key)
lightweight-tunnel node run --listen 0.0.0.0:9000 --address 10.0.0.1/24 --key-file key     # the server
lightweight-tunnel node run --seed SERVER:9000 --address 10.0.0.2/24 --key-file key        # a site
lightweight-tunnel node run -c /etc/lightweight-tunnel/config.json --check                 # only look at the configuration`,
		Flags: append(nodeFlags(),
			&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "read the configuration from `FILE`; flags override it"},
			&cli.BoolFlag{Name: "check", Usage: "say all that is wrong with flags and file, start nothing"},
			// For measurements of a change of keys under load.
			&cli.DurationFlag{Name: "rekey-after", Hidden: true, Usage: "agree on new keys so often, instead of every two minutes"},
		),
		BashComplete: completeShown,
		Action: func(c *cli.Context) error {
			if err := noMore(c, 0); err != nil {
				return err
			}
			return runFrom(c, false)
		},
	}
}

// runBare is the predecessor's command line, and -g and -v.
func runBare(c *cli.Context) error {
	if c.NumFlags() == 0 && c.NArg() == 0 {
		return wrongUsage(program, "nothing to do: run a node with `lightweight-tunnel node run`, look at it with `lightweight-tunnel node peers`")
	}
	if unknown := c.Args().First(); unknown != "" && c.NumFlags() == 0 {
		return wrongUsage(program, "unknown command %q%s", unknown, likely(c.App.Commands, unknown))
	}
	if err := noMore(c, 0); err != nil {
		return err
	}
	switch {
	case c.Bool("version"):
		return printVersion(c.App.Writer)
	case c.IsSet("generate"):
		return generate(c.App.Writer, c.String("generate"))
	}
	return runFrom(c, true)
}

// runFrom makes the configuration and runs a node with it.
func runFrom(c *cli.Context, bare bool) error {
	if c.IsSet("config") && c.String("config") == "" {
		return wrongUsage(program, "flag --config: is empty: give the name of a file")
	}
	cfg, warnings, err := config.Load(config.Input{File: c.String("config"), Flags: given(c, os.Args[1:]), Bare: bare})
	if err != nil {
		return err
	}
	if c.Bool("check") {
		for _, w := range warnings {
			fmt.Fprintln(os.Stderr, program+": warning: "+w)
		}
		printChecked(c, cfg)
		return nil
	}
	log, _, err := logs.New(logs.Options{Level: cfg.LogLevel, Format: cfg.LogFormat})
	if err != nil {
		return err
	}
	for _, w := range warnings {
		log.Warn(w)
	}
	cfg.Version, cfg.Rekey = versionText(), c.Duration("rekey-after")
	ctx, stop := stopOnSignal(c.Context)
	defer stop()
	return startNode(ctx, cfg, log)
}

func printChecked(c *cli.Context, cfg config.Config) {
	fmt.Fprintf(c.App.Writer, "configuration is good: %s %s", cfg.Mode, cfg.Name)
	for _, a := range cfg.Addresses {
		fmt.Fprintf(c.App.Writer, ", %s", a)
	}
	fmt.Fprintf(c.App.Writer, ", key from %s\n", cfg.KeySource)
	for _, n := range config.NotInEffect(cfg) {
		fmt.Fprintf(c.App.Writer, "not in effect yet: %s\n", n)
	}
}

// stopOnSignal returns a context that ends with the first SIGTERM or SIGINT,
// naming it as the cause. The second ends the process: somebody does not want
// to wait.
func stopOnSignal(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			sdnotify.FromEnv(os.Getenv).Stopping()
			cancel(fmt.Errorf("signal: %s", s))
		case <-ctx.Done():
		}
		<-signals
		os.Exit(exitFailed)
	}()
	return ctx, func() { cancel(nil) }
}
