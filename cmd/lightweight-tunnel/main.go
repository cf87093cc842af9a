// Command lightweight-tunnel is an encrypted mesh VPN over fake TCP. This
// package holds flags, exit codes and output, and no logic.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/openbmx/lightweight-tunnel/node/config"
	"github.com/openbmx/lightweight-tunnel/node/control"
)

// Exit codes, as scripts know them.
const (
	exitDone      = 0
	exitFailed    = 1 // at run time
	exitUsage     = 2 // the command line or the configuration is wrong
	exitUnhealthy = 3 // `node peers` or `doctor` ran and found something
	exitNoNode    = 4 // no node is running here
)

func main() { os.Exit(run(os.Args)) }

// run is main with an exit code.
func run(args []string) int {
	app := newApp()
	err := app.RunContext(context.Background(), flagsFirst(app, args))
	if err == nil {
		return exitDone
	}
	for _, line := range linesOf(err) {
		fmt.Fprintln(os.Stderr, program+": "+line)
	}
	return codeOf(err)
}

// linesOf is one line per error, and each problem of the configuration is one.
func linesOf(err error) []string {
	var problems config.Problems
	switch {
	case errors.Is(err, errUnhealthy):
		return nil
	case errors.As(err, &problems):
		return strings.Split(problems.Error(), "\n")
	}
	return []string{strings.ReplaceAll(err.Error(), "\n", "; ")}
}

func codeOf(err error) int {
	var usage usageError
	var problems config.Problems
	switch {
	case errors.Is(err, errUnhealthy):
		return exitUnhealthy
	case errors.As(err, &usage), errors.As(err, &problems), errors.Is(err, control.ErrSeveral):
		return exitUsage
	case errors.Is(err, control.ErrNoNode):
		return exitNoNode
	}
	return exitFailed
}

// usageError is a command line that cannot be understood.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// wrongUsage makes a usageError that ends with where to read on.
func wrongUsage(command, format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...) + "; see: " + command + " --help"}
}

// quiet is an error that is an exit code and nothing to print.
type quiet struct{}

func (quiet) Error() string { return "" }

// errUnhealthy ends a command that already printed what is wrong.
var errUnhealthy error = quiet{}
