package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/openbmx/lightweight-tunnel/node/control"
)

func routesCommand() *cli.Command {
	return &cli.Command{
		Name: "routes", Usage: "show who announces which network, what is installed here, and what was refused",
		Description: `COST is what the way to the announcing node costs: its round trip, counted double through a relay. Of several
nodes that announce one network the cheapest is installed; another takes over when it dies.`,
		UsageText: `lightweight-tunnel node routes
lightweight-tunnel node routes --json | jq '.routes[] | select(.installed | not)'`,
		Flags:  whichNode(jsonFlag()),
		Action: view((*control.Client).Routes, printRoutes),
	}
}

// view is the action of a command that asks the node for one thing and shows it.
func view[V any](ask func(*control.Client, context.Context) (V, error), show func(io.Writer, V)) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := noMore(c, 0); err != nil {
			return err
		}
		client, err := find(c)
		if err != nil {
			return err
		}
		v, err := ask(client, c.Context)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(c.App.Writer, v)
		}
		show(c.App.Writer, v)
		return nil
	}
}

func printRoutes(w io.Writer, v control.RoutesView) {
	t := table{{"PREFIX", "NODE", "INSTALLED", "COST", "WHY"}}
	for _, r := range v.Routes {
		installed := "no"
		if r.Installed {
			installed = "yes"
		}
		cost := float64(time.Duration(r.Metric)*time.Microsecond) / float64(time.Millisecond)
		t = append(t, []string{r.Prefix, r.Node, installed, milliseconds(&cost), dash(r.Why)})
	}
	t.print(w)
	if len(v.Routes) == 0 {
		fmt.Fprintln(w, "(nobody announces a network; a site does with --routes CIDR)")
	}
}
