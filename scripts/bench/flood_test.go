package main

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// A checksum that fits makes the sum over itself come out as zero. What does not
// fit is dropped by the kernel already.
func TestJunkHasChecksumsThatFit(t *testing.T) {
	for _, transport := range []string{"rawtcp", "udp"} {
		own := 0
		for i, p := range junkPackets(transport, "203.0.113.11", 40000) {
			from, to := netip.AddrFrom4([4]byte(p[12:])), netip.AddrFrom4([4]byte(p[16:]))
			if to.String() != lab.ServerIPv4 {
				t.Fatalf("%s: packet %d goes to %s", transport, i, to)
			}
			if from.String() == "203.0.113.11" {
				own++
			}
			if transport == "udp" && p[9] != unix.IPPROTO_UDP {
				t.Fatalf("packet %d is of protocol %d", i, p[9])
			}
			if sum := checksum(from, to, p[9], p[20:]); sum != 0 && sum != 0xffff {
				t.Errorf("%s: packet %d: the sum over it all is %#x", transport, i, sum)
			}
		}
		if own != differentJunk/8 {
			t.Errorf("%s: %d packets are in the site's name", transport, own)
		}
	}
}

func TestSecondsWithoutAByteAreCounted(t *testing.T) {
	var r iperfResult
	interval := func(seconds, bytes float64) {
		r.Intervals = append(r.Intervals, struct {
			Sum struct{ Seconds, Bytes float64 }
		}{struct{ Seconds, Bytes float64 }{seconds, bytes}})
	}
	interval(1, 5e6)
	interval(1.0003, 0)
	interval(1, 1)
	interval(0.001, 0) // the splinter at the end
	if n := r.idle(); n != 1 {
		t.Errorf("%d", n)
	}
}
