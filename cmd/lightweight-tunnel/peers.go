package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/node/control"
)

const (
	sampleTime = 500 * time.Millisecond // over which one table measures rates
	watchTime  = 2 * time.Second        // between two tables of --watch
)

func peersCommand() *cli.Command {
	return &cli.Command{
		Name: "peers", Usage: "show who is in the mesh, and the truth of each link",
		Description: `STATE is what the mesh says of a node: alive, suspect (silent for a moment), dead, left (said goodbye).
PATH is how this node reaches it now; "-" until there is traffic for it. FEC 20+4x6 is 4 packets of repair for 20,
in groups of which 6 are filled in turn. RX/s and TX/s are bits per second, SEEN is how long ago it was heard.
Exit code 3 if something needs a look: a node suspect or dead, a link that cannot be made; 0 if all is well.`,
		UsageText: `lightweight-tunnel node peers
lightweight-tunnel node peers --watch --state alive
lightweight-tunnel node peers --json | jq -r '.peers[] | select(.link.path == "relay") | .name'`,
		Flags: whichNode(jsonFlag(),
			&cli.BoolFlag{Name: "wide", Usage: "more columns"},
			&cli.BoolFlag{Name: "watch", Usage: "again every 2 seconds, until interrupted"},
			&cli.StringFlag{Name: "state", Usage: "only nodes in this state `alive|suspect|dead|left`"},
			&cli.StringFlag{Name: "name", Usage: "only nodes whose name this regular expression `RE` matches"},
		),
		Action: peers,
	}
}

func peers(c *cli.Context) error {
	if err := noMore(c, 0); err != nil {
		return err
	}
	if err := oneOf(c, "state", control.Alive, control.Suspect, control.Dead, control.Left); err != nil {
		return err
	}
	name, err := regexp.Compile(c.String("name"))
	if err != nil {
		return wrongUsage(c.Command.HelpName, "flag --name: %v", err)
	}
	if c.Bool("json") && c.Bool("watch") {
		return wrongUsage(c.Command.HelpName, "flag --watch contradicts --json")
	}
	client, err := find(c)
	if err != nil {
		return err
	}
	fetch := func(ctx context.Context) (control.PeersView, error) {
		v, err := client.Peers(ctx)
		v.Peers = only(v.Peers, c.String("state"), name)
		return v, err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	before, err := fetch(ctx)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		if err := printJSON(c.App.Writer, before); err != nil {
			return err
		}
		return verdict(before)
	}
	began, pause := time.Now(), sampleTime
	for first := true; ; first = false {
		if !first {
			pause = watchTime
		}
		if len(before.Peers) == 0 && !c.Bool("watch") {
			pause = 0
		}
		if !wait(ctx, pause) {
			return nil
		}
		now, err := fetch(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if c.Bool("watch") && isTerminal(c.App.Writer) {
			fmt.Fprint(c.App.Writer, "\x1b[H\x1b[2J")
		}
		printPeers(c.App.Writer, now, ratesOf(before, now, time.Since(began)), c.Bool("wide"))
		if !c.Bool("watch") {
			return verdict(now)
		}
		before, began = now, time.Now()
	}
}

func only(all []control.PeerView, state string, name *regexp.Regexp) []control.PeerView {
	some := []control.PeerView{}
	for _, p := range all {
		if (state == "" || p.State == state) && name.MatchString(p.Name) {
			some = append(some, p)
		}
	}
	return some
}

// verdict is what scripts see of the peers' health.
func verdict(v control.PeersView) error {
	for _, p := range v.Peers {
		if !p.Healthy() {
			return errUnhealthy
		}
	}
	return nil
}

// rate is bits per second, received and sent.
type rate struct{ rx, tx float64 }

// ratesOf compares two views taken some time apart, by node id.
func ratesOf(before, now control.PeersView, apart time.Duration) map[string]rate {
	old := map[string]control.LinkView{}
	for _, p := range before.Peers {
		old[p.ID] = p.Link
	}
	rates := map[string]rate{}
	for _, p := range now.Peers {
		was, known := old[p.ID]
		if !known || apart <= 0 || p.Link.RxBytes < was.RxBytes || p.Link.TxBytes < was.TxBytes {
			continue // a link that was made anew counts from zero
		}
		rates[p.ID] = rate{
			rx: 8 * float64(p.Link.RxBytes-was.RxBytes) / apart.Seconds(),
			tx: 8 * float64(p.Link.TxBytes-was.TxBytes) / apart.Seconds(),
		}
	}
	return rates
}

// printPeers prints the table.
func printPeers(w io.Writer, v control.PeersView, rates map[string]rate, wide bool) {
	t := table{{"NODE", "ADDRESS", "STATE", "PATH", "RTT", "LOSS", "FEC", "RX/s", "TX/s", "NAT", "SEEN", "WHY NOT DIRECT"}}
	if wide {
		t[0] = append(t[0][:11:11], "ID", "VERSION", "MTU", "RESIDUAL", "RX", "TX", "KEY AGE", "ROUTES", "WHY NOT DIRECT")
	}
	for _, p := range v.Peers {
		l := p.Link
		why := l.WhyNotDirect
		if l.Error != "" {
			why = l.Error
		}
		row := []string{
			p.Name, addresses(p.Addresses, wide), p.State, pathText(l), milliseconds(l.RTTMs), percent(l.LossPct), fecText(l),
			si(rates[p.ID].rx), si(rates[p.ID].tx), dash(p.NAT), span(p.LastSeenS),
		}
		if wide {
			age := "-"
			if l.HandshakeAgeS != nil {
				age = span(*l.HandshakeAgeS)
			}
			row = append(row, short(p.ID), dash(p.Version), positive(l.MTU), percent(l.ResidualLossPct),
				si(float64(l.RxBytes)), si(float64(l.TxBytes)), age, list(p.Routes))
		}
		t = append(t, append(row, dash(why)))
	}
	t.print(w)
	if len(v.Peers) == 0 {
		fmt.Fprintln(w, "(no other node)")
	}
}

func pathText(l control.LinkView) string {
	switch {
	case l.State == control.Connecting && l.Path == "":
		return "connecting"
	case l.State == control.Down || l.Path == "":
		return "-"
	case l.Via != "":
		return l.Path + " via " + l.Via
	}
	return l.Path + " " + l.Endpoint
}

func fecText(l control.LinkView) string {
	if l.FECData == 0 {
		return "off"
	}
	code := fmt.Sprintf("%d+%d", l.FECData, l.FECParity)
	if l.FECDepth > 1 {
		code += fmt.Sprintf("x%d", l.FECDepth) // so many groups are filled in turn
	}
	return code
}

// wait pauses; false if ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(interface{ Fd() uintptr })
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
