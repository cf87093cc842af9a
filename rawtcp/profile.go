package rawtcp

import (
	"math/bits"
	"os"
	"strconv"
	"strings"
	"time"
)

// profile is how this host's kernel would open a TCP connection: the sysctls
// that show on the wire. It is read once; a zero profile is not usable.
type profile struct {
	ttl         uint8
	hopLimit    uint8
	stamps      bool // net.ipv4.tcp_timestamps
	stampOffset bool // tcp_timestamps=1: a random offset for each pair of addresses
	sack        bool
	wscale      int8 // -1: window scaling is off
	space       int  // initial receive space in bytes, from tcp_rmem[1]
	ceiling     uint32
	flowLabels  bool
	synRetries  int
	synLinear   int // net.ipv4.tcp_syn_linear_timeouts; 0 before Linux 6.5
	ackRetries  int // net.ipv4.tcp_synack_retries
}

// minScale is the smallest window scale that keeps a stateful middlebox
// content with what is in flight on a fast path, whatever tcp_rmem says.
const minScale = 10

// minCeiling is the least that the receive window may grow to: 1 Gbit/s at
// 250 ms. Nothing is buffered behind it, so it costs no memory.
const minCeiling = 32 << 20

// readProfile asks the kernel. read returns the content of a file below
// /proc/sys/net; what is missing takes Linux's default.
func readProfile(read func(name string) (string, error)) *profile {
	number := func(name string, field, missing int) int {
		text, err := read(name)
		if err != nil {
			return missing
		}
		fields := strings.Fields(text)
		if field >= len(fields) {
			return missing
		}
		n, err := strconv.Atoi(fields[field])
		if err != nil {
			return missing
		}
		return n
	}
	stamps := number("ipv4/tcp_timestamps", 0, 1)
	p := &profile{
		ttl:         uint8(number("ipv4/ip_default_ttl", 0, 64)),
		hopLimit:    uint8(number("ipv6/conf/default/hop_limit", 0, 64)),
		stamps:      stamps != 0,
		stampOffset: stamps == 1,
		sack:        number("ipv4/tcp_sack", 0, 1) != 0,
		wscale:      -1,
		space:       number("ipv4/tcp_rmem", 1, 131072) / 2,
		ceiling:     65535,
		flowLabels:  number("ipv6/auto_flowlabels", 0, 1) != 0,
		synRetries:  number("ipv4/tcp_syn_retries", 0, 6),
		synLinear:   number("ipv4/tcp_syn_linear_timeouts", 0, 0),
		ackRetries:  number("ipv4/tcp_synack_retries", 0, 5),
	}
	if number("ipv4/tcp_window_scaling", 0, 1) != 0 {
		most := max(number("ipv4/tcp_rmem", 2, 6<<20), number("core/rmem_max", 0, 212992), 1)
		p.wscale = int8(min(max(bits.Len(uint(most))-1-15, minScale), 14))
		p.ceiling = uint32(min(max(most, minCeiling), 65535<<p.wscale))
	}
	return p
}

// hostProfile reads the profile of the calling thread's network namespace.
func hostProfile() *profile {
	return readProfile(func(name string) (string, error) {
		b, err := os.ReadFile("/proc/sys/net/" + name)
		return string(b), err
	})
}

// startWindow is the receive window of a SYN or SYN-ACK for segments of mss
// bytes: whole segments in the initial space, as tcp_select_initial_window does.
func (p *profile) startWindow(mss int) uint16 {
	space := p.space
	if mss > 0 && space > mss {
		space -= space % mss
	}
	return uint16(min(space, 65535))
}

// synInterval is the wait after SYN number n (from 0): the first ones at a
// constant pace, then doubling. The kernel's timer wheel makes a second 2 %
// longer.
func (p *profile) synInterval(n int) time.Duration {
	return 1022 * time.Millisecond << max(n-p.synLinear, 0)
}
