package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

// page is the help of one command, for the terminal and for the manual.
type page struct {
	name, usage, text, example string
	args                       string
	commands                   []*cli.Command
	flags                      []flagText
}

// flagText is one flag as it is shown.
type flagText struct {
	section, names, usage string
}

// printHelp replaces the library's templates.
func printHelp(w io.Writer, _ string, data any) {
	switch d := data.(type) {
	case *cli.App:
		pageOfApp(d).print(w)
	case *cli.Command:
		if d.Name == program { // the library's view of the whole program
			pageOfApp(newApp()).print(w)
			return
		}
		pageOf(d).print(w)
	}
}

func pageOfApp(a *cli.App) page {
	return page{name: program, usage: a.Usage, text: a.Description, args: "[flags] | COMMAND", commands: visible(a.Commands), flags: textOf(a.Flags)}
}

func pageOf(c *cli.Command) page {
	p := page{name: c.HelpName, usage: c.Usage, text: c.Description, example: c.UsageText, args: c.ArgsUsage,
		commands: visible(c.Subcommands), flags: textOf(c.Flags)}
	if len(p.commands) > 0 {
		p.args = "COMMAND"
	}
	return p
}

func visible(all []*cli.Command) (shown []*cli.Command) {
	for _, c := range all {
		if !c.Hidden {
			shown = append(shown, c)
		}
	}
	return shown
}

func hidden(f cli.Flag) bool {
	v, ok := f.(cli.VisibleFlag)
	return ok && !v.IsVisible()
}

// textOf describes flags, short names first.
func textOf(flags []cli.Flag) (all []flagText) {
	for _, f := range flags {
		names := f.Names()
		if names[0] == "help" || hidden(f) {
			continue
		}
		d, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		var short, long []string
		for _, n := range names {
			if len(n) == 1 {
				short = append(short, "-"+n)
			} else {
				long = append(long, "--"+n)
			}
		}
		usage, value := d.GetUsage(), ""
		if before, rest, ok := strings.Cut(usage, "`"); ok {
			v, after, _ := strings.Cut(rest, "`")
			value = " " + v
			if usage = before + v + after; after == "" {
				usage = strings.TrimSpace(before) // the placeholder stood behind the text only to be found
			}
		}
		if g, ok := f.(*cli.GenericFlag); ok && g.Value.(*fieldFlag).IsBoolFlag() && g.DefaultText == "true" {
			value = "[=false]"
		}
		if def := d.GetDefaultText(); def != "" && def != "false" && def != `""` {
			usage += " (default " + def + ")"
		}
		text := flagText{names: strings.Join(append(short, long...), ", ") + value, usage: usage}
		if c, ok := f.(cli.CategorizableFlag); ok {
			text.section = c.GetCategory()
		}
		all = append(all, text)
	}
	return all
}

func (p page) print(w io.Writer) {
	usage := p.name
	if len(p.flags) > 0 && p.args != "[flags] | COMMAND" {
		usage += " [flags]"
	}
	fmt.Fprintf(w, "%s - %s\n\nUsage: %s\n", p.name, p.usage, strings.TrimSpace(usage+" "+p.args))
	if p.text != "" {
		fmt.Fprintf(w, "\n%s\n", p.text)
	}
	if p.example != "" {
		fmt.Fprintf(w, "\nExample:\n%s\n", indent(p.example))
	}
	if len(p.commands) > 0 {
		fmt.Fprintln(w, "\nCommands:")
		for _, c := range p.commands {
			fmt.Fprintf(w, "  %-11s %s\n", c.Name, c.Usage)
		}
		fmt.Fprintf(w, "\nMore on one: %s COMMAND --help\n", p.name)
	}
	for i, f := range p.flags {
		if i == 0 || f.section != p.flags[i-1].section {
			heading := f.section
			if heading == "" {
				heading = "Flags"
			}
			fmt.Fprintf(w, "\n%s:\n", heading)
		}
		if len(f.names) > 30 {
			fmt.Fprintf(w, "  %s\n  %-30s %s\n", f.names, "", f.usage)
		} else {
			fmt.Fprintf(w, "  %-30s %s\n", f.names, f.usage)
		}
	}
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ")
}
