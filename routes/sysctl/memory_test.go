package sysctl

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// host is one in memory that notes what is written where.
type host struct {
	values  map[string]string
	written []string
}

func (h *host) Get(name string) (string, error) {
	if v, ok := h.values[name]; ok {
		return v, nil
	}
	return "", fs.ErrNotExist
}

func (h *host) Set(name, value string) error {
	h.written = append(h.written, name)
	h.values[name] = value
	return nil
}

func (h *host) Interfaces(string) ([]string, error) { return nil, nil }

const (
	forward = "net/ipv4/ip_forward"
	left    = `{"boot":"boot-1","changes":[{"name":"net/ipv4/ip_forward","was":"0","set":"1"}]}`
)

func newHost() *host {
	return &host{values: map[string]string{"kernel/random/boot_id": "boot-1", forward: "1", "kernel/core_pattern": "1"}}
}

// restore does what a node does with the note of a killed run.
func restore(t *testing.T, note []byte) (*host, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "note.json")
	if err := os.WriteFile(path, note, 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHost()
	m, opened := Open(path, h)
	if err := m.Restore(h); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the note is still there")
	}
	return h, opened
}

func TestTheNoteOfAKilledRunIsFollowedOnce(t *testing.T) {
	h, err := restore(t, []byte(left))
	if err != nil || h.values[forward] != "0" || len(h.written) != 1 {
		t.Errorf("%v, %v, %v", h.values, h.written, err)
	}
}

func TestADamagedNoteChangesNothing(t *testing.T) {
	for n := range left {
		if h, err := restore(t, []byte(left[:n])); err == nil || len(h.written) > 0 {
			t.Errorf("%d of %d bytes: wrote %v, %v", n, len(left), h.written, err)
		}
	}
	for _, elsewhere := range []string{"kernel/core_pattern", "net/ipv4/../../kernel/core_pattern", "/etc/passwd", "net/ipv4//ip_forward", ""} {
		if h, err := restore(t, []byte(strings.Replace(left, forward, elsewhere, 1))); err == nil || len(h.written) > 0 {
			t.Errorf("%q: wrote %v, %v", elsewhere, h.written, err)
		}
	}
	if h, err := restore(t, []byte(strings.Replace(left, "boot-1", "boot-0", 1))); err != nil || len(h.written) > 0 {
		t.Errorf("of an earlier boot: wrote %v, %v", h.written, err)
	}
}

func FuzzNote(f *testing.F) {
	f.Add([]byte(left))
	f.Add([]byte(strings.Replace(left, forward, "net/ipv4/../../kernel/core_pattern", 1)))
	f.Add([]byte(`{"boot":"boot-1","changes":[null,{}]}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, note []byte) {
		h, _ := restore(t, note)
		for _, name := range h.written {
			if name != forward {
				t.Errorf("wrote %q", name)
			}
		}
	})
}
