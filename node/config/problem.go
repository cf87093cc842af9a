package config

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with the configuration.
type Problem struct {
	Where string // "file:line", "flag --mtu", "environment", or the file's name
	Field string // name in the file; empty if Where already names the flag
	Text  string // what is wrong and what is allowed
}

func (p Problem) Error() string {
	if p.Field == "" {
		return p.Where + ": " + p.Text
	}
	return p.Where + ": " + p.Field + ": " + p.Text
}

// Problems are all that is wrong, in the order in which it was found. As an
// error it is one line per problem.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

func (ps *Problems) add(where, field, format string, args ...any) {
	*ps = append(*ps, Problem{Where: where, Field: field, Text: fmt.Sprintf(format, args...)})
}

// asError avoids an error interface that holds no problem.
func (ps Problems) asError() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}
