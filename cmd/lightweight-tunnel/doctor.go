package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/openbmx/lightweight-tunnel/node/config"
	"github.com/openbmx/lightweight-tunnel/node/doctor"
	"github.com/openbmx/lightweight-tunnel/peerlink/keys"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "check this host and its way to the mesh; needs no running node",
		Description: `Looks at kernel, capabilities, TUN, fake TCP, offloads, clock, ports, what killed nodes left, the seeds and the path to
them, the kind of NAT, and whether the router opens ports. Each line is OK, WARN (a node works, but worse than it could)
or FAIL (it does not), with what to do. It changes nothing on this host, opens no port at the router, and takes up
to 10 seconds. Exit code 3 if something fails. Run it as root, as the node is run.

With a seed and the mesh key it asks the seed as a node would. Without them, public STUN servers are asked about the
NAT, unless --stun none is given.`,
		UsageText: `lightweight-tunnel doctor
lightweight-tunnel doctor --seed SERVER:9000 --key-file key
lightweight-tunnel doctor -c /etc/lightweight-tunnel/config.json --json | jq '.checks[] | select(.verdict != "ok")'`,
		Flags: append(nodeFlags("listen", "seeds", "key", "key_file", "stun"),
			&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "take seeds, key and ports from the configuration in `FILE`; flags override it"},
			jsonFlag(),
		),
		Action: func(c *cli.Context) error {
			if err := noMore(c, 0); err != nil {
				return err
			}
			if c.IsSet("config") && c.String("config") == "" {
				return wrongUsage(c.Command.HelpName, "flag --config: is empty: give the name of a file")
			}
			cfg, warnings, err := config.Read(config.Input{File: c.String("config"), Flags: given(c, os.Args[1:])})
			if err != nil {
				return err
			}
			for _, w := range warnings {
				fmt.Fprintln(os.Stderr, program+": warning: "+w)
			}
			return examine(c, cfg)
		},
	}
}

// examine looks at the host for a node with this configuration.
func examine(c *cli.Context, cfg config.Config) error {
	look := doctor.Config{Listen: cfg.Listen, Seeds: cfg.Seeds, STUN: cfg.STUN}
	if len(look.STUN) == 0 && !cfg.STUNOff {
		look.STUN = nat.DefaultPublic()
	}
	if !cfg.Key.IsZero() {
		meshKey, err := keys.ParseMeshKey(cfg.Key.Reveal())
		if err != nil {
			return usageError{err.Error()}
		}
		secret := meshKey.Derive(keys.Links)
		look.MeshKey = &secret
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	report := doctor.Run(ctx, look)
	if c.Bool("json") {
		if err := printJSON(c.App.Writer, report); err != nil {
			return err
		}
	} else {
		printReport(c.App.Writer, report)
	}
	if !report.Healthy {
		return errUnhealthy
	}
	return nil
}

func printReport(w io.Writer, r doctor.Report) {
	count := map[doctor.Verdict]int{}
	for _, check := range r.Checks {
		count[check.Verdict]++
		fmt.Fprintf(w, "%-4s  %-13s %s\n", strings.ToUpper(string(check.Verdict)), check.Name, check.Found)
		if check.Fix != "" {
			fmt.Fprintf(w, "%21sfix: %s\n", "", check.Fix)
		}
	}
	fmt.Fprintf(w, "\n%d checks: %d OK, %d WARN, %d FAIL\n", len(r.Checks), count[doctor.OK], count[doctor.Warn], count[doctor.Fail])
}
