package routes

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// kernelValues are the sysctls of a host that behaves like Linux where it matters: one
// switch for all interfaces, and accept_ra 1 deaf while forwarding.
type kernelValues map[string]string

func (k kernelValues) Get(name string) (string, error) {
	if v, ok := k[name]; ok {
		return v, nil
	}
	return "", fs.ErrNotExist
}

func (k kernelValues) Set(name, value string) error {
	if _, ok := k[name]; !ok {
		return fs.ErrNotExist
	}
	k[name] = value
	for all, family := range map[string]string{forward4: "ipv4", forward6: "ipv6"} {
		if name != all {
			continue
		}
		interfaces, _ := k.Interfaces(family)
		for _, i := range interfaces {
			k["net/"+family+"/conf/"+i+"/forwarding"] = value
		}
	}
	return nil
}

func (k kernelValues) Interfaces(family string) (all []string, err error) {
	for name := range k {
		if rest, ok := strings.CutPrefix(name, "net/"+family+"/conf/"); ok {
			if i, key, _ := strings.Cut(rest, "/"); key == "forwarding" && i != "all" {
				all = append(all, i)
			}
		}
	}
	slices.Sort(all)
	return all, nil
}

func host() kernelValues {
	return kernelValues{
		"kernel/random/boot_id": "boot-1", forward4: "0", forward6: "0",
		"net/ipv4/conf/eth0/forwarding": "0", "net/ipv4/conf/docker0/forwarding": "1",
		"net/ipv6/conf/eth0/forwarding": "0", "net/ipv6/conf/eth0/accept_ra": "1",
		"net/ipv6/conf/eth1/forwarding": "0", "net/ipv6/conf/eth1/accept_ra": "0",
		"net/ipv6/conf/br0/forwarding": "1", "net/ipv6/conf/br0/accept_ra": "1",
	}
}

func forwarder(t *testing.T, k kernelValues, dir string, tune bool) *Forwarding {
	t.Helper()
	f, err := NewForwarding(ForwardingConfig{Sysctls: k, StateDir: dir, Tune: tune})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestForwardingIsSwitchedOnForWhatIsAnnouncedAndPutBack(t *testing.T) {
	k, dir := host(), t.TempDir()
	before := maps.Clone(k)
	f := forwarder(t, k, dir, true)
	if problems := f.Ensure(pfxs("192.168.1.0/24", "2001:db8::/48")); problems != nil {
		t.Fatal(problems)
	}
	if k[forward4] != "1" || k[forward6] != "1" {
		t.Fatalf("%v", k)
	}
	if k["net/ipv6/conf/eth0/accept_ra"] != "2" || k["net/ipv6/conf/eth1/accept_ra"] != "0" {
		t.Fatalf("router adverts: %v", k)
	}
	if err := f.Restore(); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(k, before) {
		t.Fatalf("after Restore %v, before %v", k, before)
	}
	if left, _ := filepath.Glob(dir + "/*"); left != nil {
		t.Fatalf("left behind: %v", left)
	}
}

func TestForwardingTouchesOnlyTheFamilyThatIsAnnounced(t *testing.T) {
	k := host()
	f := forwarder(t, k, t.TempDir(), true)
	f.Ensure(pfxs("192.168.1.0/24"))
	if k[forward4] != "1" || k[forward6] != "0" || k["net/ipv6/conf/eth0/accept_ra"] != "1" {
		t.Fatalf("%v", k)
	}
	f.Ensure(nil)
	if k[forward4] != "0" {
		t.Fatal("not put back when nothing is announced any more")
	}
}

func TestForwardingOfAKilledRunIsPutBackByTheNext(t *testing.T) {
	k, dir := host(), t.TempDir()
	before := maps.Clone(k)
	forwarder(t, k, dir, true).Ensure(pfxs("192.168.1.0/24", "2001:db8::/48")) // and killed
	again := forwarder(t, k, dir, true)
	if problems := again.Ensure(pfxs("192.168.1.0/24", "2001:db8::/48")); problems != nil {
		t.Fatal(problems)
	}
	// killed again; this time nothing is announced
	if problems := forwarder(t, k, dir, true).Ensure(nil); problems != nil || !maps.Equal(k, before) {
		t.Fatalf("%v: %v, before %v", problems, k, before)
	}
}

func TestForwardingThatSomebodyElseChangedIsLeftAlone(t *testing.T) {
	k, dir := host(), t.TempDir()
	k[forward4] = "1"
	f := forwarder(t, k, dir, true)
	f.Ensure(pfxs("192.168.1.0/24"))
	if err := f.Restore(); err != nil || k[forward4] != "1" {
		t.Fatalf("forwarding was on before: %v, %v", k[forward4], err)
	}

	k = host()
	f = forwarder(t, k, dir, true)
	f.Ensure(pfxs("192.168.1.0/24"))
	k["kernel/random/boot_id"] = "boot-2" // killed; the reboot set its own values
	if err := forwarder(t, k, dir, true).Restore(); err != nil || k[forward4] != "1" {
		t.Fatalf("a value of this boot was overwritten: %v, %v", k[forward4], err)
	}
}

func TestForwardingThatMayNotBeChangedIsAProblemWithItsRemedy(t *testing.T) {
	k := host()
	problems := forwarder(t, k, t.TempDir(), false).Ensure(pfxs("192.168.1.0/24", "2001:db8::/48"))
	if len(problems) != 2 || !strings.Contains(problems[0], "`sysctl -w net.ipv4.ip_forward=1`") ||
		!strings.Contains(problems[1], "`sysctl -w net.ipv6.conf.all.forwarding=1`") || k[forward4] != "0" {
		t.Fatalf("%q", problems)
	}
	delete(k, forward4) // as in a container without it
	problems = forwarder(t, k, t.TempDir(), true).Ensure(pfxs("192.168.1.0/24"))
	if len(problems) != 1 || !strings.Contains(problems[0], "cannot be changed from here") {
		t.Fatalf("%q", problems)
	}
}

func TestADamagedNoteOfChangedSysctlsIsHarmless(t *testing.T) {
	for _, note := range []string{
		"", "{", `{"boot":"boot-1","name":"net/ipv4/../../kernel/panic","was":"1","set":"0"}` + "\n",
		`{"boot":"boot-1","name":"kernel/panic","was":"1","set":"0"}` + "\n",
	} {
		dir, k := t.TempDir(), host()
		k["kernel/panic"], k["net/ipv4/../../kernel/panic"] = "0", "0"
		if err := os.WriteFile(filepath.Join(dir, "sysctls.json"), []byte(note), 0o600); err != nil {
			t.Fatal(err)
		}
		f := forwarder(t, k, dir, true)
		if problems := f.Ensure(pfxs("192.168.1.0/24")); problems != nil || k[forward4] != "1" {
			t.Fatalf("%q: %v", note, problems)
		}
		if err := f.Restore(); err != nil || k[forward4] != "0" || k["kernel/panic"] != "0" || k["net/ipv4/../../kernel/panic"] != "0" {
			t.Fatalf("%q: %v, %v", note, err, k)
		}
	}
}
