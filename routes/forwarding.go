package routes

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/routes/sysctl"
)

// Forwarding sees to it that this host forwards packets while it announces
// networks behind it: without, hosts of other sites get no answer from them. It
// is for one goroutine. Create it with [NewForwarding].
type Forwarding struct {
	sysctls sysctl.Values
	tune    bool
	log     hclog.Logger
	memory  *sysctl.Memory
	told    map[string]bool // what the log says already
}

// ForwardingConfig is what a Forwarding needs.
type ForwardingConfig struct {
	Sysctls  sysctl.Values // nil: those of this host, in the namespace of the calling thread
	StateDir string        // where what was changed is remembered over a kill -9
	Tune     bool          // may change sysctls (-kernel-tune)
	Log      hclog.Logger
}

// NewForwarding reads what an earlier run of this node changed and could not
// put back.
func NewForwarding(cfg ForwardingConfig) (*Forwarding, error) {
	if cfg.Sysctls == nil {
		cfg.Sysctls = sysctl.Host{}
	}
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	if cfg.StateDir == "" {
		return nil, errors.New("forwarding: no state directory")
	}
	memory, damage := sysctl.Open(filepath.Join(cfg.StateDir, "sysctls.json"), cfg.Sysctls)
	for _, err := range damage { // it must not keep the node from running
		cfg.Log.Warn("cannot put back a sysctl that an earlier run changed", "reason", err)
	}
	return &Forwarding{sysctls: cfg.Sysctls, tune: cfg.Tune, log: cfg.Log, memory: memory, told: map[string]bool{}}, nil
}

const (
	forward4 = "net/ipv4/ip_forward"
	forward6 = "net/ipv6/conf/all/forwarding"
)

// Ensure makes the host forward for the families of the prefixes that it
// announces, and puts back what is not needed any more. It returns what
// keeps a network behind this node from being reached, each as a sentence with
// its remedy.
func (f *Forwarding) Ensure(announced []netip.Prefix) (problems []string) {
	wanted := map[string]bool{}
	for _, p := range announced {
		if p.Addr().Is4() {
			wanted[forward4] = true
		} else {
			wanted[forward6] = true
		}
	}
	if len(wanted) == 0 {
		if err := f.Restore(); err != nil {
			f.log.Warn("cannot put sysctls back", "reason", err)
		}
		return nil
	}
	for _, name := range []string{forward4, forward6} {
		if !wanted[name] {
			continue
		}
		if problem := f.enable(name); problem != "" {
			problems = append(problems, problem)
			if !f.told[problem] {
				f.log.Warn("networks behind this node cannot be reached", "reason", problem)
			}
			f.told[problem] = true
		}
	}
	return problems
}

// enable switches one family on. The words that it returns are for the user.
func (f *Forwarding) enable(name string) string {
	now, err := f.sysctls.Get(name)
	if err == nil && now != "0" {
		return ""
	}
	command := "sysctl -w " + strings.ReplaceAll(name, "/", ".") + "=1"
	if !f.tune {
		return fmt.Sprintf("this host does not forward packets; run `%s` or leave -kernel-tune on", command)
	}
	if err == nil {
		err = f.keepInterfaces(name)
	}
	if err == nil {
		err = f.memory.Set(f.sysctls, name, now, "1")
	}
	if err != nil {
		return fmt.Sprintf("this host does not forward packets and that cannot be changed from here (%v); run `%s` on the host", err, command)
	}
	f.log.Info("forwarding switched on for the networks behind this node; put back at exit", "sysctl", strings.ReplaceAll(name, "/", "."))
	return ""
}

// keepInterfaces saves what the kernel changes on single interfaces when
// forwarding is switched on and later off again. Those that forwarded by
// themselves must do so afterwards. And those that live by router adverts
// must go on listening to them: a host that forwards IPv6 otherwise
// stops, and loses its address and default route (accept_ra 1 means: unless
// forwarding).
func (f *Forwarding) keepInterfaces(name string) error {
	family := "ipv4"
	if name == forward6 {
		family = "ipv6"
	}
	interfaces, err := f.sysctls.Interfaces(family)
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range interfaces {
		dir := "net/" + family + "/conf/" + i
		forwards, err := f.sysctls.Get(dir + "/forwarding")
		if err != nil {
			continue // gone in the meantime
		}
		if forwards != "0" {
			if err := f.memory.Add(sysctl.Change{Name: dir + "/forwarding", Was: forwards, Set: "0"}); err != nil {
				return err
			}
			continue
		}
		if now, err := f.sysctls.Get(dir + "/accept_ra"); err != nil || now != "1" {
			continue
		}
		if err := f.memory.Set(f.sysctls, dir+"/accept_ra", "1", "2"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Restore puts back every value that this node, or a killed run of it, changed,
// unless somebody changed it since. The last change goes back first: forwarding,
// then what had to be adjusted to it.
func (f *Forwarding) Restore() error { return f.memory.Restore(f.sysctls) }
