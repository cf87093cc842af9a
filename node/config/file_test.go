package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryTruncationOfAFileIsAProblem(t *testing.T) {
	whole := base(`"mtu": 1400, "routes": ["10.1.0.0/16"]`)
	for n := range len(whole) {
		if found, _, ps := parse("f", []byte(whole[:n])); len(ps) == 0 {
			t.Fatalf("the first %d bytes were taken: %v", n, found)
		}
	}
	if _, _, ps := parse("f", []byte("\xef\xbb\xbf"+whole)); len(ps) != 0 {
		t.Errorf("with a byte order mark: %v", ps)
	}
}

func TestOversizedFilesAreRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(name, []byte(strings.Repeat(" ", maxFile+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, ps := readFile(name); len(ps) != 1 || !strings.Contains(ps[0].Text, "larger than") {
		t.Errorf("got %v", ps)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(base(`"mtu": 1400, "routes": ["10.1.0.0/16"], "memory": 8388608`)))
	f.Add([]byte(`{"mtu":1e9,"mtu":null,"x":{"y":[1,2]},"routes":["a",null]}`))
	f.Add([]byte("\xef\xbb\xbf{\"accept_routes\":\"all\",\"fec\":\"20+4\",\"listen\":\":1\"}"))
	templates, err := filepath.Glob("../../configs/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range templates {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		found, _, ps := parse("f.json", data)
		if !json.Valid([]byte(strings.TrimPrefix(string(data), "\xef\xbb\xbf"))) && len(ps) == 0 {
			t.Fatal("text that is no JSON was taken")
		}
		for _, p := range ps {
			if !strings.HasPrefix(p.Where, "f.json:") || p.Text == "" {
				t.Fatalf("a problem without place or text: %+v", p)
			}
		}
		cfg := Default()
		if len(cfg.apply(found)) == 0 {
			cfg.validate(found, "f.json")
			NotInEffect(cfg)
		}
		for _, a := range cfg.Addresses {
			if !a.IsValid() {
				t.Fatal("an invalid address was taken")
			}
		}
	})
}

func FuzzFlagValues(f *testing.F) {
	for _, field := range fields {
		for _, v := range []string{"", "0", "true", "10.0.0.1/24", "[::]:9000", "20+4", "40M", "none", "a:1,b:2"} {
			f.Add(field.Name, v)
		}
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		field, ok := fieldNamed(name)
		if !ok {
			return
		}
		cfg := Default()
		if err := field.set(&cfg, []string{value}); err != nil && strings.Contains(err.Error(), "\n") {
			t.Fatalf("an error of more than one line: %q", err)
		}
	})
}
