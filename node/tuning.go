package node

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/routes/sysctl"
)

// tuning is what `-kernel-tune` changes on the host besides forwarding (see
// [routes.Forwarding]): only what helps this program. Ceilings of socket buffers
// are not among it: with CAP_NET_ADMIN, without which nothing here works at all,
// a socket may be given more than they say.
type tuning struct {
	values sysctl.Values
	memory *sysctl.Memory
	log    hclog.Logger
}

// setting is one kernel parameter and why it is changed.
type setting struct {
	name string
	bad  string // the value that is changed; every other is as the host wants it
	good string
	why  string
}

var settings = []setting{
	{"net/core/bpf_jit_enable", "0", "1", "the programs that look at every packet run as machine code"},
}

// openTuning reads what an earlier run changed and could not put back.
func openTuning(values sysctl.Values, file string, log hclog.Logger) *tuning {
	memory, damage := sysctl.Open(file, values)
	for _, err := range damage {
		log.Warn("cannot put back a sysctl that an earlier run changed", "reason", err)
	}
	return &tuning{values: values, memory: memory, log: log}
}

// apply makes all settings good that are bad. What cannot be changed stays as it is.
func (t *tuning) apply(settings []setting) {
	for _, s := range settings {
		now, err := t.values.Get(s.name)
		if err != nil || now != s.bad {
			continue
		}
		name := strings.ReplaceAll(s.name, "/", ".")
		switch err := t.memory.Set(t.values, s.name, now, s.good); {
		case err == nil:
			t.log.Info("kernel setting changed, put back at exit", "sysctl", name, "from", now, "to", s.good, "reason", s.why)
		case errors.Is(err, fs.ErrPermission):
			t.log.Debug("kernel setting cannot be changed from here", "sysctl", name, "reason", err)
		default:
			t.log.Warn("kernel setting cannot be changed", "sysctl", name, "reason", err)
		}
	}
}

// close puts everything back that this run, or a killed one, changed.
func (t *tuning) close() error {
	if err := t.memory.Restore(t.values); err != nil {
		return fmt.Errorf("put kernel settings back: %w", err)
	}
	return nil
}
