package routes

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Policy says which of the prefixes that other nodes announce this node uses.
// The zero value accepts none. It is immutable and compared with Equal.
type Policy struct {
	all  bool
	list []netip.Prefix // sorted, masked, without repetition
}

// AcceptAll is the default policy.
var AcceptAll = Policy{all: true}

// ParsePolicy reads what the user gives to -accept-routes: "all", "none", or
// prefixes separated by commas. A listed prefix accepts itself and all within
// it. "all,0.0.0.0/0" accepts everything and names the default route besides.
func ParsePolicy(text string) (Policy, error) {
	var p Policy
	none := false
	for field := range strings.SplitSeq(text, ",") {
		switch field = strings.TrimSpace(field); field {
		case "all":
			p.all = true
		case "none":
			none = true
		default:
			prefix, err := parsePrefix(field)
			if err != nil {
				return Policy{}, fmt.Errorf("accept-routes: %w", err)
			}
			p.list = append(p.list, prefix)
		}
	}
	if none && (p.all || len(p.list) > 0) {
		return Policy{}, errors.New(`accept-routes: "none" must stand alone`)
	}
	slices.SortFunc(p.list, netip.Prefix.Compare)
	p.list = slices.Compact(p.list)
	return p, nil
}

// parsePrefix insists on the form that a user can compare with `ip route`.
func parsePrefix(text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, errors.New(`empty entry: want "all", "none" or prefixes such as 192.168.1.0/24`)
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
			return netip.Prefix{}, fmt.Errorf("%q has no prefix length: did you mean %s/%d?", text, text, a.BitLen())
		}
		return netip.Prefix{}, fmt.Errorf(`%q: want "all", "none" or prefixes such as 192.168.1.0/24`, text)
	}
	switch {
	case p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q: write the IPv4 prefix itself", text)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits set behind its length: did you mean %s?", text, p.Masked())
	}
	return p, nil
}

// Accepts says whether p, masked, may be used at all.
func (a Policy) Accepts(p netip.Prefix) bool {
	return a.all || slices.ContainsFunc(a.list, func(entry netip.Prefix) bool { return covers(entry, p) })
}

// Names says whether the user wrote exactly p.
func (a Policy) Names(p netip.Prefix) bool { return slices.Contains(a.list, p) }

// Equal compares what two policies accept.
func (a Policy) Equal(b Policy) bool { return a.all == b.all && slices.Equal(a.list, b.list) }

// String is what ParsePolicy reads.
func (a Policy) String() string {
	var fields []string
	if a.all {
		fields = append(fields, "all")
	}
	for _, p := range a.list {
		fields = append(fields, p.String())
	}
	if fields == nil {
		return "none"
	}
	return strings.Join(fields, ",")
}

// covers says whether all of inner lies in outer.
func covers(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}
