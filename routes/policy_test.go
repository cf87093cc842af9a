package routes

import (
	"net/netip"
	"strings"
	"testing"
)

func TestPolicyAcceptsWhatTheUserWrote(t *testing.T) {
	for _, c := range []struct {
		text, prefix    string
		accepted, named bool
	}{
		{"all", "192.168.1.0/24", true, false},
		{"all", "0.0.0.0/0", true, false},
		{"none", "192.168.1.0/24", false, false},
		{"192.168.0.0/16", "192.168.1.0/24", true, false},
		{"192.168.0.0/16", "192.168.0.0/16", true, true},
		{"192.168.0.0/16", "192.0.0.0/8", false, false},
		{"192.168.0.0/16", "10.0.0.0/8", false, false},
		{"10.0.0.0/8, fd00:1::/32", "fd00:1:2::/48", true, false},
		{"10.0.0.0/8", "::/0", false, false},
		{"all,0.0.0.0/0", "0.0.0.0/0", true, true},
		{"all,0.0.0.0/0", "::/0", true, false},
		{"0.0.0.0/0", "192.168.1.0/24", true, false},
	} {
		p, err := ParsePolicy(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		prefix := netip.MustParsePrefix(c.prefix)
		if p.Accepts(prefix) != c.accepted || p.Names(prefix) != c.named {
			t.Errorf("%q on %s: accepts %v, names %v", c.text, prefix, p.Accepts(prefix), p.Names(prefix))
		}
	}
}

func TestPolicyRefusesWhatItCannotMean(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "empty entry",
		"all,":                "empty entry",
		"everything":          `want "all", "none"`,
		"10.0.0.1":            "did you mean 10.0.0.1/32?",
		"fd00::1":             "did you mean fd00::1/128?",
		"10.0.0.1/8":          "did you mean 10.0.0.0/8?",
		"::ffff:10.0.0.0/104": "IPv4 prefix itself",
		"none,10.0.0.0/8":     "must stand alone",
		"all,none":            "must stand alone",
		"10.0.0.0/33":         `"10.0.0.0/33"`,
	} {
		if _, err := ParsePolicy(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	for _, s := range []string{"all", "none", "10.0.0.0/8,192.168.1.0/24", "all,0.0.0.0/0,::/0", " fd00::/8 ", "10.0.0.1/8", ",", "::ffff:1.2.3.4/128", "fe80::%1/64"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePolicy(text)
		if err != nil {
			return
		}
		again, err := ParsePolicy(p.String())
		if err != nil || !again.Equal(p) {
			t.Fatalf("%q prints as %q, which reads as %q, %v", text, p, again, err)
		}
	})
}
