package rawtcp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

var families = map[string]string{"v4": "10.77.0.2", "v6": "[fd77::2]"}

func TestRealKernelCarriesDatagramsBothWaysWithoutAReset(t *testing.T) {
	for name, addr := range families {
		for _, guard := range []string{"bpf", "nobpf"} {
			t.Run(name+" "+guard, func(t *testing.T) {
				a, b := nstest.Pair(t)
				listen := []string{"0.0.0.0:9000", "[::]:9000"}
				if guard == "nobpf" {
					listen = append(listen, guard)
				}
				server := start(t, b, "echo", listen...)
				fields := capture(t, b)
				got := start(t, a, "client", addr+":9000", "500").wait()
				back := server.finish()
				if got.Error != "" || back.Error != "" || got.Sent != 20000 || got.Echoed != got.Sent {
					t.Fatalf("%+v\n%+v", got, back)
				}
				if resets := fields("tcp.flags.reset == 1", "frame.number"); len(resets) != 0 {
					t.Fatalf("%d resets", len(resets))
				}
				if fins := fields("tcp.flags.fin == 1", "frame.number"); len(fins) < 2 {
					t.Fatalf("%d FINs", len(fins))
				}
				t.Logf("%+v", back.Status)
			})
		}
	}
}

// What must be equal in our handshake and in the kernel's own.
var alike = []string{
	"ip.flags.df", "ip.ttl", "ip.len", "ip.dsfield", "ipv6.hlim", "ipv6.plen", "tcp.hdr_len", "tcp.flags", "tcp.window_size_value",
	"tcp.option_kind", "tcp.options.mss_val", "tcp.options.wscale.shift", "tcp.options.sack_perm", "tcp.urgent_pointer",
}

func TestTsharkSeesTheKernelsOwnHandshake(t *testing.T) {
	for name, addr := range families {
		t.Run(name, func(t *testing.T) {
			a, b := nstest.Pair(t)
			ours := start(t, b, "echo", "0.0.0.0:9000", "[::]:9000")
			kernels := start(t, b, "kernel", ":9001")
			fields := capture(t, b)
			if rep := start(t, a, "knock", addr+":9001", "hello").wait(); rep.Error != "" {
				t.Fatal(rep.Error)
			}
			if rep := start(t, a, "client", addr+":9000", "5").wait(); rep.Error != "" {
				t.Fatal(rep.Error)
			}
			ours.finish()
			kernels.finish()
			for part, filter := range map[string]string{
				"SYN":     "tcp.flags == 0x002 && tcp.dstport == %d",
				"SYN-ACK": "tcp.flags == 0x012 && tcp.srcport == %d",
				"ACK":     "tcp.flags == 0x010 && tcp.dstport == %d && tcp.len == 0 && tcp.seq == 1 && tcp.ack == 1",
			} {
				mine := fields(fmt.Sprintf(filter, 9000), alike...)
				real := fields(fmt.Sprintf(filter, 9001), alike...)
				if len(mine) == 0 || len(real) == 0 {
					t.Fatalf("%s: %d of ours, %d of the kernel's", part, len(mine), len(real))
				}
				if diff := cmp.Diff(real[0], mine[0]); diff != "" {
					t.Errorf("%s differs from the kernel's (-kernel +ours):\n%s", part, diff)
				}
			}
			if name == "v4" {
				ids := fields("tcp.dstport == 9000 && tcp.len == 0", "ip.id")
				if ids[0][0] == "0x0000" || ids[0] == nil {
					t.Error("the SYN's IP id is 0")
				}
				if id := fields("tcp.flags == 0x012 && tcp.srcport == 9000", "ip.id"); id[0][0] != "0x0000" {
					t.Errorf("the SYN-ACK's IP id is %s, the kernel's is 0", id[0][0])
				}
			} else if labels := fields("tcp.srcport == 9000", "ipv6.flow"); labels[0][0] == "0x000000" {
				t.Error("no IPv6 flow label")
			}
			// What tshark's own state machine dislikes about the connection. Late
			// and skipped segments cannot occur here.
			if bad := fields("tcp.port == 9000 && (tcp.analysis.ack_lost_segment || tcp.analysis.zero_window)", "frame.number"); len(bad) != 0 {
				t.Errorf("tshark complains about frames %v", bad)
			}
		})
	}
}

func TestThePortLooksOpenToTheHostsOwnToolsAndToStrangers(t *testing.T) {
	a, b := nstest.Pair(t)
	server := start(t, b, "echo", "0.0.0.0:9000", "[::]:9000")
	if out := b.Run("ss -Hltn sport = :9000"); !strings.Contains(out, ":9000") {
		t.Errorf("ss shows %q", out)
	}
	for _, addr := range families {
		if rep := start(t, a, "knock", addr+":9000").wait(); rep.Error != "" {
			t.Errorf("connect: %s", rep.Error)
		}
		if rep := start(t, a, "knock", addr+":9000", "GET / HTTP/1.0\r\n\r\n").wait(); rep.Error != "" {
			t.Errorf("connect and write: %s", rep.Error)
		}
	}
	if rep := start(t, a, "client", "10.77.0.2:9000", "20").wait(); rep.Error != "" || rep.Echoed != rep.Sent {
		t.Errorf("%+v", rep)
	}
	if rep := start(t, a, "client", "10.77.0.2:9009", "1").wait(); !strings.Contains(rep.Error, "connection refused by 10.77.0.2:9009") {
		t.Errorf("a port where nobody listens: %q", rep.Error)
	}
	second := fails(t, b, "echo", "0.0.0.0:9000")
	if !strings.HasPrefix(second, "listen 0.0.0.0:9000: address in use: ") {
		t.Errorf("a second listener: %q", second)
	}
	server.finish()
}
