package node

import (
	"net/netip"
	"testing"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/node/simnet"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
)

func TestANodeWithoutUDPAndWithoutAListenerSearchesFromItsAddresses(t *testing.T) {
	host := netip.MustParseAddr("192.168.1.7")
	report := &nat.Report{Hosts: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("fe80::1%eth0"), host}}
	got := (&Node{}).local(report).Candidates
	want := nat.Candidate{Kind: message.Host, Transport: packet.RawTCP, Addr: netip.AddrPortFrom(host, 0)}
	if len(got) != 1 || got[0] != want {
		t.Fatalf("%v", got)
	}
	if len(report.Candidates) != 0 {
		t.Fatal("the mesh is told of a port that nobody has")
	}
	transport, err := simnet.New(1).Host("site", host.String()).Open(0)
	if err != nil {
		t.Fatal(err)
	}
	if got := (&Node{Parts: Parts{UDP: simDatagrams{transport.UDP()}}}).local(report).Candidates; len(got) != 0 {
		t.Fatalf("%v", got)
	}
}
