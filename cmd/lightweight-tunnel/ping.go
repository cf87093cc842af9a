package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/openbmx/lightweight-tunnel/node/control"
)

func pingCommand() *cli.Command {
	return &cli.Command{
		Name: "ping", Usage: "measure round trips over the mesh's own protocol, naming the path each took", ArgsUsage: "PEER",
		Description: `PEER is a name, an address inside the mesh, or the beginning of an id as "node peers --wide" shows it. A line says
so when the path changes, as from a relay to a direct one. Exit code 1 if nothing came back.`,
		UsageText: `lightweight-tunnel node ping office
lightweight-tunnel node ping 10.0.0.9 -c 20`,
		Flags: whichNode(&cli.IntFlag{Name: "count", Aliases: []string{"c"}, Value: 5, Usage: "send `N` pings"}),
		Action: func(c *cli.Context) error {
			peer := c.Args().First()
			if peer == "" {
				return wrongUsage(c.Command.HelpName, "no peer given")
			}
			if err := noMore(c, 1); err != nil {
				return err
			}
			if n := c.Int("count"); n < 1 || n > 100_000 {
				return wrongUsage(c.Command.HelpName, "flag -c: %d: want a whole number from 1 to 100000", n)
			}
			client, err := find(c)
			if err != nil {
				return err
			}
			return ping(c, client, peer, c.Int("count"))
		},
		BashComplete: completePeers,
	}
}

func ping(c *cli.Context, client *control.Client, peer string, count int) error {
	ctx, stop := interruptible(c.Context)
	defer stop()
	var s pingSummary
	err := client.Ping(ctx, peer, count, func(p control.PingReply) { s.add(c.App.Writer, p) })
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("ping %s: %w", peer, err)
	}
	s.print(c.App.Writer)
	if s.back == 0 && s.sent > 0 {
		return fmt.Errorf("ping %s: nothing came back of %d", peer, s.sent)
	}
	return nil
}

// pingSummary counts replies. Its zero value has seen none.
type pingSummary struct {
	sent, back  int
	least, most float64 // milliseconds
	sum         float64
	path        string         // of the newest reply
	paths       map[string]int // replies by kind of path
}

func (s *pingSummary) add(w io.Writer, p control.PingReply) {
	s.sent++
	if p.Lost {
		why := ""
		if p.Reason != "" {
			why = ": " + p.Reason
		}
		fmt.Fprintf(w, "seq=%d lost%s\n", p.Seq, why)
		return
	}
	path := pathText(control.LinkView{State: control.Up, Path: p.Path, Endpoint: p.Endpoint, Via: p.Via})
	if s.path != "" && s.path != path {
		fmt.Fprintf(w, "path changed: %s -> %s\n", s.path, path)
	}
	s.path = path
	fmt.Fprintf(w, "seq=%d rtt=%s %s\n", p.Seq, milliseconds(&p.RTTMs), path)
	if s.back == 0 || p.RTTMs < s.least {
		s.least = p.RTTMs
	}
	s.most = max(s.most, p.RTTMs)
	s.sum += p.RTTMs
	s.back++
	if s.paths == nil {
		s.paths = map[string]int{}
	}
	s.paths[p.Path]++
}

func (s *pingSummary) print(w io.Writer) {
	if s.sent == 0 {
		return
	}
	fmt.Fprintf(w, "%d sent, %d back, %d%% lost", s.sent, s.back, 100*(s.sent-s.back)/s.sent)
	if s.back > 0 {
		average := s.sum / float64(s.back)
		var kinds []string
		for _, k := range slices.Sorted(maps.Keys(s.paths)) {
			kinds = append(kinds, fmt.Sprintf("%s %d", k, s.paths[k]))
		}
		fmt.Fprintf(w, "; rtt min/avg/max %s/%s/%s; %s", milliseconds(&s.least), milliseconds(&average), milliseconds(&s.most), strings.Join(kinds, ", "))
	}
	fmt.Fprintln(w)
}
