package link

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// accepts runs the filter on a packet that starts at its IP header. The VM knows
// no offsets relative to the network header, nor what the kernel knows about a
// packet, so these are put in by other instructions of the same length.
func accepts(t *testing.T, program []bpf.Instruction, pkt []byte, pktType, ifindex uint32) bool {
	t.Helper()
	plain := make([]bpf.Instruction, len(program))
	for i, ins := range program {
		switch l := ins.(type) {
		case bpf.LoadAbsolute:
			switch l.Off {
			case ancillary + adPktType:
				ins = bpf.LoadConstant{Dst: bpf.RegA, Val: pktType}
			case ancillary + adIfIndex:
				ins = bpf.LoadConstant{Dst: bpf.RegA, Val: ifindex}
			default:
				l.Off -= netOff
				ins = l
			}
		case bpf.LoadIndirect:
			l.Off -= netOff
			ins = l
		case bpf.LoadMemShift:
			l.Off -= netOff
			ins = l
		}
		plain[i] = ins
	}
	vm, err := bpf.NewVM(plain)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(pkt)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// segmentTo is a TCP packet to a port, with bytes of IPv4 options.
func segmentTo(dst netip.Addr, port uint16, options int) []byte {
	b := make([]byte, 100)
	src := a4
	if dst.Is6() {
		src = a6
	}
	ipLen, _ := headersFor(b, src, dst, 1, 1, 0x10, 8)
	if options > 0 {
		copy(b[ipLen+options:], b[ipLen:60])
		b[0] += byte(options / 4)
		ipLen += options
	}
	binary.BigEndian.PutUint16(b[ipLen+2:], port)
	return b
}

func TestFilterTakesOurTCPAlone(t *testing.T) {
	program, err := filter([]uint16{443, 9000, 65535, 9000}, []int{7, 9})
	if err != nil {
		t.Fatal(err)
	}
	change := func(b []byte, at int, v byte) []byte {
		b[at] = v
		return b
	}
	for name, c := range map[string]struct {
		pkt     []byte
		pktType uint32
		ifindex uint32
		want    bool
	}{
		"IPv4":                          {segmentTo(b4, 9000, 0), 0, 1, true},
		"IPv4, first port":              {segmentTo(b4, 443, 0), 0, 1, true},
		"IPv4, last port":               {segmentTo(b4, 65535, 0), 0, 1, true},
		"IPv4 with options":             {segmentTo(b4, 9000, 24), 0, 1, true},
		"IPv6":                          {segmentTo(b6, 9000, 0), 0, 1, true},
		"IPv4, another port":            {segmentTo(b4, 9001, 0), 0, 1, false},
		"IPv6, another port":            {segmentTo(b6, 9001, 0), 0, 1, false},
		"UDP":                           {change(segmentTo(b4, 9000, 0), 9, 17), 0, 1, false},
		"UDP over IPv6":                 {change(segmentTo(b6, 9000, 0), 6, 17), 0, 1, false},
		"IPv6 with an extension header": {change(segmentTo(b6, 9000, 0), 6, 60), 0, 1, false},
		"first fragment":                {change(segmentTo(b4, 9000, 0), 6, 0x20), 0, 1, false},
		"later fragment":                {change(segmentTo(b4, 9000, 0), 7, 3), 0, 1, false},
		"neither IPv4 nor IPv6":         {change(segmentTo(b4, 9000, 0), 0, 0x55), 0, 1, false},
		"for another host":              {segmentTo(b4, 9000, 0), unix.PACKET_OTHERHOST, 1, false},
		"our own":                       {segmentTo(b4, 9000, 0), unix.PACKET_OUTGOING, 1, false},
		"excluded interface":            {segmentTo(b4, 9000, 0), 0, 7, false},
		"second excluded interface":     {segmentTo(b6, 9000, 0), 0, 9, false},
		"cut short":                     {segmentTo(b4, 9000, 0)[:21], 0, 1, false},
		"nothing":                       {nil, 0, 1, false},
	} {
		if got := accepts(t, program, c.pkt, c.pktType, c.ifindex); got != c.want {
			t.Errorf("%s: accepted %v", name, got)
		}
	}
}

func TestFilterFitsTheKernelAtItsBounds(t *testing.T) {
	ports := make([]uint16, MaxPorts)
	for i := range ports {
		ports[i] = uint16(i + 1)
	}
	exclude := make([]int, 200)
	program, err := filter(ports, exclude)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := attachFilter(fd, program); err != nil {
		t.Fatal(err)
	}
	if _, err := filter(append(ports, 60000), nil); err == nil {
		t.Error("more ports than fit were taken")
	}
	none, err := filter(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if accepts(t, none, segmentTo(b4, 0, 0), 0, 1) {
		t.Error("a filter without ports accepts")
	}
}
