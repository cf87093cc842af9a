package guard

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// program is the eBPF program that drops, with the two maps that it asks. It is
// written in instructions rather than C: building needs no compiler, and sixty
// instructions are still read at one sitting.
type program struct {
	prog  *ebpf.Program
	ports *ebpf.Map // [2]byte in network order -> nothing
	addrs *ebpf.Map // localPrefix -> nothing
}

const (
	maxPorts    = 4096
	maxPrefixes = 16384
)

func loadProgram() (p *program, err error) {
	// Kernels before 5.11 count maps against a limit that is far too small.
	_ = rlimit.RemoveMemlock()
	p = &program{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	p.ports, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "lwt_ports", Type: ebpf.Hash, KeySize: 2, ValueSize: 1, MaxEntries: maxPorts, Flags: unix.BPF_F_NO_PREALLOC,
	})
	if err != nil {
		return nil, fmt.Errorf("create eBPF map: %w", err)
	}
	p.addrs, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "lwt_local", Type: ebpf.LPMTrie, KeySize: 20, ValueSize: 1, MaxEntries: maxPrefixes, Flags: unix.BPF_F_NO_PREALLOC,
	})
	if err != nil {
		return nil, fmt.Errorf("create eBPF map: %w", err)
	}
	p.prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "lwt_guard", Type: ebpf.SchedCLS, License: "Dual MIT/GPL",
		Instructions: instructions(p.ports.FD(), p.addrs.FD()),
	})
	if err != nil {
		return nil, fmt.Errorf("load eBPF program: %w", err)
	}
	return p, nil
}

// Offsets in struct __sk_buff, and the verdicts, which tc and tcx share.
const (
	skbPktType  = 4
	skbProtocol = 16
	verdictNext = -1 // TC_ACT_UNSPEC, TCX_NEXT: whatever comes after decides
	verdictDrop = 2  // TC_ACT_SHOT, TCX_DROP
)

// The stack of the program.
const (
	stackHeader = -64 // IP header, 40 bytes
	stackPort   = -24 // destination port, 2 bytes
	stackKey    = -20 // localPrefix, 20 bytes
)

// instructions drops TCP in IPv4 (whole packets and first fragments) or IPv6
// (without extension headers), sent to this host on the link layer, to a local
// address and to one of the ports. All loads count from the network header, so
// links with and without a link layer, and with VLAN tags, are alike; they cope
// with headers that are not in the linear part of the buffer.
func instructions(ports, addrs int) asm.Instructions {
	load := func(offset asm.Instruction, to, size int32) asm.Instructions {
		return asm.Instructions{
			asm.Mov.Reg(asm.R1, asm.R6),
			offset, // R2
			asm.Mov.Reg(asm.R3, asm.RFP),
			asm.Add.Imm(asm.R3, to),
			asm.Mov.Imm(asm.R4, size),
			asm.Mov.Imm(asm.R5, 1), // BPF_HDR_START_NET
			asm.FnSkbLoadBytesRelative.Call(),
			asm.JNE.Imm(asm.R0, 0, "next"),
		}
	}
	lookup := func(fd int, key int32) asm.Instructions {
		return asm.Instructions{
			asm.LoadMapPtr(asm.R1, fd),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, key),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "next"),
		}
	}
	copyWord := func(from, to int16) asm.Instructions {
		return asm.Instructions{
			asm.LoadMem(asm.R0, asm.RFP, from, asm.Word),
			asm.StoreMem(asm.RFP, to, asm.R0, asm.Word),
		}
	}
	const address = stackKey + 4
	var p asm.Instructions
	add := func(parts ...asm.Instructions) {
		for _, part := range parts {
			p = append(p, part...)
		}
	}
	label := func(name string, part asm.Instructions) asm.Instructions {
		part[0] = part[0].WithSymbol(name)
		return part
	}

	add(asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R0, asm.R6, skbPktType, asm.Word),
		asm.JNE.Imm(asm.R0, unix.PACKET_HOST, "next"),
		asm.StoreImm(asm.RFP, stackKey, 128, asm.Word),
		asm.LoadMem(asm.R0, asm.R6, skbProtocol, asm.Word),
		asm.JEq.Imm(asm.R0, network(unix.ETH_P_IP), "ipv4"),
		asm.JEq.Imm(asm.R0, network(unix.ETH_P_IPV6), "ipv6"),
		asm.Ja.Label("next"),
	})
	add(label("ipv4", load(asm.Mov.Imm(asm.R2, 0), stackHeader, 20)), asm.Instructions{
		asm.LoadMem(asm.R0, asm.RFP, stackHeader+9, asm.Byte),
		asm.JNE.Imm(asm.R0, unix.IPPROTO_TCP, "next"),
		asm.LoadMem(asm.R0, asm.RFP, stackHeader+6, asm.Half),
		asm.And.Imm(asm.R0, network(0x1fff)),
		asm.JNE.Imm(asm.R0, 0, "next"),
		asm.LoadMem(asm.R7, asm.RFP, stackHeader, asm.Byte),
		asm.And.Imm(asm.R7, 15),
		asm.LSh.Imm(asm.R7, 2),
		asm.StoreImm(asm.RFP, address, 0, asm.Word),
		asm.StoreImm(asm.RFP, address+4, 0, asm.Word),
		asm.StoreImm(asm.RFP, address+8, 0, asm.Half),
		asm.StoreImm(asm.RFP, address+10, -1, asm.Half),
	}, copyWord(stackHeader+16, address+12), asm.Instructions{asm.Ja.Label("port")})
	add(label("ipv6", load(asm.Mov.Imm(asm.R2, 0), stackHeader, 40)), asm.Instructions{
		asm.LoadMem(asm.R0, asm.RFP, stackHeader+6, asm.Byte),
		asm.JNE.Imm(asm.R0, unix.IPPROTO_TCP, "next"),
		asm.Mov.Imm(asm.R7, 40),
	},
		copyWord(stackHeader+24, address), copyWord(stackHeader+28, address+4),
		copyWord(stackHeader+32, address+8), copyWord(stackHeader+36, address+12),
	)
	add(asm.Instructions{asm.Add.Imm(asm.R7, 2).WithSymbol("port")},
		load(asm.Mov.Reg(asm.R2, asm.R7), stackPort, 2),
		lookup(ports, stackPort), lookup(addrs, stackKey),
		asm.Instructions{
			asm.Mov.Imm(asm.R0, verdictDrop),
			asm.Return(),
			asm.Mov.Imm(asm.R0, verdictNext).WithSymbol("next"),
			asm.Return(),
		})
	return p
}

// network is v as a load of two bytes in network order shows it.
func network(v uint16) int32 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return int32(binary.NativeEndian.Uint16(b[:]))
}

func (p *program) set(ports []uint16) error {
	keys := make([][2]byte, len(ports))
	for i, port := range ports {
		binary.BigEndian.PutUint16(keys[i][:], port)
	}
	return replace(p.ports, keys)
}

func (p *program) local(prefixes []localPrefix) error { return replace(p.addrs, prefixes) }

// replace adds what is missing before it removes what is too much, so that
// nothing is unguarded meanwhile.
func replace[K comparable](m *ebpf.Map, keys []K) error {
	want := make(map[K]bool, len(keys))
	for _, k := range keys {
		want[k] = true
		if err := m.Put(k, uint8(1)); err != nil {
			return fmt.Errorf("update eBPF map: %w", err)
		}
	}
	var surplus []K
	var k K
	var v uint8
	it := m.Iterate()
	for it.Next(&k, &v) {
		if !want[k] {
			surplus = append(surplus, k)
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read eBPF map: %w", err)
	}
	for _, k := range surplus {
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("update eBPF map: %w", err)
		}
	}
	return nil
}

func (p *program) close() error {
	var errs []error
	if p.prog != nil {
		errs = append(errs, p.prog.Close())
	}
	if p.ports != nil {
		errs = append(errs, p.ports.Close())
	}
	if p.addrs != nil {
		errs = append(errs, p.addrs.Close())
	}
	return errors.Join(errs...)
}
