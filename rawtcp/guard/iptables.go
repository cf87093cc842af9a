package guard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/google/nftables"
)

// iptables drops by the programs iptables and ip6tables: in the raw table, before
// connection tracking, or in the filter table where there is no raw one. Each
// owner has a chain of its own.
type iptables struct {
	chain    string
	exclude  []string
	families []iptablesFamily
}

// iptablesFamily is one of the two programs, with the table that works.
type iptablesFamily struct {
	program string
	place   iptablesPlace
}

// iptablesPlace is a built-in chain and what of it concerns this host alone.
type iptablesPlace struct {
	table, hook string
	match       []string
}

var iptablesPlaces = []iptablesPlace{
	{"raw", "PREROUTING", []string{"-p", "tcp", "-m", "addrtype", "--dst-type", "LOCAL"}},
	{"filter", "INPUT", []string{"-p", "tcp"}},
}

const chainPrefix = "LWT-"

func newIPTables(owner string, exclude []string) (*iptables, error) {
	t := &iptables{chain: chainPrefix + owner, exclude: exclude}
	var reasons []error
	for _, program := range []string{"iptables", "ip6tables"} {
		for _, place := range iptablesPlaces {
			f := iptablesFamily{program, place}
			if err := t.install(f); err != nil {
				reasons = append(reasons, err)
				continue
			}
			t.families = append(t.families, f)
			break
		}
		if len(t.families) == 0 { // without IPv4 there is no point
			return nil, errors.Join(reasons...)
		}
	}
	return t, nil
}

func (t *iptables) name() string { return "iptables" }

func (t *iptables) install(f iptablesFamily) error {
	if err := t.fill(f, nil); err != nil {
		return err
	}
	jump := append([]string{"-t", f.place.table, "-I", f.place.hook, "1"}, f.place.match...)
	if _, err := run("", f.program, append(jump, "-j", t.chain)...); err != nil {
		return errors.Join(err, t.remove(f))
	}
	return nil
}

// fill replaces the content of the chain at once.
func (t *iptables) fill(f iptablesFamily, ports []uint16) error {
	var b strings.Builder
	fmt.Fprintf(&b, "*%s\n:%s - [0:0]\n", f.place.table, t.chain)
	for _, name := range t.exclude {
		fmt.Fprintf(&b, "-A %s -i %s -j RETURN\n", t.chain, name)
	}
	for _, port := range ports {
		fmt.Fprintf(&b, "-A %s -p tcp --dport %d -j DROP\n", t.chain, port)
	}
	b.WriteString("COMMIT\n")
	_, err := run(b.String(), f.program+"-restore", "--noflush")
	return err
}

func (t *iptables) attach(int, string) error { return nil }

func (t *iptables) detach(int) {}

func (t *iptables) local([]localPrefix) error { return nil }

func (t *iptables) set(ports []uint16) error {
	var errs []error
	for _, f := range t.families {
		errs = append(errs, t.fill(f, ports))
	}
	return errors.Join(errs...)
}

func (t *iptables) remove(f iptablesFamily) error { return removeChain(f.program, f.place, t.chain) }

func (t *iptables) close() error {
	var errs []error
	for _, f := range t.families {
		errs = append(errs, t.remove(f))
	}
	return errors.Join(errs...)
}

func removeChain(program string, place iptablesPlace, chain string) error {
	jump := append([]string{"-t", place.table, "-D", place.hook}, place.match...)
	jump = append(jump, "-j", chain)
	for { // a killed process may have left it half done, or twice
		if _, err := run("", program, jump...); err != nil {
			break
		}
	}
	_, err := run("", program, "-t", place.table, "-F", chain)
	if err != nil {
		return err
	}
	_, err = run("", program, "-t", place.table, "-X", chain)
	return err
}

// removeDeadChains removes the chains of owners that are gone.
func removeDeadChains(dead func(owner string) bool) error {
	var errs []error
	for _, c := range deadChains(dead) {
		errs = append(errs, removeChain(c.program, c.place, c.chain))
	}
	return errors.Join(errs...)
}

// deadChain is the chain of an owner that is gone.
type deadChain struct {
	program string
	place   iptablesPlace
	chain   string
}

func deadChains(dead func(owner string) bool) (all []deadChain) {
	if !mayHaveChains() {
		return nil
	}
	for _, program := range []string{"iptables", "ip6tables"} {
		if _, err := exec.LookPath(program); err != nil {
			continue
		}
		for _, place := range iptablesPlaces {
			rules, err := run("", program, "-t", place.table, "-S")
			if err != nil {
				continue // no such table, hence none of our chains
			}
			for line := range strings.Lines(rules) {
				chain, ok := strings.CutPrefix(strings.TrimSpace(line), "-N ")
				if owner, ours := strings.CutPrefix(chain, chainPrefix); ok && ours && dead(owner) {
					all = append(all, deadChain{program, place, chain})
				}
			}
		}
	}
	return all
}

// mayHaveChains says whether there is anything to look for. It spares starting
// the programs, which alone would make some kernels load the tables.
func mayHaveChains() bool {
	for _, file := range []string{"/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names"} {
		if names, err := os.ReadFile(file); err == nil && len(names) > 0 {
			return true
		}
	}
	conn, err := nftables.New()
	if err != nil {
		return false
	}
	chains, err := conn.ListChains()
	if err != nil {
		return false
	}
	for _, c := range chains {
		if strings.HasPrefix(c.Name, chainPrefix) {
			return true
		}
	}
	return false
}

// patience is how long one program may wait for the lock of another.
const patience = 10 * time.Second

func run(stdin, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"-w"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		reason, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return "", fmt.Errorf("%s: %w: %s", program, err, reason)
	}
	return string(out), nil
}
