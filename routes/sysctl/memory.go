// Package sysctl changes kernel parameters so that they can be put back: at a
// clean stop, and after a kill -9 at the next start.
package sysctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Change is one value that we changed.
type Change struct {
	Name string `json:"name"`
	Was  string `json:"was"`
	Set  string `json:"set"`
}

// Memory is a small file that outlives the process. What was changed before the
// last boot does not count: booting sets all values anew. It is for one goroutine.
type Memory struct {
	path string
	note note
}

type note struct {
	Boot    string   `json:"boot"`
	Changes []Change `json:"changes"`
}

// Open reads the memory in the file path, which need not exist. It returns a
// usable, empty memory beside an error.
func Open(path string, values Values) (*Memory, error) {
	boot, _ := values.Get("kernel/random/boot_id")
	m := &Memory{path: path, note: note{Boot: boot}}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	var old note
	if err := json.Unmarshal(b, &old); err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	if old.Boot == boot {
		for _, c := range old.Changes {
			if err := c.check(); err != nil {
				return m, fmt.Errorf("%s: %w", path, err)
			}
		}
		m.note = old
	}
	return m, nil
}

// check keeps a damaged file from making us write anywhere else.
func (c Change) check() error {
	if filepath.Clean(c.Name) != c.Name || !slices.ContainsFunc([]string{"net/ipv4/", "net/ipv6/", "net/core/"},
		func(dir string) bool { return strings.HasPrefix(c.Name, dir) }) {
		return fmt.Errorf("%q is not a sysctl that we change", c.Name)
	}
	return nil
}

// Add remembers c. The oldest value of a name is the one to go back to.
func (m *Memory) Add(c Change) error {
	if slices.ContainsFunc(m.note.Changes, func(have Change) bool { return have.Name == c.Name }) {
		return nil
	}
	m.note.Changes = append(m.note.Changes, c)
	b, err := json.Marshal(m.note)
	if err == nil {
		err = writeFile(m.path, b)
	}
	if err != nil {
		m.note.Changes = m.note.Changes[:len(m.note.Changes)-1]
		return fmt.Errorf("remember the value of %s: %w", c.Name, err)
	}
	return nil
}

// Set remembers before it changes, so that a kill in between is harmless.
func (m *Memory) Set(values Values, name, was, value string) error {
	if err := m.Add(Change{Name: name, Was: was, Set: value}); err != nil {
		return err
	}
	if err := values.Set(name, value); err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// Restore puts back every value that this node, or a killed run of it, changed,
// unless somebody changed it since, the last change first, and forgets them.
func (m *Memory) Restore(values Values) error {
	var failed error
	for _, c := range slices.Backward(m.note.Changes) {
		now, err := values.Get(c.Name)
		if err == nil && now == c.Set {
			err = values.Set(c.Name, c.Was)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // an interface may be gone
			failed = errors.Join(failed, fmt.Errorf("put %s back to %s: %w", c.Name, c.Was, err))
		}
	}
	return errors.Join(failed, m.clear())
}

func (m *Memory) clear() error {
	m.note.Changes = nil
	if err := os.Remove(m.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget changed sysctls: %w", err)
	}
	return nil
}

// writeFile replaces the file as a whole, or not at all.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Changed are the names of the values that were changed since the last boot and
// not put back, the oldest first.
func (m *Memory) Changed() (names []string) {
	for _, c := range m.note.Changes {
		names = append(names, c.Name)
	}
	return names
}
