package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGenerateWritesAServerAndAClientThatFitTogether(t *testing.T) {
	name := filepath.Join(t.TempDir(), "c.json")
	key := NewKey([32]byte{1, 2, 3})
	if err := Generate(name, key); err != nil {
		t.Fatal(err)
	}
	empty := func(string) string { return "" }
	server, warnings, err := Load(Input{File: name, Getenv: empty})
	if err != nil || len(warnings) != 0 || server.Mode != Server || server.Key.Reveal() != key {
		t.Errorf("server: %v, warnings %q, error %v", server.Mode, warnings, err)
	}
	_, _, err = Load(Input{File: name + ".client", Getenv: empty})
	if err == nil || !strings.Contains(err.Error(), ":3: remote_addr: \"SERVER_ADDRESS:9000\": put the name or address of your server") {
		t.Errorf("the client's file must ask for the server's address, got %v", err)
	}
	client, _, err := Load(Input{File: name + ".client", Getenv: empty,
		Flags: []Given{{Field: "name", Flag: "name", Values: []string{"n"}}}})
	if err == nil {
		t.Errorf("taken with a placeholder: %v", client.Seeds)
	}
	for _, n := range []string{name, name + ".client"} {
		if info, err := os.Stat(n); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", n, info.Mode(), err)
		}
	}
}

func TestGenerateOverwritesNothing(t *testing.T) {
	for _, there := range []string{"c.json", "c.json.client"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, there), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := Generate(filepath.Join(dir, "c.json"), "k")
		if err == nil || !strings.Contains(err.Error(), there+" exists already") {
			t.Errorf("%s: got %v", there, err)
		}
		entries, _ := os.ReadDir(dir)
		if len(entries) != 1 {
			t.Errorf("%s: %d files afterwards", there, len(entries))
		}
	}
}

func TestTemplatesAreValidOnceTheKeyIsSet(t *testing.T) {
	templates, err := filepath.Glob("../../configs/*.json")
	if err != nil || len(templates) < 7 {
		t.Fatalf("%d templates, %v", len(templates), err)
	}
	for _, name := range templates {
		_, _, err := Load(Input{File: name, Getenv: func(k string) string {
			return map[string]string{EnvKey: "a long enough key"}[k]
		}})
		if err != nil {
			t.Error(err)
		}
		if _, _, err := Load(Input{File: name, Getenv: func(string) string { return "" }}); err == nil || !strings.Contains(err.Error(), "placeholder") {
			t.Errorf("%s starts with its published key: %v", name, err)
		}
	}
}

func TestOnlyWhatWasAskedForOrIsOnByDefaultIsListedAsNotInEffect(t *testing.T) {
	quiet := []string{goodKey, "seed=a:1", "address=10.0.0.2/24", "fec=off", "p2p=false", "nat-detection=false", "port-map=false", "kernel-tune=false"}
	cfg, _, err := load(t, "", nil, quiet...)
	if err != nil {
		t.Fatal(err)
	}
	if got := NotInEffect(cfg); len(got) != 0 {
		t.Errorf("got %q", got)
	}
	cfg, _, err = load(t, "", nil, append(quiet, "memory=40M", "metrics=127.0.0.1:9100")...)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(NotInEffect(cfg), ";"); !strings.Contains(got, "(metrics)") || strings.Contains(got, "memory") {
		t.Errorf("got %q", got)
	}
	for _, n := range notYet {
		if _, ok := fieldNamed(n.field); !ok {
			t.Errorf("%s is not a field", n.field)
		}
	}
}
