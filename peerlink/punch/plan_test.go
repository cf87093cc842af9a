package punch

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

func TestTheBirthdaySearchIsForTheMappedPortWhateverElseIsOffered(t *testing.T) {
	at := netip.MustParseAddrPort
	host := func(a string) Candidate { return Candidate{Kind: message.Host, Transport: packet.UDP, Addr: at(a)} }
	mapped := at("198.51.100.20:4000")
	own := Offer{NAT: NAT{Mapping: message.AddressAndPortDependent, Filtering: message.AddressAndPortDependent},
		Candidates: []Candidate{host("192.168.1.10:4000"), host("[2001:db8:1::1]:4000")}}
	peer := Offer{NAT: NAT{Mapping: message.EndpointIndependent, Filtering: message.AddressAndPortDependent}, Candidates: []Candidate{
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

func TestPredictions(t *testing.T) {
	for name, c := range map[string]struct {
		last string
		step int
		both bool
		skew int
		want []string // the likeliest first
	}{
		"by one": {"192.0.2.1:4001", 1, false, 0, []string{"192.0.2.1:4002", "192.0.2.1:4003", "192.0.2.1:4004", "192.0.2.1:4005",
			"192.0.2.1:4006", "192.0.2.1:4007", "192.0.2.1:4008", "192.0.2.1:4009", "192.0.2.1:4001"}},
		"downwards by two": {"192.0.2.1:4000", -2, false, 0, []string{"192.0.2.1:3998", "192.0.2.1:3996", "192.0.2.1:3994", "192.0.2.1:3992",
			"192.0.2.1:3990", "192.0.2.1:3988", "192.0.2.1:3986", "192.0.2.1:3984", "192.0.2.1:4000"}},
		"around the end":       {"192.0.2.1:65534", 1, false, 0, []string{"192.0.2.1:65535", "192.0.2.1:65534"}},
		"around the beginning": {"192.0.2.1:3", -2, false, 0, []string{"192.0.2.1:1", "192.0.2.1:3"}},
		"IPv6": {"[2001:db8::1]:4000", 3, false, 0, []string{"[2001:db8::1]:4003", "[2001:db8::1]:4006", "[2001:db8::1]:4009", "[2001:db8::1]:4012",
			"[2001:db8::1]:4015", "[2001:db8::1]:4018", "[2001:db8::1]:4021", "[2001:db8::1]:4024", "[2001:db8::1]:4000"}},
		"both step": {"192.0.2.1:4000", 1, true, 0, []string{"192.0.2.1:4001", "192.0.2.1:4002", "192.0.2.1:4003", "192.0.2.1:4004",
			"192.0.2.1:4005", "192.0.2.1:4006", "192.0.2.1:4007", "192.0.2.1:4008"}},
		"both step, and others have used two": {"192.0.2.1:4000", 1, true, 2, []string{"192.0.2.1:4003", "192.0.2.1:4004", "192.0.2.1:4005", "192.0.2.1:4006",
			"192.0.2.1:4007", "192.0.2.1:4008", "192.0.2.1:4009", "192.0.2.1:4010"}},
	} {
		if got := predict(netip.MustParseAddrPort(c.last), c.step, c.both, c.skew); !slices.Equal(texts(got), c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestPredictionsHitEveryStep(t *testing.T) {
	for _, step := range []int{1, 2, 3, -1, -4, 16} {
		port := uint16(30000 + 4*step)
		next := predict(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), step, false, 0)
		if len(next) != predictions+1 || next[0].Port() != port+uint16(step) {
			t.Errorf("step %d: predicted %v", step, next)
		}
	}
}

// What is foreseen begins behind the newest mapping, if the kind of NAT lets anything
// be foreseen at all.
func TestPortsAreForeseenFromTheNewestMapping(t *testing.T) {
	at := netip.MustParseAddrPort
	mapped := func(a string) Candidate { return Candidate{Kind: message.Mapped, Transport: packet.UDP, Addr: at(a)} }
	own := Offer{NAT: kinds["restricted"], Candidates: []Candidate{{Kind: message.Host, Transport: packet.UDP, Addr: at("192.168.1.10:4000")}}}
	by := func(step int) NAT {
		return NAT{Mapping: message.AddressAndPortDependent, Filtering: message.AddressAndPortDependent, Step: step}
	}
	for name, c := range map[string]struct {
		seen []string // oldest first
		nat  NAT
		want []string // the first two targets
	}{
		"nothing seen":          {nil, by(1), nil},
		"cone":                  {[]string{"192.0.2.1:4000", "192.0.2.1:4001"}, kinds["port-restricted"], []string{"192.0.2.1:4001"}},
		"random":                {[]string{"192.0.2.1:4000", "192.0.2.1:9001"}, by(0), []string{"192.0.2.1:9001"}},
		"by one":                {[]string{"192.0.2.1:4000", "192.0.2.1:4001"}, by(1), []string{"192.0.2.1:4002", "192.0.2.1:4003"}},
		"an older try far away": {[]string{"192.0.2.1:60000", "192.0.2.1:4000"}, by(1), []string{"192.0.2.1:4001", "192.0.2.1:4002"}},
	} {
		peer := Offer{NAT: c.nat}
		for _, s := range c.seen {
			peer = peer.with([]Candidate{mapped(s)})
		}
		var got []netip.AddrPort
		for _, target := range makePlan(own, peer, options{udp: true, search: true}).targets {
			got = append(got, target.remote)
		}
		if got := texts(got[:min(len(got), 2)]); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func texts(all []netip.AddrPort) (texts []string) {
	for _, a := range all {
		texts = append(texts, a.String())
	}
	return texts
}
