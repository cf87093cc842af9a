package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/openbmx/lightweight-tunnel/node/control"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show the health of the node that runs here, and its actors",
		Description: `A few lines of health, then the tree of actors: state, restarts, messages waiting in the mailbox of its
capacity, and messages dropped because it was full.`,
		UsageText: `lightweight-tunnel node status
lightweight-tunnel node status --json | jq .drops`,
		Flags:  whichNode(jsonFlag()),
		Action: view((*control.Client).Status, printStatus),
	}
}

func printStatus(w io.Writer, v control.StatusView) {
	line := func(what, format string, args ...any) {
		fmt.Fprintf(w, "%-10s %s\n", what, fmt.Sprintf(format, args...))
	}
	more := func(all []string) {
		for _, s := range all {
			line("", "- %s", s)
		}
	}
	line("node", "%s (%s), version %s, up %s", v.Self.Name, short(v.Self.ID), v.Self.Version, span(v.Self.UptimeS))
	line("interface", "%s, MTU %d, %s", v.Self.Interface, v.Self.MTU, list(v.Self.Addresses))
	line("listen", "%s", list(v.Listen))
	if len(v.UDP) > 0 {
		line("udp", "%s", list(v.UDP))
		line("nat", "%s", dash(v.NAT.Description))
		if v.NAT.PortMapped != "" {
			line("", "the router forwards %s", v.NAT.PortMapped)
		}
		more(v.NAT.Problems)
	}
	switch {
	case v.Healthy && len(v.Problems) == 0:
		line("health", "good")
	case v.Healthy:
		line("health", "good, with remarks:")
	default:
		line("health", "BAD:")
	}
	more(v.Problems)
	m := v.Mesh
	line("mesh", "%d alive, %d suspect, %d dead, %d left; links: %d up of %d, %d relayed; routes: %d installed of %d",
		m.Alive, m.Suspect, m.Dead, m.Left, m.LinksUp, m.LinksAll, m.LinksVia, m.RoutesIn, m.RoutesAll)
	line("guard", "%s", dash(v.Guard))
	line("send", "%s", dash(v.Send))
	line("receive", "%s", dash(v.Receive))
	line("kernel", "%s", dash(v.Kernel))
	line("memory", "%.1f MB", float64(v.MemoryBytes)/1e6)
	var drops []string
	for _, reason := range slices.Sorted(maps.Keys(v.Drops)) {
		if n := v.Drops[reason]; n > 0 {
			drops = append(drops, reason+" "+strconv.FormatUint(n, 10))
		}
	}
	if len(drops) == 0 {
		drops = []string{"none"}
	}
	line("drops", "%s", strings.Join(drops, ", "))
	if len(v.NotInEffect) > 0 {
		line("not yet", "asked for, or on by default, and not in effect in this version:")
		more(v.NotInEffect)
	}
	fmt.Fprintln(w)
	t := table{{"ACTOR", "STATE", "RESTARTS", "MAILBOX", "DROPPED", "LAST ERROR"}}
	for _, a := range v.Actors {
		t = addActor(t, a, "", "")
	}
	t.print(w)
}

// addActor adds a and what is below it, drawn as a tree.
func addActor(t table, a control.ActorView, branch, below string) table {
	box := "-"
	if a.MailboxCapacity > 0 {
		box = fmt.Sprintf("%d/%d", a.MailboxDepth, a.MailboxCapacity)
	}
	t = append(t, []string{branch + a.Name, a.State, strconv.FormatUint(a.Restarts, 10), box,
		strconv.FormatUint(a.Dropped, 10), dash(strings.ReplaceAll(a.LastError, "\n", " "))})
	for i, child := range a.Children {
		if i < len(a.Children)-1 {
			t = addActor(t, child, below+"|- ", below+"|  ")
		} else {
			t = addActor(t, child, below+"'- ", below+"   ")
		}
	}
	return t
}
