package node

import (
	"bytes"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// values are the sysctls of a host in memory.
type values map[string]string

func (v values) Get(name string) (string, error) {
	if now, ok := v[name]; ok {
		return now, nil
	}
	return "", fs.ErrNotExist
}

func (v values) Set(name, value string) error {
	if _, ok := v[name]; !ok {
		return fs.ErrNotExist
	}
	if v["frozen"] != "" {
		return fs.ErrPermission
	}
	v[name] = value
	return nil
}

func (v values) Interfaces(string) ([]string, error) { return nil, nil }

const jit = "net/core/bpf_jit_enable"

func slowHost() values { return values{"kernel/random/boot_id": "boot-1", jit: "0"} }

func TestSettingsAreChangedWithTheirReasonAndPutBack(t *testing.T) {
	host, file := slowHost(), filepath.Join(t.TempDir(), "tuned.json")
	before := maps.Clone(host)
	var out bytes.Buffer
	a := openTuning(host, file, hclog.New(&hclog.LoggerOptions{Output: &out}))
	a.apply(settings)
	if host[jit] != "1" || !strings.Contains(out.String(), "net.core.bpf_jit_enable") || !strings.Contains(out.String(), settings[0].why) {
		t.Fatalf("%v, %s", host, out.String())
	}
	if err := a.close(); err != nil || !maps.Equal(host, before) {
		t.Fatalf("%v: %v", err, host)
	}
	if left, _ := filepath.Glob(filepath.Dir(file) + "/*"); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestSettingsOfAKilledRunArePutBackByTheNext(t *testing.T) {
	for _, tune := range []bool{true, false} {
		host, file := slowHost(), filepath.Join(t.TempDir(), "tuned.json")
		openTuning(host, file, hclog.NewNullLogger()).apply(settings) // and killed
		again := openTuning(host, file, hclog.NewNullLogger())
		if tune {
			again.apply(settings)
		}
		if err := again.close(); err != nil || host[jit] != "0" {
			t.Errorf("tune %v: %v, %v", tune, err, host)
		}
	}
}

func TestSettingsThatAreGoodOrFrozenOrOthersStayAsTheyAre(t *testing.T) {
	for name, host := range map[string]values{
		"good":    {jit: "2"},
		"frozen":  {jit: "0", "frozen": "yes"},
		"missing": {},
	} {
		before := maps.Clone(host)
		a := openTuning(host, filepath.Join(t.TempDir(), "tuned.json"), hclog.NewNullLogger())
		a.apply(settings)
		if !maps.Equal(host, before) {
			t.Errorf("%s: %v", name, host)
		}
		if err := a.close(); err != nil || !maps.Equal(host, before) {
			t.Errorf("%s: %v, %v", name, err, host)
		}
	}
	host := slowHost()
	a := openTuning(host, filepath.Join(t.TempDir(), "tuned.json"), hclog.NewNullLogger())
	a.apply(settings)
	host[jit] = "2" // by somebody else
	if err := a.close(); err != nil || host[jit] != "2" {
		t.Errorf("%v, %v", err, host)
	}
}
