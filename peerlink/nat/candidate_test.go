package nat

import (
	"net/netip"
	"testing"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

func TestHostCandidatesAreWhatPeersCanReach(t *testing.T) {
	var hosts []netip.Addr
	for _, s := range []string{
		"127.0.0.1", "::1", "169.254.3.4", "fe80::1", "fe80::1%eth0", "224.0.0.1", "0.0.0.0",
		"2001:db8::5", "192.168.1.5", "fd00::5", "100.64.0.5", "203.0.113.5", "::ffff:10.1.1.1", "192.168.1.5",
	} {
		hosts = append(hosts, netip.MustParseAddr(s))
	}
	want := []string{"192.168.1.5:7000", "100.64.0.5:7000", "203.0.113.5:7000", "10.1.1.1:7000", "[2001:db8::5]:7001", "[fd00::5]:7001"}
	got := HostCandidates(hosts, packet.UDP, 7000, 7001)
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i, c := range got {
		if c.Addr.String() != want[i] || c.Kind != message.Host || c.Transport != packet.UDP {
			t.Errorf("candidate %d is %+v, want %s", i, c, want[i])
		}
	}
	if got := HostCandidates(hosts, packet.UDP, 0, 7001); len(got) != 2 {
		t.Errorf("without IPv4: %v", got)
	}
	if got := HostCandidates(nil, packet.UDP, 1, 1); len(got) != 0 {
		t.Errorf("without addresses: %v", got)
	}
	var many []netip.Addr
	for a := netip.MustParseAddr("10.0.0.1"); len(many) < 40; a = a.Next() {
		many = append(many, a)
	}
	if got := HostCandidates(many, packet.UDP, 1, 1); len(got) != maxHosts {
		t.Errorf("%d candidates of 40 addresses", len(got))
	}
}

func TestInterfacesThatLeadNowhereAreKnownByName(t *testing.T) {
	for name, want := range map[string]bool{
		"eth0": false, "wlan0": false, "br-lan": false, "br0": false, "wg0": false, "br-0123456789": false,
		"docker0": true, "br-0123456789ab": true, "virbr0": true, "veth12ab": true, "cni0": true,
	} {
		if internal(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func TestHostAddressesOfThisHostAreUsable(t *testing.T) {
	all, err := HostAddresses()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if !usable(a) || a.IsLoopback() || a.Is4In6() {
			t.Errorf("%s is of no use", a)
		}
	}
}
