// Package logs makes the node's logger: hclog lines on stderr, or entries in
// the systemd journal with every key as a field of its own.
package logs

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
)

// Options say where log lines go and how they look. The zero value logs from
// Info up to stderr, or to the journal when systemd connected stderr to it.
type Options struct {
	Level  string   // trace, debug, info, warn, error, off; empty: info
	Format string   // auto, journal, text, json; empty: auto
	Output *os.File // nil: os.Stderr
	Socket string   // the journal's; empty: /run/systemd/journal/socket
	Getenv func(string) string
}

// New returns the root logger; loggers made from it by Named are named after
// their actor. journal is nil unless lines go to the journal.
func New(o Options) (log hclog.Logger, journal *Journal, err error) {
	if o.Output == nil {
		o.Output = os.Stderr
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Level == "" {
		o.Level = "info"
	}
	level := hclog.LevelFromString(o.Level)
	if level == hclog.NoLevel {
		return nil, nil, fmt.Errorf("log level %q: want trace, debug, info, warn, error or off", o.Level)
	}
	options := &hclog.LoggerOptions{Level: level, Output: o.Output}
	switch o.Format {
	case "", "auto":
		if connectedToJournal(o.Output, o.Getenv("JOURNAL_STREAM")) {
			return journalLogger(o, level)
		}
	case "journal":
		return journalLogger(o, level)
	case "json":
		options.JSONFormat = true
	case "text":
	default:
		return nil, nil, fmt.Errorf("log format %q: want auto, journal, text or json", o.Format)
	}
	return hclog.New(options), nil, nil
}

func journalLogger(o Options, level hclog.Level) (hclog.Logger, *Journal, error) {
	j, err := newJournal(o.Socket, level, o.Output)
	if err != nil {
		return nil, nil, err
	}
	// The intercepting logger is the only one that hands over names and keys
	// unformatted; what it formats itself goes nowhere.
	log := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: level, Output: io.Discard})
	log.RegisterSink(j)
	return log, j, nil
}

// connectedToJournal says whether stream (device:inode, systemd.exec(5)) is
// what f leads to.
func connectedToJournal(f *os.File, stream string) bool {
	device, inode, ok := strings.Cut(stream, ":")
	if !ok {
		return false
	}
	d, derr := strconv.ParseUint(device, 10, 64)
	i, ierr := strconv.ParseUint(inode, 10, 64)
	info, serr := f.Stat()
	if derr != nil || ierr != nil || serr != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && uint64(st.Dev) == d && uint64(st.Ino) == i //nolint:unconvert // narrower on some architectures
}
