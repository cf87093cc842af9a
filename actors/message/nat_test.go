package message

import "testing"

var nats = map[string]struct {
	b    NAT
	word string
	text string
}{
	"nothing known":      {NAT{}, "unknown", ""},
	"on the internet":    {NAT{Mapping: Direct, Filtering: EndpointIndependent}, "none", "none/e"},
	"not tried":          {NAT{Mapping: Direct}, "none", "none"},
	"firewall":           {NAT{Mapping: Direct, Filtering: AddressAndPortDependent}, "firewall", "firewall/d"},
	"firewall, open":     {NAT{Mapping: Direct, Filtering: AddressAndPortDependent, Open: true}, "none", "none/do"},
	"forwarded port":     {NAT{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Open: true}, "port-restricted", "port-restricted/do"},
	"full cone":          {NAT{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Hairpin: true}, "cone", "cone/eh"},
	"cone, filter ?":     {NAT{Mapping: EndpointIndependent}, "cone", "cone"},
	"restricted":         {NAT{Mapping: EndpointIndependent, Filtering: AddressDependent}, "restricted", "restricted/a"},
	"home router":        {NAT{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Preserves: true}, "port-restricted", "port-restricted/dp"},
	"symmetric, random":  {NAT{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent}, "symm", "symm/d"},
	"symmetric, step":    {NAT{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Step: 1}, "symm+1", "symm+1/d"},
	"symmetric, down":    {NAT{Mapping: AddressDependent, Filtering: AddressDependent, Step: -2}, "symm-2", "symm-2/ma"},
	"only filter known":  {NAT{Filtering: AddressDependent}, "unknown", "unknown/a"},
	"symmetric, filter?": {NAT{Mapping: AddressAndPortDependent}, "symm", "symm"},
}

func TestNATsHaveAWordAndAText(t *testing.T) {
	for name, c := range nats {
		if got := c.b.String(); got != c.word {
			t.Errorf("%s: word %q, want %q", name, got, c.word)
		}
		if got := c.b.Text(); got != c.text {
			t.Errorf("%s: text %q, want %q", name, got, c.text)
		}
		if got := ParseNAT(c.text); got != c.b {
			t.Errorf("%s: %q became %+v, want %+v", name, c.text, got, c.b)
		}
	}
}

func TestBareWordsForNATsAreUnderstood(t *testing.T) {
	for word, want := range map[string]NAT{
		"port-restricted": {Mapping: EndpointIndependent, Filtering: AddressAndPortDependent},
		"restricted":      {Mapping: EndpointIndependent, Filtering: AddressDependent},
		"firewall":        {Mapping: Direct, Filtering: AddressAndPortDependent},
		"cone/zq":         {Mapping: EndpointIndependent}, // said by a later version
	} {
		if got := ParseNAT(word); got != want {
			t.Errorf("%s: got %+v", word, got)
		}
	}
}

func TestWhatIsNoNATIsAnError(t *testing.T) {
	for _, text := range []string{"x", "symm+0", "symm+", "symm1", "symm+99999", "symm+01", "symmetric", "/", " none", "none "} {
		var b NAT
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %+v", text, b)
		}
		if b != (NAT{}) || ParseNAT(text) != (NAT{}) {
			t.Errorf("%q leaves %+v", text, b)
		}
	}
}

func FuzzNAT(f *testing.F) {
	for _, c := range nats {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := ParseNAT(text)
		again := b.Text()
		if len(again) > 32 {
			t.Fatalf("%q is too long for an advert", again)
		}
		if got := ParseNAT(again); got != b {
			t.Fatalf("%q became %+v, and %q of that %+v", text, b, again, got)
		}
	})
}

func TestWhoIsReachable(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "none": true, "none/e": true, "firewall/d": false, "none/do": true, "firewall/a": false, "cone": false, "cone/e": true,
		"restricted/a": false, "port-restricted/d": false, "port-restricted/do": true, "symm/d": false, "symm/do": false, "unknown/a": false,
	} {
		if got := ParseNAT(text); got.Reachable() != want {
			t.Errorf("%q: reachable is %v", text, !want)
		}
	}
}
