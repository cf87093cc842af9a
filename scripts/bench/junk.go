package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

const (
	// junkAtLeast is the share of the wanted rate that must have been made for the
	// result to count.
	junkAtLeast = 0.95
	// calm is how many seconds of the same transfer are measured before, to compare.
	calm = 5
	// seedPort is where the seed listens.
	seedPort = 9000
)

// runJunk floods a seed's port with junk from spoofed addresses, and in the name
// of its site, while the site's TCP streams run through both. It fails when
// that costs a connection: of the streams or of the nodes.
func (p plan) runJunk(ctx context.Context) (err error) {
	l, err := lab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	star, err := l.NewStar(ctx, lab.StarConfig{Sites: 1})
	if err != nil {
		return err
	}
	attacker, err := star.Attach(ctx, "attacker", 66)
	if err != nil {
		return err
	}
	// Whoever sent a SYN is answered, wherever they are: without a way back the
	// seed would have less to do.
	if _, err := star.Server.Run(ctx, "ip", "route", "add", "default", "via", "203.0.113.66"); err != nil {
		return err
	}
	site := star.Sites[0]
	c := &contender{name: p.carrier(), pair: &lab.Pair{Left: site.Namespace, Right: star.Server}}
	if err := c.startNodes(l, p.node, p.transport, lab.ServerIPv4); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, c.logs())
		}
	}()
	reached, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := site.Reaches(reached, c.target); err != nil {
		return err
	}
	protocol := "tcp"
	if p.transport == "udp" {
		protocol = "udp"
	}
	port, err := site.MappedPort(ctx, protocol, seedPort)
	if err != nil {
		return err
	}
	load := tcp("-P", "4")
	before, err := load(ctx, c, calm)
	if err != nil {
		return fmt.Errorf("before the flood: %w", err)
	}
	drops, err := c.drops(ctx)
	if err != nil {
		return err
	}
	f, err := startFlood(attacker, junkPackets(p.transport, site.PublicIPv4, port), p.rate)
	if err != nil {
		return err
	}
	meanwhile, err := load(ctx, c, int(p.junk.Seconds()))
	sent, took, floodErr := f.stop()
	if err = errors.Join(err, floodErr); err != nil {
		return fmt.Errorf("%d packets of junk were sent in %s: %w", sent, took.Round(time.Millisecond), err)
	}
	after, err := c.drops(ctx)
	if err != nil {
		return err
	}
	rate := float64(sent) / took.Seconds()
	fmt.Printf("Junk at the seed's port (%s) while 4 TCP streams pass from a site behind NAT, %s.\n\n", c.name, took.Round(time.Second))
	fmt.Printf("| | |\n|---|---:|\n| junk sent (packets) | %d |\n| junk sent (packets/s) | %.0f |\n", sent, rate)
	fmt.Printf("| TCP before (Mbit/s) | %.0f |\n| TCP meanwhile (Mbit/s) | %.0f |\n| seconds without a byte | %d |\n", before.value, meanwhile.value, meanwhile.idle)
	peak, err := c.peakRSS()
	if err != nil {
		return err
	}
	fmt.Printf("| peak RSS (MB) | %.1f |\n", peak)
	printDrops(drops, after)
	if rate < junkAtLeast*float64(p.rate) {
		return fmt.Errorf("%.0f packets of junk a second were made, %d were wanted: this machine is too slow or too busy for it", rate, p.rate)
	}
	if err := c.intact(ctx); err != nil {
		return err
	}
	fmt.Println("\nNo connection was lost.")
	return nil
}

// intact says what has become of the two nodes' connection, if it was lost meanwhile or is
// down, and of actors that failed.
func (c *contender) intact(ctx context.Context) (err error) {
	for i, node := range c.nodes {
		if n := strings.Count(node.Log(), "link is down"); n > 0 {
			err = errors.Join(err, fmt.Errorf("the link of the %s node went down %d times", sides[i], n))
		}
		if upErr := node.Up(ctx, sides[1-i]); upErr != nil {
			err = errors.Join(err, upErr)
			continue
		}
		status, askErr := node.Status(ctx)
		err = errors.Join(err, askErr)
		status.Walk(func(path string, a lab.Actor) {
			if a.Restarts > 0 {
				err = errors.Join(err, fmt.Errorf("%s of the %s node was restarted %d times: %s", path, sides[i], a.Restarts, a.LastError))
			}
		})
	}
	return err
}
