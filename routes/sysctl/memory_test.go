package sysctl

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
	mtu     = "net/ipv4/ip_no_pmtu_disc"
	left    = `{"boot":"boot-1","name":"net/ipv4/ip_forward","was":"0","set":"1"}` + "\n"
	more    = `{"boot":"boot-1","name":"net/ipv4/ip_no_pmtu_disc","was":"2","set":"3"}` + "\n"
)

func newHost() *host {
	return &host{values: map[string]string{"kernel/random/boot_id": "boot-1", forward: "1", mtu: "3", "kernel/core_pattern": "1"}}
}

// restore does what a node does with the note of a killed run.
func restore(t *testing.T, note []byte) (h *host, damage []error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "note.json")
	if err := os.WriteFile(path, note, 0o600); err != nil {
		t.Fatal(err)
	}
	h = newHost()
	m, damage := Open(path, h)
	if err := m.Restore(h); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the note is still there")
	}
	return h, damage
}

func TestTheNoteOfAKilledRunIsFollowedOnce(t *testing.T) {
	h, damage := restore(t, []byte(left))
	if damage != nil || h.values[forward] != "0" || len(h.written) != 1 {
		t.Errorf("%v, %v, %v", h.values, h.written, damage)
	}
}

func TestWhatIsNotedIsReadAgain(t *testing.T) {
	h, path := newHost(), filepath.Join(t.TempDir(), "note.json")
	m, _ := Open(path, h)
	for _, name := range []string{forward, mtu} {
		if err := m.Set(h, name, "before", "ours"); err != nil {
			t.Fatal(err)
		}
	}
	again, damage := Open(path, h)
	if damage != nil || !slices.Equal(again.Changed(), []string{forward, mtu}) {
		t.Fatalf("%v, %v", again.Changed(), damage)
	}
	if err := again.Restore(h); err != nil || h.values[forward] != "before" || h.values[mtu] != "before" {
		t.Errorf("%v, %v", h.values, err)
	}
}

func TestADamagedNoteChangesNothing(t *testing.T) {
	for n := range left {
		if h, damage := restore(t, []byte(left[:n])); damage == nil || len(h.written) > 0 {
			t.Errorf("%d of %d bytes: wrote %v, %v", n, len(left), h.written, damage)
		}
	}
	for _, elsewhere := range []string{"kernel/core_pattern", "net/ipv4/../../kernel/core_pattern", "/etc/passwd", "net/ipv4//ip_forward", ""} {
		if h, damage := restore(t, []byte(strings.Replace(left, forward, elsewhere, 1))); damage == nil || len(h.written) > 0 {
			t.Errorf("%q: wrote %v, %v", elsewhere, h.written, damage)
		}
	}
	if h, damage := restore(t, []byte(strings.Replace(left, "boot-1", "boot-0", 1))); damage != nil || len(h.written) > 0 {
		t.Errorf("of an earlier boot: wrote %v, %v", h.written, damage)
	}
}

func TestADamagedEntryIsToldAndSpoilsNoOther(t *testing.T) {
	for _, bad := range []string{
		"", "{", "null", "nonsense", `"was":"0"`,
		`{"boot":"boot-1","name":"kernel/core_pattern","was":"0","set":"1"}`,
		`{"boot":"boot-1","name":"net/ipv4/ip_forward","was":0,"set":"1"}`,
		`{"boot":"boot-1","name":"net/ipv4/ip_forward","set":"1"}`,
		`{"boot":"boot-1","name":"net/ipv4/ip_forward","was":"0"}`,
		`{"name":"net/ipv4/ip_forward","was":"0","set":"1"}`,
		left[:40] + "\x00" + left[41:len(left)-1],
	} {
		for n, note := range []string{bad + "\n" + left + more, left + bad + "\n" + more, left + more + bad + "\n"} {
			h, damage := restore(t, []byte(note))
			if h.values[forward] != "0" || h.values[mtu] != "2" || len(h.written) != 2 {
				t.Errorf("with line %d %q: wrote %v", n+1, bad, h.written)
			}
			if len(damage) != 1 || !strings.Contains(damage[0].Error(), fmt.Sprintf("note.json:%d: ", n+1)) {
				t.Errorf("line %d is %q: %v", n+1, bad, damage)
			}
		}
	}
	// A disk that was full: what stands there whole counts.
	for n := len(left) + 1; n < len(left+more); n++ {
		if h, damage := restore(t, []byte((left + more)[:n])); len(damage) != 1 || h.values[forward] != "0" || h.values[mtu] != "3" {
			t.Errorf("cut after %d bytes: wrote %v, %v", n, h.written, damage)
		}
	}
}

func FuzzNote(f *testing.F) {
	f.Add([]byte(left + more))
	f.Add([]byte(strings.Replace(left, forward, "net/ipv4/../../kernel/core_pattern", 1)))
	f.Add([]byte(`{"boot":"boot-1","changes":[null,{}]}`))
	f.Add([]byte("null\n" + left + "\n{}"))
	f.Fuzz(func(t *testing.T, note []byte) {
		h, _ := restore(t, note)
		for _, name := range h.written {
			if name != forward && name != mtu {
				t.Errorf("wrote %q", name)
			}
		}
	})
}
