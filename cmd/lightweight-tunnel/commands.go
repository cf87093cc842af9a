package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/openbmx/lightweight-tunnel/node/config"
	"github.com/openbmx/lightweight-tunnel/node/control"
)

// find returns the node that the flags mean.
func find(c *cli.Context) (*control.Client, error) {
	return control.Find(control.Where{StateDir: c.String("state-dir"), Interface: c.String("interface")})
}

// printJSON prints a view for scripts.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print one JSON object, for scripts"}
}

func joinCommand() *cli.Command {
	return &cli.Command{
		Name: "join", Usage: "make the node that runs here join through one more seed, at once", ArgsUsage: "HOST:PORT",
		Description: "The seed is used for as long as the node runs; put it into the configuration to keep it.",
		UsageText:   "lightweight-tunnel node join backup.example.org:9000",
		Flags:       whichNode(),
		Action: func(c *cli.Context) error {
			seed := c.Args().First()
			if seed == "" {
				return wrongUsage(c.Command.HelpName, "no seed given: want HOST:PORT")
			}
			if err := noMore(c, 1); err != nil {
				return err
			}
			if !strings.Contains(seed, ":") {
				return wrongUsage(c.Command.HelpName, "%q is not HOST:PORT, and join tokens are not supported by this version", brief(seed))
			}
			if host, port, err := net.SplitHostPort(seed); err != nil || host == "" || port == "" {
				return wrongUsage(c.Command.HelpName, "%q: want HOST:PORT, such as vpn.example.org:9000 or [2001:db8::1]:9000", brief(seed))
			}
			client, err := find(c)
			if err != nil {
				return err
			}
			if err := client.Join(c.Context, seed); err != nil {
				return err
			}
			fmt.Fprintf(c.App.Writer, "joining through %s; see: lightweight-tunnel node peers\n", seed)
			return nil
		},
	}
}

// brief keeps a mistyped token out of logs and scrollback.
func brief(s string) string {
	if len(s) > 24 {
		return s[:24] + "..."
	}
	return s
}

func leaveCommand() *cli.Command {
	return &cli.Command{
		Name: "leave", Usage: "tell the mesh goodbye and stop the node that runs here",
		Description: "The others see the node as left, not as dead, and take its routes away at once.",
		UsageText:   "lightweight-tunnel node leave",
		Flags:       whichNode(),
		Action: func(c *cli.Context) error {
			if err := noMore(c, 0); err != nil {
				return err
			}
			client, err := find(c)
			if err != nil {
				return err
			}
			if err := client.Leave(c.Context); err != nil {
				return err
			}
			fmt.Fprintln(c.App.Writer, "left the mesh; the node stops")
			return nil
		},
	}
}

// failCommand is for tests of healing.
func failCommand() *cli.Command {
	return &cli.Command{
		Name: "fail", Hidden: true, Usage: "make one actor of the node panic, to see it heal", ArgsUsage: "ACTOR",
		UsageText: "lightweight-tunnel node fail routes",
		Flags:     whichNode(),
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return wrongUsage(c.Command.HelpName, "want the name of one actor")
			}
			client, err := find(c)
			if err != nil {
				return err
			}
			return client.Fail(c.Context, c.Args().First())
		},
	}
}

func genkeyCommand() *cli.Command {
	return &cli.Command{
		Name: "genkey", Usage: "print a fresh mesh key: 32 random bytes, base64",
		UsageText: "(umask 077; lightweight-tunnel genkey > /etc/lightweight-tunnel/key)",
		Action: func(c *cli.Context) error {
			if err := noMore(c, 0); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.App.Writer, freshKey())
			return err
		},
	}
}

func freshKey() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	return config.NewKey(random)
}

func generate(w io.Writer, name string) error {
	if name == "" {
		return wrongUsage(program, "flag --generate: is empty: give the name of the file to write")
	}
	if err := config.Generate(name, freshKey()); err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	fmt.Fprintf(w, `wrote %[1]s for the server and %[1]s.client for a site, with the same fresh key
server: lightweight-tunnel -c %[1]s
site:   put the server's address into %[1]s.client, copy it there, then lightweight-tunnel -c %[1]s.client
        every further site needs an address of its own in the field tunnel_addr
`, name)
	return nil
}
