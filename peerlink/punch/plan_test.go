package punch

import (
	"net/netip"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

func TestTheBirthdaySearchIsForTheMappedPortWhateverElseIsOffered(t *testing.T) {
	at := netip.MustParseAddrPort
	host := func(a string) Candidate { return Candidate{Kind: message.Host, Transport: packet.UDP, Addr: at(a)} }
	mapped := at("198.51.100.20:4000")
	own := Offer{NAT: NAT{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent},
		Candidates: []Candidate{host("192.168.1.10:4000"), host("[2001:db8:1::1]:4000")}}
	peer := Offer{NAT: NAT{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent}, Candidates: []Candidate{
		{Kind: message.Mapped, Transport: packet.UDP, Addr: mapped}, host("192.168.2.10:4000"), host("[2001:db8:2::1]:4000"),
	}}
	p := makePlan(own, peer, options{udp: true, search: true})
	if len(p.targets) != 2 || p.birthday != mapped {
		t.Fatalf("%v of %v", p.birthday, p.targets)
	}
	now := time.Now()
	r := newRun(now, 1, p, time.Second, true, nil)
	r.got(now, []packet.Socket{1, 2})
	r.tick(now)
	n := 0
	for _, e := range r.out {
		if e, ok := e.(Probe); ok && e.Socket != 0 {
			if n++; e.Remote != mapped {
				t.Errorf("socket %d probes %v", e.Socket, e.Remote)
			}
		}
	}
	if n != 2 {
		t.Errorf("%d sockets probed", n)
	}
}
