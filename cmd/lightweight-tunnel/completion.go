package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"
)

// The shells ask the program itself: it knows its commands, flags and peers.
const bashCompletion = `# bash completion for lightweight-tunnel
_lightweight_tunnel() {
	local cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]:0:COMP_CWORD}")
	[[ $cur == -* ]] && words+=("$cur")
	local IFS=$'\n'
	COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur"))
}
complete -o bashdefault -o default -F _lightweight_tunnel lightweight-tunnel
`

const zshCompletion = `#compdef lightweight-tunnel
_lightweight_tunnel() {
	local -a found ask
	ask=("${(@)words[1,CURRENT-1]}")
	[[ ${words[CURRENT]} == -* ]] && ask+=("${words[CURRENT]}")
	found=("${(@f)$("${(@)ask}" --generate-bash-completion 2>/dev/null)}")
	if [[ -n "${found[1]}" ]]; then _describe 'values' found; else _files; fi
}
if [ "${funcstack[1]}" = "_lightweight_tunnel" ]; then _lightweight_tunnel; else compdef _lightweight_tunnel lightweight-tunnel; fi
`

const fishCompletion = `# fish completion for lightweight-tunnel
function __lightweight_tunnel_complete
	set -l words (commandline -opc)
	set -l cur (commandline -ct)
	if string match -q -- '-*' "$cur"
		set words $words $cur
	end
	$words --generate-bash-completion 2>/dev/null | string replace -r ':' \t
end
complete -c lightweight-tunnel -a '(__lightweight_tunnel_complete)'
`

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Hidden: true, Usage: "print the completion script of a shell", ArgsUsage: "bash|zsh|fish",
		UsageText: "lightweight-tunnel completion bash > /usr/share/bash-completion/completions/lightweight-tunnel",
		Action: func(c *cli.Context) error {
			if err := noMore(c, 1); err != nil {
				return err
			}
			script, ok := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[c.Args().First()]
			if !ok {
				return wrongUsage(c.Command.HelpName, "%q: want bash, zsh or fish", c.Args().First())
			}
			_, err := fmt.Fprint(c.App.Writer, script)
			return err
		},
	}
}

// completePeers offers the names of the peers of the node that runs here.
func completePeers(c *cli.Context) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	client, err := find(c)
	if err == nil && c.NArg() == 0 {
		if v, err := client.Peers(ctx); err == nil {
			for _, p := range v.Peers {
				fmt.Fprintln(c.App.Writer, p.Name)
			}
		}
	}
	completeShown(c)
}

// completeShown is the library's completion, which leaves out hidden switches but
// no other hidden flags, without these.
func completeShown(c *cli.Context) {
	shown := *c.Command
	shown.Flags = slices.DeleteFunc(slices.Clone(shown.Flags), hidden)
	cli.DefaultCompleteWithFlags(&shown)(c)
}
