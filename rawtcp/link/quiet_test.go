package link

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

// lines is a log of which each line can be waited for.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

func TestOfTwoResolversOneTellsThatARouteChanged(t *testing.T) {
	for level, quiet := range map[string]bool{"[INFO]": false, "[DEBUG]": true} {
		t.Run(level, func(t *testing.T) {
			ns, _ := nstest.Pair(t)
			log := make(lines, 64)
			r := newResolver(t, ns, hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: log}))
			defer r.Close()
			if quiet {
				r.Quiet()
			}
			hop, err := r.Lookup(b4)
			if err != nil || !hop.Ready() {
				t.Fatal(err)
			}
			ns.Run("ip link set v0 down")
			r.resolveAll()
			deadline := time.After(patience)
			for {
				select {
				case line := <-log:
					if strings.Contains(line, "underlay route changed") {
						if !strings.Contains(line, level) {
							t.Fatalf("said as %s", line)
						}
						return
					}
				case <-deadline:
					t.Fatal("nobody tells")
				}
			}
		})
	}
}
