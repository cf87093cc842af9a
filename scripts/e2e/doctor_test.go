package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// examined is what `doctor --json` prints, as far as it is read here.
type examined struct {
	Healthy bool
	Checks  []struct{ Name, Verdict, Found, Fix string }
	NAT     struct {
		Kind      string
		Endpoints []string
	}
	code int
	took time.Duration
}

// doctor runs in a namespace.
func doctor(ctx context.Context, n *lab.Namespace, binary string, args ...string) (e examined, err error) {
	began := time.Now()
	out, err := n.Run(ctx, binary, append([]string{"doctor", "--json"}, args...)...)
	e.took = time.Since(began)
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		e.code = ended.ExitCode()
	} else if err != nil {
		return e, err
	}
	return e, json.Unmarshal([]byte(out), &e)
}

// verdict is that of the first check with this name, with what was found.
func (e examined) verdict(name string) (verdict, found string) {
	for _, c := range e.Checks {
		if c.Name == name {
			return c.Verdict, c.Found
		}
	}
	return "", "there is no such check"
}

// The doctor of a site needs no node there, names its NAT by asking the seed
// alone, and leaves the host as it was.
func TestTheDoctorNamesTheNATAndWhatIsWrongWithTheSeed(t *testing.T) {
	binary := plain(t)
	l := lab.ForTest(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	internet, err := l.NewInternet(ctx, lab.InternetConfig{Name: "doctor-"})
	must(t, err)
	public, err := internet.Host(ctx, "seed")
	must(t, err)
	key, wrong := filepath.Join(l.Dir(), "key"), filepath.Join(l.Dir(), "wrong")
	for _, file := range []string{key, wrong} {
		out, err := public.Run(ctx, binary, "genkey")
		must(t, err)
		must(t, os.WriteFile(file, []byte(out), 0o600))
	}
	node, err := public.StartNode(lab.NodeConfig{Binary: binary, Args: []string{
		"--listen", "0.0.0.0:9000", "--address", "10.0.0.1/24", "--name", "seed", "--key-file", key, "--stun", "none"}})
	must(t, err)
	must(t, node.Says(ctx, "node runs"))

	ask := []string{"--stun", "none", "--seed", public.IPv4 + ":9000", "--key-file", key}
	var all sync.WaitGroup
	for _, test := range []struct {
		name   string
		router lab.RouterConfig
		args   []string
		nat    string
		code   int
		checks map[string]string // verdicts
		found  string            // in what is said of the seed
	}{
		{"none", lab.RouterConfig{Kind: lab.NATNone}, ask, "none", 0,
			map[string]string{"seed": "ok", "nat": "ok", "direct paths": "ok", "path mtu": "ok", "tun": "ok", "fake tcp": "ok"}, "UDP"},
		{"strict", lab.RouterConfig{Kind: lab.NATPortRestricted}, ask, "port-restricted", 0,
			map[string]string{"seed": "ok", "nat": "ok", "direct paths": "ok", "port mapping": "warn"}, "UDP"},
		{"random", lab.RouterConfig{Kind: lab.NATRandom}, ask, "symm", 0,
			map[string]string{"seed": "ok", "nat": "ok", "direct paths": "warn"}, "UDP"},
		{"blocked", lab.RouterConfig{Kind: lab.NATPortRestricted, UDP: lab.UDPBlocked}, ask, "", 0,
			map[string]string{"seed": "warn", "nat": "warn"}, "not over UDP"},
		{"stranger", lab.RouterConfig{Kind: lab.NATPortRestricted}, append(ask[:5:5], wrong), "", 3,
			map[string]string{"seed": "fail"}, "no node of the mesh answers to this key"},
		{"nobody", lab.RouterConfig{Kind: lab.NATPortRestricted}, []string{"--stun", "none", "--seed", public.IPv4 + ":9001", "--key-file", key}, "", 3,
			map[string]string{"seed": "fail"}, "connection refused"},
	} {
		router, err := internet.Router(ctx, test.name+"-router", test.router)
		must(t, err)
		home, err := router.Host(ctx, test.name)
		must(t, err)
		all.Go(func() {
			before, err := home.Snapshot(ctx)
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
				return
			}
			e, err := doctor(ctx, home.Namespace, binary, append(test.args[:len(test.args):len(test.args)], "--listen", "0.0.0.0:9000")...)
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
				return
			}
			if e.NAT.Kind != test.nat || e.code != test.code || e.Healthy != (test.code == 0) {
				t.Errorf("%s: NAT %q, exit code %d, healthy %v; want %q, %d\n%+v", test.name, e.NAT.Kind, e.code, e.Healthy, test.nat, test.code, e.Checks)
			}
			for name, want := range test.checks {
				if verdict, found := e.verdict(name); verdict != want {
					t.Errorf("%s: %s is %s, want %s: %s", test.name, name, verdict, want, found)
				}
			}
			if _, found := e.verdict("seed"); !strings.Contains(found, test.found) {
				t.Errorf("%s: of the seed it says %q, want %q", test.name, found, test.found)
			}
			after, err := home.Snapshot(ctx)
			if changed := before.Diff(after); err != nil || changed != "" {
				t.Errorf("%s: it changed the host (%v):\n%s", test.name, err, changed)
			}
			t.Logf("%s: NAT %q in %v", test.name, e.NAT.Kind, e.took)
		})
	}
	all.Wait()
}
