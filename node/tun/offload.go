package tun

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Offloads says what the kernel may leave undone in packets that are read, which
// is also what it finishes in packets that are written.
type Offloads struct {
	Checksum bool // TCP and UDP checksums are partial
	TSO      bool // TCP super-packets, IPv4 and IPv6
	USO      bool // UDP super-packets (kernel 6.2 and later)
}

// String lists what is in use as `doctor` prints it.
func (o Offloads) String() string {
	switch {
	case o.USO:
		return "checksum tso uso"
	case o.TSO:
		return "checksum tso"
	case o.Checksum:
		return "checksum"
	}
	return "none"
}

// ladder is what to ask for, the best first. A kernel refuses a set as a whole
// when it does not know one of its bits.
var ladder = []struct {
	bits int
	have Offloads
}{
	{unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_USO4 | unix.TUN_F_USO6, Offloads{Checksum: true, TSO: true, USO: true}},
	{unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6, Offloads{Checksum: true, TSO: true}},
	{unix.TUN_F_CSUM, Offloads{Checksum: true}},
	{0, Offloads{}},
}

// setOffloads takes the best rung of the ladder that set accepts.
func setOffloads(set func(bits int) error) (Offloads, error) {
	var err error
	for _, rung := range ladder {
		if err = set(rung.bits); err == nil {
			return rung.have, nil
		}
	}
	return Offloads{}, fmt.Errorf("set offloads: %w", err)
}
