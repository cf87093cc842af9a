package nat

import (
	"testing"
)

var behaviours = map[string]struct {
	b    Behaviour
	word string
	text string
}{
	"nothing known":      {Behaviour{}, "unknown", ""},
	"on the internet":    {Behaviour{Mapping: Direct, Filtering: EndpointIndependent}, "none", "none/e"},
	"not tried":          {Behaviour{Mapping: Direct}, "none", "none"},
	"firewall":           {Behaviour{Mapping: Direct, Filtering: AddressAndPortDependent}, "firewall", "firewall/d"},
	"firewall, open":     {Behaviour{Mapping: Direct, Filtering: AddressAndPortDependent, Open: true}, "none", "none/do"},
	"forwarded port":     {Behaviour{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Open: true}, "port-restricted", "port-restricted/do"},
	"full cone":          {Behaviour{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Hairpin: true}, "cone", "cone/eh"},
	"cone, filter ?":     {Behaviour{Mapping: EndpointIndependent}, "cone", "cone"},
	"restricted":         {Behaviour{Mapping: EndpointIndependent, Filtering: AddressDependent}, "restricted", "restricted/a"},
	"home router":        {Behaviour{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Preserves: true}, "port-restricted", "port-restricted/dp"},
	"symmetric, random":  {Behaviour{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent}, "symm", "symm/d"},
	"symmetric, step":    {Behaviour{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Step: 1}, "symm+1", "symm+1/d"},
	"symmetric, down":    {Behaviour{Mapping: AddressDependent, Filtering: AddressDependent, Step: -2}, "symm-2", "symm-2/ma"},
	"only filter known":  {Behaviour{Filtering: AddressDependent}, "unknown", "unknown/a"},
	"symmetric, filter?": {Behaviour{Mapping: AddressAndPortDependent}, "symm", "symm"},
}

func TestBehavioursHaveAWordAndAText(t *testing.T) {
	for name, c := range behaviours {
		if got := c.b.String(); got != c.word {
			t.Errorf("%s: word %q, want %q", name, got, c.word)
		}
		if got := c.b.Text(); got != c.text {
			t.Errorf("%s: text %q, want %q", name, got, c.text)
		}
		if got := Parse(c.text); got != c.b {
			t.Errorf("%s: %q became %+v, want %+v", name, c.text, got, c.b)
		}
	}
}

func TestBareWordsAreUnderstood(t *testing.T) {
	for word, want := range map[string]Behaviour{
		"port-restricted": {Mapping: EndpointIndependent, Filtering: AddressAndPortDependent},
		"restricted":      {Mapping: EndpointIndependent, Filtering: AddressDependent},
		"firewall":        {Mapping: Direct, Filtering: AddressAndPortDependent},
		"cone/zq":         {Mapping: EndpointIndependent}, // said by a later version
	} {
		if got := Parse(word); got != want {
			t.Errorf("%s: got %+v", word, got)
		}
	}
}

func TestWhatIsNoBehaviourIsAnError(t *testing.T) {
	for _, text := range []string{"x", "symm+0", "symm+", "symm1", "symm+99999", "symm+01", "symmetric", "/", " none", "none "} {
		var b Behaviour
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %+v", text, b)
		}
		if b != (Behaviour{}) || Parse(text) != (Behaviour{}) {
			t.Errorf("%q leaves %+v", text, b)
		}
	}
}

func FuzzBehaviour(f *testing.F) {
	for _, c := range behaviours {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := Parse(text)
		again := b.Text()
		if len(again) > 32 {
			t.Fatalf("%q is too long for an advert", again)
		}
		if got := Parse(again); got != b {
			t.Fatalf("%q became %+v, and %q of that %+v", text, b, again, got)
		}
	})
}

func TestWhoIsReachable(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "none": true, "none/e": true, "firewall/d": false, "none/do": true, "firewall/a": false, "cone": false, "cone/e": true,
		"restricted/a": false, "port-restricted/d": false, "port-restricted/do": true, "symm/d": false, "symm/do": false, "unknown/a": false,
	} {
		if got := Parse(text); got.Reachable() != want {
			t.Errorf("%q: reachable is %v", text, !want)
		}
	}
}
