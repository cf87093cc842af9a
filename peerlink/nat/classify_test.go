package nat

import (
	"net/netip"
	"testing"
)

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// seen makes observations of pairs of server and mapping.
func seen(pairs ...string) []Observation {
	var all []Observation
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, Observation{To: at(pairs[i]), Mapped: at(pairs[i+1])})
	}
	return all
}

const (
	serverA  = "203.0.113.1:9000"
	serverA2 = "203.0.113.1:41000"
	serverB  = "203.0.113.2:9000"
	serverC  = "203.0.113.3:9000"
	serverD  = "203.0.113.4:9000"
)

func TestWithoutNATOneServerThatAnswersFromAnotherPortShowsAnOpenHost(t *testing.T) {
	own := netip.MustParseAddr("198.51.100.9")
	direct := Evidence{Own: []netip.Addr{own}, Port: 5000, Seen: seen(serverA, "198.51.100.9:5000"), OtherPort: Answered, DataPort: Answered}
	if b := Classify(direct); b.String() != "none" || !b.Reachable() || !b.Open {
		t.Errorf("no other address was tried: %+v", b)
	}
	direct.OtherAddress = Silent
	if b := Classify(direct); b.String() != "firewall" || b.Reachable() {
		t.Errorf("another address was silent: %+v", b)
	}
}

func TestMappingIsClassified(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("198.51.100.9")}
	for name, c := range map[string]struct {
		seen []Observation
		want Behaviour
	}{
		"nobody answered": {nil, Behaviour{}},
		"no translation":  {seen(serverA, "198.51.100.9:5000"), Behaviour{Mapping: Direct}},
		"the address is its own, the port is not": {seen(serverA, "198.51.100.9:5001", serverB, "198.51.100.9:5001"),
			Behaviour{Mapping: EndpointIndependent}},
		"one server, one port": {seen(serverA, "198.51.100.7:5000"), Behaviour{Preserves: true}},
		"asked twice":          {seen(serverA, "198.51.100.7:5000", serverA, "198.51.100.7:5000"), Behaviour{Preserves: true}},
		"one address, two ports": {seen(serverA, "198.51.100.7:5000", serverA2, "198.51.100.7:5000"),
			Behaviour{Mapping: EndpointIndependent, Preserves: true}},
		"one address, two ports, they differ": {seen(serverA, "198.51.100.7:2000", serverA2, "198.51.100.7:2002"),
			Behaviour{Mapping: AddressAndPortDependent, Step: 2}},
		"endpoint-independent": {seen(serverA, "198.51.100.7:6000", serverB, "198.51.100.7:6000"),
			Behaviour{Mapping: EndpointIndependent}},
		"endpoint-independent, ports kept": {seen(serverA, "198.51.100.7:5000", serverB, "198.51.100.7:5000", serverC, "198.51.100.7:5000"),
			Behaviour{Mapping: EndpointIndependent, Preserves: true}},
		"address-dependent": {seen(serverA, "198.51.100.7:6000", serverA2, "198.51.100.7:6000", serverB, "198.51.100.7:6003"),
			Behaviour{Mapping: AddressDependent, Step: 3}},
		"symmetric, random": {seen(serverA, "198.51.100.7:6000", serverA2, "198.51.100.7:31000", serverB, "198.51.100.7:9999"),
			Behaviour{Mapping: AddressAndPortDependent}},
		"symmetric, two addresses": {seen(serverA, "198.51.100.7:6000", serverB, "198.51.100.7:6001"),
			Behaviour{Mapping: AddressAndPortDependent, Step: 1}},
		"pool of addresses": {seen(serverA, "198.51.100.7:5000", serverB, "198.51.100.8:5000"),
			Behaviour{Mapping: AddressAndPortDependent, Preserves: true}},
	} {
		if got := Classify(Evidence{Own: own, Port: 5000, Seen: c.seen}); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestFilteringIsClassified(t *testing.T) {
	for _, c := range []struct {
		address, port Outcome
		want          Dependence
	}{
		{NotTried, NotTried, Unknown},
		{Answered, Answered, EndpointIndependent},
		{Answered, Silent, EndpointIndependent},
		{Silent, Answered, AddressDependent},
		{NotTried, Answered, AddressDependent},
		{Silent, Silent, AddressAndPortDependent},
		{NotTried, Silent, AddressAndPortDependent},
		{Silent, NotTried, Unknown},
	} {
		got := Classify(Evidence{OtherAddress: c.address, OtherPort: c.port})
		if got.Filtering != c.want {
			t.Errorf("other address %d, other port %d: %s, want %s", c.address, c.port, got.Filtering, c.want)
		}
	}
	if !Classify(Evidence{Hairpin: Answered}).Hairpin || Classify(Evidence{Hairpin: Silent}).Hairpin {
		t.Error("hairpin is not what the test said")
	}
}

func TestPortStepsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		ports []uint16
		want  int
	}{
		"none":                        {nil, 0},
		"one":                         {[]uint16{5}, 0},
		"by one":                      {[]uint16{40000, 40001, 40002}, 1},
		"by two":                      {[]uint16{40000, 40002, 40004, 40006}, 2},
		"downwards":                   {[]uint16{40000, 39999, 39998}, -1},
		"others in between":           {[]uint16{40000, 40001, 40004, 40005}, 1},
		"answers overtook each other": {[]uint16{40001, 40000, 40002, 40003}, 1},
		"asked again":                 {[]uint16{40000, 40000, 40001}, 1},
		"around the end":              {[]uint16{65534, 65535, 0, 1}, 1},
		"two, near":                   {[]uint16{40000, 40005}, 5},
		"two, far":                    {[]uint16{40000, 41000}, 0},
		"random":                      {[]uint16{40000, 3000, 61234, 17000}, 0},
		"random in a block":           {[]uint16{40000, 40013, 40031, 40007, 40050}, 0},
	} {
		if got := portStep(c.ports); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestEveryStepIsFound(t *testing.T) {
	for _, step := range []int{1, 2, 3, -1, -4, 16} {
		port := uint16(30000)
		var given []uint16
		for range 4 {
			port += uint16(step)
			given = append(given, port)
		}
		if got := portStep(given); got != step {
			t.Errorf("step %d: found %d", step, got)
		}
	}
}
