package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/node/config"
	"github.com/openbmx/lightweight-tunnel/node/control"
	"github.com/openbmx/lightweight-tunnel/rawtcp/guard"
	"github.com/openbmx/lightweight-tunnel/routes/sysctl"
)

// leftovers are what killed nodes left on this host.
type leftovers struct {
	rules    []guard.Leftover
	sysctls  []string // that were changed and not put back, with the files that remember them
	sockets  []string // files at which nobody answers
	err      error    // of looking for rules
	unproven bool     // without rights not everything can be seen
}

func findLeftovers(ctx context.Context, cfg Config) (l leftovers) {
	l.unproven = !findRights().has(unix.CAP_NET_ADMIN)
	found := make(chan leftovers, 1)
	go func() { // iptables may wait for another one
		var part leftovers
		part.rules, part.err = guard.Leftovers()
		found <- part
	}()
	if cfg.RunDir == "" {
		cfg.RunDir = control.RunDir
	}
	if cfg.StateDir == "" {
		cfg.StateDir = config.StateRoot
	}
	sockets, _ := filepath.Glob(filepath.Join(cfg.RunDir, "*.sock")) // fails for bad patterns only
	for _, s := range sockets {
		if dead(s) {
			l.sockets = append(l.sockets, s)
		}
	}
	memories, _ := filepath.Glob(filepath.Join(cfg.StateDir, "*", "*.json"))
	for _, m := range memories {
		base, device := filepath.Base(m), filepath.Base(filepath.Dir(m))
		if base != "tuned.json" && base != "sysctls.json" {
			continue
		}
		socket := filepath.Join(cfg.RunDir, device+".sock")
		if _, err := os.Stat(socket); err == nil && !dead(socket) {
			continue // its node runs
		}
		memory, damage := sysctl.Open(m, sysctl.Host{})
		for _, name := range memory.Changed() {
			l.sysctls = append(l.sysctls, strings.ReplaceAll(name, "/", ".")+" ("+m+")")
		}
		for _, err := range damage {
			l.sysctls = append(l.sysctls, "that cannot be read ("+err.Error()+")")
		}
	}
	select {
	case part := <-found:
		l.rules, l.err = part.rules, part.err
	case <-ctx.Done():
		l.err = fmt.Errorf("looking for them took too long: %w", ctx.Err())
	}
	return l
}

// dead says whether nobody listens at a socket that is there.
func dead(path string) bool {
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
}

func (l leftovers) judge() Check {
	c := Check{Name: "leftovers", Verdict: OK, Found: "no rules, settings or sockets of killed nodes"}
	var what, fixes []string
	for _, r := range l.rules {
		what = append(what, r.What)
		fixes = append(fixes, "`"+r.Remove+"`")
	}
	for _, s := range l.sysctls {
		what = append(what, "changed sysctl "+s)
	}
	for _, s := range l.sockets {
		what = append(what, "socket "+s)
		fixes = append(fixes, "`rm "+s+"`")
	}
	switch {
	case len(what) > 0:
		c.Verdict, c.Found = Warn, "a killed node left: "+strings.Join(what, ", ")
		c.Fix = "the next start of that node clears up"
		if len(fixes) > 0 {
			c.Fix += "; by hand: " + strings.Join(slices.Compact(fixes), ", ")
		}
	case l.err != nil:
		c.Verdict, c.Found, c.Fix = Warn, fmt.Sprintf("cannot be looked for: %v", l.err), "run `lightweight-tunnel doctor` as root"
	case l.unproven:
		c.Verdict, c.Found, c.Fix = Warn, "only root sees them all; none are seen", "run `lightweight-tunnel doctor` as root"
	}
	return c
}
