package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Snapshot is the network state of a namespace that a program might leave
// behind, one text per kind of thing. What changes by itself (counters, timers,
// neighbours, connections that fade away) is not in it.
type Snapshot map[string]string

// snapshotScript prints one section per kind of state. What a machine lacks
// (iptables, IPv6) is an empty section.
const snapshotScript = `
section() { echo "@@ $1"; shift; "$@" 2>/dev/null || true; }
section links sh -c 'ip -d -o link | sed -E "s/ (qlen|numtxqueues|numrxqueues|gso_max_size|gso_max_segs|tso_max_size|tso_max_segs|gro_max_size|gso_ipv4_max_size|gro_ipv4_max_size) [0-9]+//g"'
section addresses ip -o addr
section 'routes (IPv4)' ip -4 route show table all
section 'routes (IPv6)' ip -6 route show table all
section 'rules (IPv4)' ip -4 rule
section 'rules (IPv6)' ip -6 rule
section nftables nft -s list ruleset
section iptables sh -c 'iptables-save | grep -v "^[#:]"'
section ip6tables sh -c 'ip6tables-save | grep -v "^[#:]"'
section 'listening sockets' sh -c 'ss -Hnltu | awk "{ print \$1, \$5, \$6 }" | sort'
section 'raw and packet sockets' sh -c 'ss -Hnaw | awk "{ print \$1, \$2, \$5, \$6 }" | sort; ss -Hna0 | awk "{ print \$1, \$2, \$5, \$6 }" | sort'
section 'traffic control' sh -c 'tc qdisc show; for d in $(ls /sys/class/net); do tc filter show dev $d ingress; tc filter show dev $d egress; done'
section sysctls sh -c 'grep -rs . /proc/sys/net | grep -vE "nf_conntrack_(count|buckets)|/neigh/|tcp_fastopen_key|random|/stat/" | sort'
`

// Snapshot takes the state of the namespace.
func (n *Namespace) Snapshot(ctx context.Context) (Snapshot, error) {
	out, err := n.Shell(ctx, snapshotScript)
	if err != nil {
		return nil, err
	}
	snapshot := Snapshot{}
	section := ""
	for line := range strings.Lines(out) {
		if name, found := strings.CutPrefix(line, "@@ "); found {
			section = strings.TrimSpace(name)
			continue
		}
		snapshot[section] += strings.TrimRight(line, " \n") + "\n"
	}
	snapshot["tc programs (tcx)"], err = n.tcxPrograms()
	return snapshot, err
}

// Diff tells what a later snapshot lost (-) and gained (+), empty when nothing.
func (s Snapshot) Diff(later Snapshot) string {
	var diff strings.Builder
	sections := maps.Clone(s)
	maps.Copy(sections, later)
	for _, section := range slices.Sorted(maps.Keys(sections)) {
		before, after := strings.Split(s[section], "\n"), strings.Split(later[section], "\n")
		for _, line := range before {
			if !slices.Contains(after, line) {
				fmt.Fprintf(&diff, "%s: - %s\n", section, line)
			}
		}
		for _, line := range after {
			if !slices.Contains(before, line) {
				fmt.Fprintf(&diff, "%s: + %s\n", section, line)
			}
		}
	}
	return diff.String()
}

// tcxPrograms counts the eBPF programs attached to each device by tcx, which no
// tool of an older iproute2 shows. Kernels before 6.6 have no tcx.
func (n *Namespace) tcxPrograms() (string, error) {
	var found strings.Builder
	err := n.Do(func() error {
		devices, err := net.Interfaces()
		if err != nil {
			return err
		}
		for _, device := range devices {
			for direction, attachType := range map[string]uint32{"ingress": 46, "egress": 47} {
				if programs := attached(device.Index, attachType); programs > 0 {
					fmt.Fprintf(&found, "%s %s: %d\n", device.Name, direction, programs)
				}
			}
		}
		return nil
	})
	return found.String(), err
}

// attached asks how many programs hang at an attach point of a device, with
// bpf(BPF_PROG_QUERY); union bpf_attr in linux/bpf.h.
func attached(device int, attachType uint32) uint32 {
	const progQuery = 16
	var attr [64]byte
	binary.NativeEndian.PutUint32(attr[0:], uint32(device)) // target_ifindex
	binary.NativeEndian.PutUint32(attr[4:], attachType)     // attach_type
	var programs [64]uint32
	binary.NativeEndian.PutUint64(attr[16:], uint64(uintptr(unsafe.Pointer(&programs)))) // prog_ids
	binary.NativeEndian.PutUint32(attr[24:], uint32(len(programs)))                      // count, in and out
	_, _, errno := unix.Syscall(unix.SYS_BPF, progQuery, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(&programs)
	if errno != 0 {
		return 0
	}
	return binary.NativeEndian.Uint32(attr[24:])
}
