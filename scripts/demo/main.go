// Command demo runs a real mesh on this machine: a seed with a public address
// and two sites, each behind a NAT router of its own, in network namespaces. It
// shows that every node reaches every other, that what is sent arrives, and
// what `node peers` says, and takes everything away again. It exits non-zero if
// anything of that failed.
//
//	demo PATH-OF-LIGHTWEIGHT-TUNNEL
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// atMost bounds the whole demo.
const atMost = 60 * time.Second

const picture = `
                    seed 203.0.113.1:9000
                            |
        --------- a public network (bridge) ---------
           |                                  |
   router 203.0.113.11                router 203.0.113.12      NAT, nothing new comes in
           |                                  |
    office 192.168.1.2                 home 192.168.1.2        the same private address

   The mesh over it:  seed 10.0.0.1   office 10.0.0.2   home 10.0.0.3   (and fd00:77::1, ::2, ::3)
`

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: demo PATH-OF-LIGHTWEIGHT-TUNNEL")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, atMost, fmt.Errorf("the demo took more than %s", atMost))
	defer cancel()
	began := time.Now()
	if err := demo(ctx, os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "\nFAILED: %v\n", err)
		os.Exit(1)
	}
	fmt.Printf("\nEverything worked, and everything is cleaned up. (%s)\n", time.Since(began).Round(100*time.Millisecond))
}

// member is a node of the demo's mesh.
type member struct {
	name, ipv4, ipv6 string
	host             *lab.Namespace
	clean            lab.Snapshot // of the host, before the node ran on it
	node             *lab.Node
}

func demo(ctx context.Context, binary string) (err error) {
	binary, err = filepath.Abs(binary)
	if err != nil {
		return err
	}
	l, err := lab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()

	say("Laying out a small internet in network namespaces")
	fmt.Print(picture)
	star, err := l.NewStar(ctx, lab.StarConfig{Sites: 2})
	if err != nil {
		return err
	}
	mesh := []*member{
		{name: "seed", ipv4: "10.0.0.1", ipv6: "fd00:77::1", host: star.Server},
		{name: "office", ipv4: "10.0.0.2", ipv6: "fd00:77::2", host: star.Sites[0].Namespace},
		{name: "home", ipv4: "10.0.0.3", ipv6: "fd00:77::3", host: star.Sites[1].Namespace},
	}

	say("Starting a node on each")
	keyFile := filepath.Join(l.Dir(), "key")
	if _, err := star.Server.Shell(ctx, fmt.Sprintf("umask 077; %s genkey >%s", binary, keyFile)); err != nil {
		return err
	}
	for i, m := range mesh {
		args := []string{"--name", m.name, "--address", m.ipv4 + "/24," + m.ipv6 + "/64", "--key-file", keyFile}
		shown := "--address " + m.ipv4 + "/24," + m.ipv6 + "/64 --key-file k"
		if i == 0 {
			args, shown = append(args, "--listen", "0.0.0.0:9000"), "--listen 0.0.0.0:9000 "+shown
		} else {
			args, shown = append(args, "--seed", lab.ServerIPv4+":9000"), "--seed "+lab.ServerIPv4+":9000 "+shown
		}
		fmt.Printf("  %-7s lightweight-tunnel node run %s\n", m.name, shown)
		if m.clean, err = m.host.Snapshot(ctx); err != nil {
			return err
		}
		if m.node, err = m.host.StartNode(lab.NodeConfig{Binary: binary, Args: args}); err != nil {
			return err
		}
	}

	if err := exercise(ctx, mesh); err != nil {
		for _, m := range mesh {
			fmt.Fprintf(os.Stderr, "\n--- what %s said:\n%s", m.name, m.node.Log())
		}
		return err
	}

	say("Stopping the nodes")
	for _, m := range mesh {
		took, err := m.node.Stop(ctx)
		if err != nil {
			return err
		}
		after, err := m.host.Snapshot(ctx)
		if err != nil {
			return err
		}
		if left := m.clean.Diff(after); left != "" {
			return fmt.Errorf("%s did not leave its host as it was:\n%s", m.name, left)
		}
		fmt.Printf("  %-7s gone in %s, its host is as it was\n", m.name, took.Round(time.Millisecond))
	}
	return nil
}

// exercise sends traffic between all members.
func exercise(ctx context.Context, mesh []*member) error {
	say("Every node pings every other")
	for _, from := range mesh {
		for _, to := range mesh {
			if from == to {
				continue
			}
			for _, address := range []string{to.ipv4, to.ipv6} {
				if err := from.host.Reaches(ctx, address); err != nil {
					return err
				}
				report, err := from.host.Ping(ctx, address, 5, 0.05)
				if err != nil {
					return err
				}
				fmt.Printf("  %-7s -> %-7s %-11s %s\n", from.name, to.name, address, lastLine(report))
			}
		}
	}

	office, home := mesh[1], mesh[2]
	say("64 MB by TCP, site to site, through both NAT routers")
	for _, way := range [][2]*member{{office, home}, {home, office}} {
		done, err := lab.Transfer(ctx, way[0].host, way[1].host, way[1].ipv4, 64<<20)
		if err != nil {
			return err
		}
		fmt.Printf("  %-7s -> %-7s %.0f Mbit/s, SHA-256 %x... at both ends\n", way[0].name, way[1].name, done.Mbps(), done.SHA[:6])
	}
	arrived, err := lab.Datagrams(ctx, office.host, home.host, home.ipv6, 1000, 1200)
	if err != nil {
		return err
	}
	if arrived == 0 {
		return errors.New("no UDP datagram arrived")
	}
	fmt.Printf("  %-7s -> %-7s UDP over IPv6: %d of 1000 datagrams arrived, all intact\n", office.name, home.name, arrived)

	say("What the office's node says: lightweight-tunnel node peers")
	if err := office.node.Up(ctx, "home"); err != nil {
		return err
	}
	table, err := office.node.Ask(ctx, "peers")
	if err != nil {
		return err
	}
	fmt.Println(indent(table))
	return nil
}

func say(what string) { fmt.Printf("\n== %s\n", what) }

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}
