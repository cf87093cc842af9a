package config

import (
	"net"
	"net/netip"
	"strings"
)

// validate checks what no field can know alone. general is the place to name
// when something is missing altogether.
func (c *Config) validate(found []setting, general string) (ps Problems) {
	// at names the place of a field for the reader: where it was given, or in general.
	at := func(field string) (where, label string) {
		if s, ok := given(found, field); ok {
			return s.where, s.label()
		}
		f, _ := fieldNamed(field)
		if strings.HasPrefix(general, "command") && f.Flag() != "" {
			return general, f.Flag()
		}
		return general, field
	}
	add := func(field, format string, args ...any) {
		where, label := at(field)
		ps.add(where, label, format, args...)
	}
	c.validateMode(found, add)
	if !c.IsSet("addresses") && len(c.Addresses) == 0 {
		add("addresses", "this node has no address inside the mesh; give one, such as 10.0.0.2/24")
	}
	c.validateFEC(found, add)
	if c.MTU != 0 && c.MTU < 1280 && hasIPv6(c.Addresses) {
		add("mtu", "%d is too small for IPv6, which needs at least 1280; enlarge it or give no IPv6 address", c.MTU)
	}
	if c.Timeout <= c.Keepalive {
		field := "timeout"
		if !c.IsSet(field) {
			field = "keepalive"
		}
		add(field, "a link would be given up (timeout %d s) before it had to show a sign of life (keepalive %d s); want timeout larger than keepalive",
			int(c.Timeout.Seconds()), int(c.Keepalive.Seconds()))
	}
	for _, s := range c.Seeds {
		if in, inside := overlayOf(s, c.Addresses); inside {
			add("seeds", "%s lies inside the mesh's own network %s; give the seed's address outside the tunnel", s, in)
		}
	}
	if c.STUNOff && c.IsSet("enable_nat_detection") && c.NATDetection {
		add("stun", "none contradicts enable_nat_detection; leave one of them out")
	}
	return ps
}

func (c *Config) validateMode(found []setting, add func(field, format string, args ...any)) {
	listens, joins := c.IsSet("listen") || len(c.Listen) > 0, c.IsSet("seeds") || len(c.Seeds) > 0
	switch c.Mode {
	case Server:
		if !listens {
			add("listen", "mode server needs an address to listen on, such as 0.0.0.0:9000")
		}
		if joins {
			add("seeds", "contradicts mode server, which is the first seed; leave mode out to run a node that both listens and joins")
		}
	case Client:
		if !joins {
			add("seeds", "mode client needs a seed to join through, such as vpn.example.org:9000")
		}
	default:
		if !listens && !joins && !c.IsSet("mode") {
			add("seeds", "this node neither joins nor listens; give --seed HOST:PORT to join a mesh, or --listen ADDR:PORT to start one")
		}
	}
	for _, s := range found {
		// A file written by the predecessor names server fields for clients too,
		// with their defaults: that changes nothing and is no contradiction.
		if !s.field.serverOnly || !s.flag && sameAsDefault(s) {
			continue
		}
		if c.Mode == Client {
			add(s.field.Name, "contradicts mode client: it is for servers; leave it out")
		} else if c.Mode == "" && !listens && joins {
			add(s.field.Name, "has no meaning for a node that takes no others; leave it out or give --listen")
		}
	}
	if c.Mode == "" && !c.IsSet("mode") {
		if c.Mode = Client; !joins {
			c.Mode = Server
		}
	}
}

func sameAsDefault(s setting) bool {
	plain, changed := Default(), Default()
	if s.field.set(&changed, s.values) != nil {
		return false
	}
	return plain.MultiClient == changed.MultiClient && plain.MaxClients == changed.MaxClients &&
		plain.Isolation == changed.Isolation && plain.KeyRotation == changed.KeyRotation
}

// validateFEC makes one code rate of the three fields that speak of it.
func (c *Config) validateFEC(found []setting, add func(field, format string, args ...any)) {
	code, hasCode := given(found, "fec")
	for _, name := range []string{"fec_data", "fec_parity"} {
		s, ok := given(found, name)
		switch {
		case !ok:
		case !hasCode:
			c.FEC.Mode = FECFixed
		case s.flag && !code.flag:
			c.FEC.Mode = FECFixed // the command line overrides what the file says
		case code.flag && !s.flag:
			_ = setFEC(c, code.values)
		default:
			add(name, "contradicts fec %s; give the rate once, such as fec 20+4", one(code.values))
		}
	}
}

func hasIPv6(ps []netip.Prefix) bool {
	for _, p := range ps {
		if p.Addr().Is6() {
			return true
		}
	}
	return false
}

// overlayOf finds the overlay network in which a seed given by address lies.
func overlayOf(seed string, overlays []netip.Prefix) (netip.Prefix, bool) {
	host, _, err := net.SplitHostPort(seed)
	if err != nil {
		return netip.Prefix{}, false
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}, false
	}
	for _, p := range overlays {
		if p.Contains(a) {
			return p.Masked(), true
		}
	}
	return netip.Prefix{}, false
}
