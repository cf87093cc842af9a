package main

import (
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

const program = "lightweight-tunnel"

// newApp returns the tree of commands. Flags keep what they were given, so
// each run needs a tree of its own.
func newApp() *cli.App {
	cli.HelpPrinter = printHelp
	app := &cli.App{
		Name: program, HelpName: program,
		Usage: "encrypted mesh network over what looks like TCP",
		Description: `A server and any number of sites, also behind NAT, become one private network. Traffic
between them is encrypted and travels in what every router takes for an ordinary TCP connection.

Get going: make one key for the whole mesh, start the server, start the sites.

  (umask 077; lightweight-tunnel genkey > key)                           # copy it to every site
  lightweight-tunnel node run --listen 0.0.0.0:9000 --address 10.0.0.1/24 --key-file key
  lightweight-tunnel node run --seed SERVER:9000 --address 10.0.0.2/24 --key-file key
  lightweight-tunnel node peers                                          # who is there, and how
  ping 10.0.0.1

The flags below are the short way to write "node run": -m server -l ... or -m client -r ...`,
		HideVersion: true, HideHelpCommand: true, EnableBashCompletion: true,
		Writer: os.Stdout, ErrWriter: io.Discard, // errors are printed once, by run
		ExitErrHandler: func(*cli.Context, error) {}, // and nobody else ends the process
		Flags: append(nodeFlags(),
			&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "read the configuration from `FILE`; flags override it"},
			&cli.StringFlag{Name: "generate", Aliases: []string{"g"}, Usage: "write `FILE` (server) and FILE.client with a fresh key, and end"},
			&cli.BoolFlag{Name: "check", Usage: "say all that is wrong with flags and file, start nothing"},
			&cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print the version and end"},
		),
		Action: runBare,
		Commands: []*cli.Command{
			{
				Name: "node", Usage: "run a node, or ask and steer the one that runs here",
				Subcommands: []*cli.Command{
					runCommand(), peersCommand(), statusCommand(), routesCommand(), pingCommand(), joinCommand(), leaveCommand(), failCommand(),
				},
				HideHelpCommand: true,
				Action:          needsCommand,
			},
			doctorCommand(), genkeyCommand(), versionCommand(), completionCommand(), manCommand(),
		},
	}
	app.OnUsageError = onUsageError
	var each func([]*cli.Command)
	each = func(commands []*cli.Command) {
		for _, c := range commands {
			c.OnUsageError, c.HideHelpCommand = onUsageError, true
			each(c.Subcommands)
		}
	}
	each(app.Commands)
	return app
}

// needsCommand is what a group does when no command of it was named.
func needsCommand(c *cli.Context) error {
	if unknown := c.Args().First(); unknown != "" {
		return wrongUsage(c.Command.HelpName, "unknown command %q%s", c.Command.Name+" "+unknown, likely(c.Command.Subcommands, unknown))
	}
	return cli.ShowSubcommandHelp(c)
}

// likely names the command that was probably meant.
func likely(commands []*cli.Command, word string) string {
	_, name, ok := strings.Cut(cli.SuggestCommand(commands, word), `"`)
	if !ok {
		return ""
	}
	name, _, _ = strings.Cut(name, `"`)
	return ", did you mean " + name + "?"
}

// onUsageError says in one line what is wrong with the flags.
func onUsageError(c *cli.Context, err error, sub bool) error {
	command, flags := program, c.App.Flags
	if sub {
		command, flags = c.Command.HelpName, c.Command.Flags
	}
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		text = "unknown flag -" + name
		if s := cli.SuggestFlag(flags, strings.TrimLeft(name, "-"), false); s != "" {
			text += ", did you mean " + s + "?"
		}
	}
	text = strings.Replace(text, "Cannot use two forms of the same flag:", "one flag under two names, use one of them:", 1)
	return wrongUsage(command, "%s", text)
}

// noMore refuses arguments behind the n that a command takes.
func noMore(c *cli.Context, n int) error {
	if c.NArg() <= n {
		return nil
	}
	extra := c.Args().Get(n)
	hint := ""
	if extra == "true" || extra == "false" {
		hint = " (a switch takes its value with =, as in --xdp=" + extra + ")"
	}
	command := c.Command.HelpName
	if command == "" {
		command = program
	}
	return wrongUsage(command, "unexpected argument %q%s", extra, hint)
}
