package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// difference compares what users can configure.
func difference(want, got Config) string {
	return cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{}), cmpopts.IgnoreFields(Config{}, "KeySource"),
		cmp.Comparer(func(a, b Secret) bool { return a == b }), cmpopts.EquateComparable(netip.Prefix{}, netip.AddrPort{}))
}

func TestTheFirstKeySourceWins(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	flagFile := write("flag", "from the key file\n", 0o600)
	write("key", "from the credential\n", 0o400)
	fileKey := `"key": "from the config file"`
	fileKeyFile := `"key_file": "` + write("infile", "from the file's file", 0o600) + `"`
	env := map[string]string{EnvKey: "from the environment", "CREDENTIALS_DIRECTORY": dir}
	credential := map[string]string{"CREDENTIALS_DIRECTORY": dir}
	for _, tt := range []struct {
		file  string
		env   map[string]string
		flags []string
		want  string
	}{
		{fileKey, env, []string{"key=from the flag"}, "from the flag"},
		{fileKey, env, []string{"key-file=" + flagFile}, "from the key file"},
		{fileKey, env, nil, "from the environment"},
		{fileKey, credential, nil, "from the credential"},
		{fileKey, map[string]string{"CREDENTIALS_DIRECTORY": dir + "/none"}, nil, "from the config file"},
		{fileKeyFile, nil, nil, "from the file's file"},
	} {
		cfg, _, err := load(t, `{"seeds": "a:1", "addresses": "10.0.0.2/24", `+tt.file+`}`, tt.env, tt.flags...)
		if err != nil || cfg.Key.Reveal() != tt.want {
			t.Errorf("want the key %s, got %q from %s, error %v", tt.want, cfg.Key.Reveal(), cfg.KeySource, err)
		}
	}
	_, _, err := load(t, `{"seeds": "a:1", "addresses": "10.0.0.2/24", `+fileKey+`, `+fileKeyFile+`}`, nil)
	if err == nil || err.Error() != "f.json:1: key_file: there is a key at f.json:1 already; give only one of the two" {
		t.Errorf("key and key_file: got %v", err)
	}
}

func TestKeyFilesThatOthersCanReadWarn(t *testing.T) {
	name := filepath.Join(t.TempDir(), "k")
	if err := os.WriteFile(name, []byte("a long enough key"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := load(t, "", nil, "seed=a:1", "address=10.0.0.2/24", "key-file="+name)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "chmod 600 "+name) {
		t.Errorf("warnings %q, error %v", warnings, err)
	}
	file := filepath.Join(t.TempDir(), "c.json")
	if err := os.WriteFile(file, []byte(base(`"mtu": 1400`)), 0o644); err != nil {
		t.Fatal(err)
	}
	_, warnings, err = Load(Input{File: file, Getenv: func(string) string { return "" }})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "chmod 600 "+file) {
		t.Errorf("warnings %q, error %v", warnings, err)
	}
}

func TestUnusableKeyFilesAreProblems(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"":             "the file is empty",
		"one\ntwo\n":   "want one line of text",
		"does not say": "",
	} {
		name := filepath.Join(dir, "k")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := load(t, "", nil, "seed=a:1", "address=10.0.0.2/24", "key-file="+name)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	_, _, err := load(t, "", nil, "seed=a:1", "address=10.0.0.2/24", "key-file=/nonexistent/k")
	if err == nil || err.Error() != "flag --key-file: /nonexistent/k: cannot open it: no such file or directory" {
		t.Errorf("got %v", err)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	c := Default()
	c.Key = NewSecret("hunter2hunter2")
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if s := fmt.Sprintf(format, c) + fmt.Sprintf(format, c.Key); strings.Contains(s, "hunter2") {
			t.Errorf("%s prints the key: %s", format, s)
		}
	}
}
