package sysctl

import (
	"os"
	"strings"
)

// Values reads and writes kernel parameters by their names with slashes, such as
// "net/ipv4/ip_forward".
type Values interface {
	Get(name string) (string, error)
	Set(name, value string) error
	// Interfaces lists the interfaces of a family, "ipv4" or "ipv6".
	Interfaces(family string) ([]string, error)
}

// Host is the running kernel, in the network namespace of the calling thread.
type Host struct{}

const procSys = "/proc/sys/"

// Get implements [Values].
func (Host) Get(name string) (string, error) {
	b, err := os.ReadFile(procSys + name)
	return strings.TrimSpace(string(b)), err
}

// Set implements [Values].
func (Host) Set(name, value string) error {
	return os.WriteFile(procSys+name, []byte(value), 0o644)
}

// Interfaces implements [Values].
func (Host) Interfaces(family string) ([]string, error) {
	entries, err := os.ReadDir(procSys + "net/" + family + "/conf")
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
