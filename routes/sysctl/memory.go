// Package sysctl changes kernel parameters so that they can be put back: at a
// clean stop, and after a kill -9 at the next start.
package sysctl

import (
	"bytes"
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

// Memory is a small file that outlives the process: a line for each change, so
// that one that is damaged spoils no other. What was changed before the last boot
// does not count: booting sets all values anew. It is for one goroutine.
type Memory struct {
	path    string
	boot    string
	changes []Change
}

// line is a change as the file has it, in JSON.
type line struct {
	Boot string `json:"boot"`
	Change
}

// Open reads the memory in the file path, which need not exist. What cannot be
// read of it is said, each with its place and what to do; the rest counts.
func Open(path string, values Values) (m *Memory, damage []error) {
	boot, _ := values.Get("kernel/random/boot_id")
	m = &Memory{path: path, boot: boot}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m, nil
	case err != nil:
		return m, []error{err}
	case len(b) == 0: // it holds a change, or is not there
		return m, []error{fmt.Errorf("%s is empty: see with `sysctl net` whether all is as it should be", path)}
	}
	n := 0
	for text := range bytes.Lines(b) {
		n++
		l, err := parseLine(text)
		if err == nil && l.Boot == "" && boot != "" {
			err = errors.New("it does not say of which boot it is")
		}
		switch {
		case err != nil:
			damage = append(damage, fmt.Errorf("%s:%d: %w: see with `sysctl` whether the one that it names is as it should be: %.200q", path, n, err, text))
		case l.Boot == boot:
			m.changes = append(m.changes, l.Change)
		}
	}
	return m, damage
}

func parseLine(text []byte) (l line, err error) {
	if !bytes.HasSuffix(text, []byte("\n")) {
		return l, errors.New("the line is cut")
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return l, err
	}
	return l, l.check()
}

// check keeps a damaged file from making us write anywhere else.
func (c Change) check() error {
	if filepath.Clean(c.Name) != c.Name || !slices.ContainsFunc([]string{"net/ipv4/", "net/ipv6/", "net/core/"},
		func(dir string) bool { return strings.HasPrefix(c.Name, dir) }) {
		return fmt.Errorf("%q is not a sysctl that we change", c.Name)
	}
	if c.Was == "" || c.Set == "" {
		return errors.New("a value is missing")
	}
	return nil
}

// Add remembers c. The oldest value of a name is the one to go back to.
func (m *Memory) Add(c Change) error {
	if slices.ContainsFunc(m.changes, func(have Change) bool { return have.Name == c.Name }) {
		return nil
	}
	m.changes = append(m.changes, c)
	if err := m.save(); err != nil {
		m.changes = m.changes[:len(m.changes)-1]
		return fmt.Errorf("remember the value of %s: %w", c.Name, err)
	}
	return nil
}

func (m *Memory) save() error {
	var b []byte
	for _, c := range m.changes {
		text, err := json.Marshal(line{m.boot, c})
		if err != nil {
			return err
		}
		b = append(append(b, text...), '\n')
	}
	return writeFile(m.path, b)
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
	for _, c := range slices.Backward(m.changes) {
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
	m.changes = nil
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
	for _, c := range m.changes {
		names = append(names, c.Name)
	}
	return names
}
