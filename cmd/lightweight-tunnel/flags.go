package main

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/openbmx/lightweight-tunnel/node/config"
)

// fieldFlag is the value of a flag that sets a field of the configuration. What
// it means is checked there, together with the file.
type fieldFlag struct {
	values []string
	kind   config.Kind
}

// alreadySet is what the library sets a flag's other names to; the value is shared.
const alreadySet = "\x00"

// Set takes one more value.
func (f *fieldFlag) Set(s string) error {
	if s == alreadySet {
		return nil
	}
	if _, err := strconv.ParseBool(s); f.IsBoolFlag() && err != nil {
		return errors.New("want true or false")
	}
	f.values = append(f.values, s)
	return nil
}

func (f *fieldFlag) String() string    { return strings.Join(f.values, ",") }
func (f *fieldFlag) Serialize() string { return alreadySet }

// IsBoolFlag lets a switch stand without a value.
func (f *fieldFlag) IsBoolFlag() bool { return f.kind == config.Switch }

// nodeFlags are the flags of the named fields, or of all that have one.
func nodeFlags(names ...string) []cli.Flag {
	var all []cli.Flag
	for _, f := range config.Fields() {
		if len(f.Flags) == 0 || len(names) > 0 && !slices.Contains(names, f.Name) {
			continue
		}
		usage := f.Usage
		if f.Value != "" {
			usage += " `" + f.Value + "`"
		}
		all = append(all, &cli.GenericFlag{
			Name: f.Flags[0], Aliases: f.Flags[1:], Category: f.Section,
			Usage: usage, DefaultText: f.Default, Value: &fieldFlag{kind: f.Kind},
		})
	}
	return all
}

// given collects the flags of fields that were on the command line, named as
// they were typed there.
func given(c *cli.Context, args []string) []config.Given {
	var all []config.Given
	for _, f := range config.Fields() {
		if len(f.Flags) == 0 || !c.IsSet(f.Flags[0]) {
			continue
		}
		if v, ok := c.Generic(f.Flags[0]).(*fieldFlag); ok {
			all = append(all, config.Given{Field: f.Name, Flag: typed(f.Flags, args), Values: v.values})
		}
	}
	return all
}

func typed(names, args []string) string {
	for _, a := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if strings.HasPrefix(a, "-") && slices.Contains(names, name) {
			return name
		}
	}
	return names[0]
}

// whichNode are the flags that say which node a command is for.
func whichNode(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.StringFlag{Name: "interface", Aliases: []string{"tun-name"}, Usage: "the node with this TUN device `NAME`", DefaultText: "the only node here"},
		&cli.StringFlag{Name: "state-dir", Usage: "the node that was started with this `DIR`"},
	)
}

// flagsFirst moves the flags of a command in front of its arguments, where the
// library looks for them: people write `ping office -c 3`.
func flagsFirst(app *cli.App, args []string) []string {
	if len(args) == 0 || slices.Contains(args, "--generate-bash-completion") {
		return args
	}
	out, rest := args[:1:1], args[1:]
	commands, flags := app.Commands, app.Flags
	for len(rest) > 0 { // down to the command that is meant
		at := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(rest[0]) })
		if at < 0 {
			break
		}
		out, rest = append(out, rest[0]), rest[1:]
		commands, flags = commands[at].Subcommands, commands[at].Flags
	}
	if len(commands) > 0 {
		return append(out, rest...)
	}
	var words []string
	for len(rest) > 0 {
		a := rest[0]
		rest = rest[1:]
		switch {
		case a == "--":
			words, rest = append(words, rest...), nil
		case len(a) < 2 || a[0] != '-':
			words = append(words, a)
		default:
			out = append(out, a)
			if wantsValue(flags, a) && len(rest) > 0 {
				out, rest = append(out, rest[0]), rest[1:]
			}
		}
	}
	if len(words) == 0 {
		return out
	}
	return append(append(out, "--"), words...)
}

// wantsValue says whether the next argument belongs to flag a.
func wantsValue(flags []cli.Flag, a string) bool {
	name := strings.TrimLeft(a, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range flags {
		if !slices.Contains(f.Names(), name) {
			continue
		}
		if g, ok := f.(*cli.GenericFlag); ok {
			return !g.Value.(*fieldFlag).IsBoolFlag()
		}
		_, isSwitch := f.(*cli.BoolFlag)
		return !isSwitch
	}
	return false
}

// oneOf checks a flag that takes one of a few words.
func oneOf(c *cli.Context, flag string, allowed ...string) error {
	if v := c.String(flag); v != "" && !slices.Contains(allowed, v) {
		return wrongUsage(c.Command.HelpName, "flag --%s: %q: want one of %s", flag, v, strings.Join(allowed, ", "))
	}
	return nil
}
