package node

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/gossip"
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

func TestOnlyEndpointsOfThePublicInternetAreAskedAsSTUNServers(t *testing.T) {
	at := func(kind message.CandidateKind, transport packet.Kind, addr string) message.Candidate {
		return message.Candidate{Kind: kind, Transport: transport, Addr: netip.MustParseAddrPort(addr)}
	}
	open := nat.Behaviour{Mapping: nat.EndpointIndependent, Filtering: nat.EndpointIndependent}
	strict := nat.Behaviour{Mapping: nat.EndpointIndependent, Filtering: nat.AddressAndPortDependent}
	got := openNodes([]gossip.Node{
		{Name: "cone at a carrier", NAT: open.Text(), Candidates: []message.Candidate{
			at(message.Host, packet.UDP, "100.64.3.4:9000"), at(message.Host, packet.UDP, "192.168.1.7:9000"),
			at(message.Mapped, packet.RawTCP, "198.51.100.7:9000"), at(message.Mapped, packet.UDP, "198.51.100.7:9000"),
		}},
		{Name: "strict", NAT: strict.Text(), Candidates: []message.Candidate{
			at(message.Mapped, packet.UDP, "198.51.100.8:9000"), at(message.PortMapped, packet.UDP, "198.51.100.8:9001"),
		}},
	})
	var addresses []string
	for _, s := range got {
		addresses = append(addresses, s.Addr.String())
	}
	if want := []string{"198.51.100.7:9000", "198.51.100.8:9001"}; !slices.Equal(addresses, want) {
		t.Errorf("%v, want %v", addresses, want)
	}
}
