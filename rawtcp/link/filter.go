package link

import (
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets of linux/filter.h: loads relative to the network header, whatever the
// link layer is, and loads of what the kernel knows about a packet.
const (
	netOff     = 0xfff00000 // SKF_NET_OFF, as unsigned
	ancillary  = 0xfffff000 // SKF_AD_OFF
	adPktType  = 4
	adIfIndex  = 8
	maxProgram = 4096 // instructions; BPF_MAXINSNS
)

// MaxPorts bounds the ports of one filter, so that any number of interfaces that
// a host really has still fits the program.
const MaxPorts = 1800

// filter is the classic BPF program that keeps what [Tap] is for: TCP over IPv4
// (no fragments) or IPv6 (no extension headers), addressed to this host's link
// layer, to one of ports, not from one of the interfaces.
//
// It must not accept what the guard does not drop, nor the other way round: on
// stacked interfaces a packet passes by several times, and is to be taken once.
func filter(ports []uint16, exclude []int) ([]bpf.Instruction, error) {
	ports = slices.Compact(slices.Sorted(slices.Values(ports)))
	if len(ports) > MaxPorts {
		return nil, fmt.Errorf("filter for %d ports: at most %d", len(ports), MaxPorts)
	}
	const drop, keep = 0, 1 << 18 // keep: longer than any packet
	load := func(off uint32, size int) bpf.Instruction { return bpf.LoadAbsolute{Off: netOff + off, Size: size} }
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: ancillary + adPktType, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_HOST, SkipTrue: 1},
		bpf.RetConstant{Val: drop},
	}
	if len(exclude) > 0 {
		p = append(p, bpf.LoadAbsolute{Off: ancillary + adIfIndex, Size: 4})
		for _, index := range exclude {
			p = append(p,
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(index), SkipTrue: 1},
				bpf.RetConstant{Val: drop})
		}
	}
	p = append(p,
		load(0, 1),
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x60, SkipTrue: 8},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x40, SkipTrue: 11},
		// IPv4
		load(9, 1),
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_TCP, SkipTrue: 9},
		load(6, 2),
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 7},
		bpf.LoadMemShift{Off: netOff},
		bpf.LoadIndirect{Off: netOff + 2, Size: 2},
		bpf.Jump{Skip: 5},
		// IPv6
		load(6, 1),
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_TCP, SkipTrue: 2},
		load(42, 2),
		bpf.Jump{Skip: 1},
		bpf.RetConstant{Val: drop},
	)
	for _, port := range ports {
		p = append(p,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 1},
			bpf.RetConstant{Val: keep})
	}
	p = append(p, bpf.RetConstant{Val: drop})
	if len(p) > maxProgram {
		return nil, fmt.Errorf("filter for %d ports and %d interfaces is too long", len(ports), len(exclude))
	}
	return p, nil
}

// attachFilter replaces the socket's filter at once.
func attachFilter(fd int, program []bpf.Instruction) error {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return fmt.Errorf("assemble socket filter: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(raw)), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0]))}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("attach socket filter: %w", err)
	}
	return nil
}
