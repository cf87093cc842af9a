package routes

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

// procSys is [Sysctls] of the running kernel.
type procSys struct{}

const procSysDir = "/proc/sys/"

func (procSys) Get(name string) (string, error) {
	b, err := os.ReadFile(procSysDir + name)
	return strings.TrimSpace(string(b)), err
}

func (procSys) Set(name, value string) error {
	return os.WriteFile(procSysDir+name, []byte(value), 0o644)
}

func (procSys) Interfaces(family string) ([]string, error) {
	entries, err := os.ReadDir(procSysDir + "net/" + family + "/conf")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); n != "all" && n != "default" {
			names = append(names, n)
		}
	}
	return names, nil
}

// change is one value that we changed.
type change struct {
	Name string `json:"name"`
	Was  string `json:"was"`
	Set  string `json:"set"`
}

// sysctlMemory is a small file that outlives the process. What was changed
// before the last boot does not count: booting sets all values anew.
type sysctlMemory struct {
	path string
	note sysctlNote
}

type sysctlNote struct {
	Boot    string   `json:"boot"`
	Changes []change `json:"changes"`
}

// openSysctlMemory returns a usable, empty memory beside an error.
func openSysctlMemory(path, boot string) (*sysctlMemory, error) {
	m := &sysctlMemory{path: path, note: sysctlNote{Boot: boot}}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	var old sysctlNote
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
func (c change) check() error {
	if filepath.Clean(c.Name) != c.Name || !strings.HasPrefix(c.Name, "net/ipv4/") && !strings.HasPrefix(c.Name, "net/ipv6/") {
		return fmt.Errorf("%q is not a sysctl that we change", c.Name)
	}
	return nil
}

func (m *sysctlMemory) changes() []change { return m.note.Changes }

// add remembers c. The oldest value of a name is the one to go back to.
func (m *sysctlMemory) add(c change) error {
	if slices.ContainsFunc(m.note.Changes, func(have change) bool { return have.Name == c.Name }) {
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

func (m *sysctlMemory) clear() error {
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
