package impair

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
)

func frameOf(t testing.TB, text string) []byte {
	t.Helper()
	frame, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

const (
	tcp4 = "ffffffffffff 020000000001 0800  45000028 00004000 40060000 c0000201 c0000202  1388 2328 00000000 00000000 50020000 00000000"
	udp6 = "ffffffffffff 020000000001 86dd  60000000 000c1140 20010db8000000000000000000000002 20010db8000000000000000000000001  0035 1000 000c 0000 00000000"
	arp  = "ffffffffffff 020000000001 0806  0001080006040001 020000000001 c0000201 000000000000 c0000202"
	nd   = "3333ff000001 020000000001 86dd  60000000 00083aff 20010db8000000000000000000000002 20010db8000000000000000000000001  87000000 00000000"
	echo = "ffffffffffff 020000000001 86dd  60000000 00083aff 20010db8000000000000000000000002 20010db8000000000000000000000001  80000000 00000000"
)

func TestFlowsAreReadFromFramesTheSameInBothDirections(t *testing.T) {
	for text, want := range map[string]string{
		tcp4: "tcp 192.0.2.1:5000 192.0.2.2:9000",
		udp6: "udp [2001:db8::1]:4096 [2001:db8::2]:53",
		arp:  "no flow", echo: "no flow",
		strings.Replace(tcp4, "00004000", "00002001", 1): "no flow", // a fragment
	} {
		if got := FlowOf(frameOf(t, text)).String(); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	a, b := netip.MustParseAddrPort("192.0.2.1:5000"), netip.MustParseAddrPort("192.0.2.2:9000")
	for _, ends := range [][2]netip.AddrPort{{a, b}, {b, a}} {
		f, err := NewFlow("tcp", ends[0], ends[1])
		if err != nil || f != FlowOf(frameOf(t, tcp4)) {
			t.Errorf("%v: %v, %v", ends, f, err)
		}
	}
	if _, err := NewFlow("icmp", a, b); err == nil {
		t.Error("there are flows of icmp")
	}
}

func TestNeighboursTalkOnTheCableAndNobodyElse(t *testing.T) {
	for text, want := range map[string]bool{arp: true, nd: true, echo: false, tcp4: false, udp6: false} {
		if got := ofTheCable(frameOf(t, text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func FuzzFlowOf(f *testing.F) {
	for _, text := range []string{tcp4, udp6, arp, nd, echo} {
		frame := frameOf(f, text)
		for cut := range frame {
			f.Add(frame[:cut])
		}
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		ofTheCable(frame)
		if flow := FlowOf(frame); flow != flow.canonical() || flow != (Flow{}) && flow.String() == "no flow" {
			t.Errorf("%x: %v", frame, flow)
		}
	})
}
