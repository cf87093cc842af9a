package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// Set by the Makefile.
var (
	version = "dev"
	commit  = ""
)

func versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print version, commit, Go version and the kernel features found",
		UsageText: "lightweight-tunnel version",
		Action: func(c *cli.Context) error {
			if err := noMore(c, 0); err != nil {
				return err
			}
			return printVersion(c.App.Writer)
		},
	}
}

// versionText is what other nodes see.
func versionText() string { return version }

func printVersion(w io.Writer) error {
	if info, ok := debug.ReadBuildInfo(); ok && commit == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value[:min(len(s.Value), 12)]
			}
		}
	}
	if commit == "" {
		commit = "unknown"
	}
	_, err := fmt.Fprintf(w, "%s %s\ncommit  %s\ngo      %s %s/%s\nkernel  %s\n",
		program, version, commit, strings.TrimPrefix(runtime.Version(), "go"), runtime.GOOS, runtime.GOARCH, kernel())
	return err
}

// kernel names the release and which of the things that make us fast it has.
func kernel() string {
	var u unix.Utsname
	release := "unknown"
	if unix.Uname(&u) == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	found := []string{has("tun", exists("/dev/net/tun")), has("btf", exists("/sys/kernel/btf/vmlinux"))}
	switch err := features.HaveProgramType(ebpf.SchedCLS); {
	case err == nil:
		found = append(found, "tc-bpf yes")
	case errors.Is(err, ebpf.ErrNotSupported):
		found = append(found, "tc-bpf no")
	default:
		found = append(found, "tc-bpf unknown (only root may look)")
	}
	return release + ": " + strings.Join(found, ", ")
}

func has(what string, there bool) string {
	if there {
		return what + " yes"
	}
	return what + " no"
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
