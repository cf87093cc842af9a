package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

func manCommand() *cli.Command {
	return &cli.Command{
		Name: "man", Hidden: true, Usage: "print the manual page",
		UsageText: "lightweight-tunnel man > /usr/local/share/man/man8/lightweight-tunnel.8",
		Action: func(c *cli.Context) error {
			writeManual(c.App.Writer, newApp())
			return nil
		},
	}
}

// writeManual writes the help of all commands as one page of section 8.
func writeManual(w io.Writer, app *cli.App) {
	p := pageOfApp(app)
	fmt.Fprintf(w, ".TH LIGHTWEIGHT\\-TUNNEL 8\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n", roff(p.name), roff(p.usage))
	fmt.Fprintf(w, ".B %s\n[flags] | COMMAND\n.SH DESCRIPTION\n.nf\n%s\n.fi\n.SH COMMANDS\n", roff(p.name), roff(p.text))
	var each func(commands []*cli.Command, above string)
	each = func(commands []*cli.Command, above string) {
		for _, c := range visible(commands) {
			name := above + " " + c.Name
			if len(c.Subcommands) > 0 {
				each(c.Subcommands, name)
				continue
			}
			sub := pageOf(c)
			fmt.Fprintf(w, ".SS %s\n", roff(strings.TrimSpace(name+" "+sub.args)))
			fmt.Fprintf(w, "%s.\n", roff(sub.usage))
			if sub.text != "" {
				fmt.Fprintf(w, ".PP\n%s\n", roff(sub.text))
			}
			if sub.example != "" {
				fmt.Fprintf(w, ".PP\nExample:\n.PP\n.nf\n%s\n.fi\n", roff(indent(sub.example)))
			}
			if c.Name != "run" { // its flags are those of the program, below
				manualFlags(w, sub.flags)
			}
		}
	}
	each(app.Commands, p.name)
	fmt.Fprint(w, ".SH FLAGS OF A NODE\n")
	manualFlags(w, p.flags)
	fmt.Fprint(w, `.SH EXIT STATUS
.TP
0
done
.TP
1
failed at run time
.TP
2
the command line or the configuration is wrong
.TP
3
node peers ran and found something unhealthy
.TP
4
no node is running here
.SH FILES
.TP
/run/lightweight\-tunnel/INTERFACE.sock
control socket of the node with this TUN device
.TP
/var/lib/lightweight\-tunnel/INTERFACE/
its state
`)
}

func manualFlags(w io.Writer, flags []flagText) {
	for _, f := range flags {
		fmt.Fprintf(w, ".TP\n.B %s\n%s\n", roff(f.names), roff(f.usage))
	}
}

// roff escapes text for troff.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
