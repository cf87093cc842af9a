package nat

import (
	"net/netip"
	"slices"
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

func TestPredictions(t *testing.T) {
	step := func(n int) Behaviour { return Behaviour{Mapping: AddressAndPortDependent, Step: n} }
	for name, c := range map[string]struct {
		observed []string
		b        Behaviour
		n        int
		want     []string
	}{
		"nothing seen": {nil, step(1), 8, nil},
		"none wanted":  {[]string{"192.0.2.1:5"}, step(1), 0, nil},
		"cone":         {[]string{"192.0.2.1:4000", "192.0.2.1:4001"}, Behaviour{Mapping: EndpointIndependent}, 8, []string{"192.0.2.1:4001"}},
		"random":       {[]string{"192.0.2.1:4000", "192.0.2.1:9001"}, step(0), 8, []string{"192.0.2.1:9001"}},
		"by one": {[]string{"192.0.2.1:4000", "192.0.2.1:4001"}, step(1), 8,
			[]string{"192.0.2.1:4002", "192.0.2.1:4003", "192.0.2.1:4004", "192.0.2.1:4005", "192.0.2.1:4006", "192.0.2.1:4007", "192.0.2.1:4008", "192.0.2.1:4009"}},
		"downwards by two": {[]string{"192.0.2.1:4000"}, step(-2), 2, []string{"192.0.2.1:3998", "192.0.2.1:3996"}},
		"answers overtook each other": {[]string{"192.0.2.1:4001", "192.0.2.1:4002", "192.0.2.1:4000"}, step(1), 1,
			[]string{"192.0.2.1:4003"}},
		"an older try far away": {[]string{"192.0.2.1:60000", "192.0.2.1:4000"}, step(1), 1, []string{"192.0.2.1:4001"}},
		"around the end":        {[]string{"192.0.2.1:65534"}, step(1), 2, []string{"192.0.2.1:65535"}},
		"IPv6":                  {[]string{"[2001:db8::1]:4000"}, step(3), 1, []string{"[2001:db8::1]:4003"}},
	} {
		var observed, want []netip.AddrPort
		for _, s := range c.observed {
			observed = append(observed, at(s))
		}
		for _, s := range c.want {
			want = append(want, at(s))
		}
		if got := Predict(observed, c.b, c.n); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestPredictionsHitEveryStep(t *testing.T) {
	for _, step := range []int{1, 2, 3, -1, -4, 16} {
		port := uint16(30000)
		var observed []netip.AddrPort
		var given []uint16
		for range 4 {
			port += uint16(step)
			given = append(given, port)
			observed = append(observed, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port))
		}
		b := Behaviour{Mapping: AddressAndPortDependent, Step: portStep(given)}
		next := Predict(observed, b, MaxPredictions)
		if b.Step != step || len(next) != MaxPredictions || next[0].Port() != port+uint16(step) {
			t.Errorf("step %d: found %d, predicted %v", step, b.Step, next)
		}
	}
}
