package config

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/peerlink/fec"
	"github.com/openbmx/lightweight-tunnel/routes"
)

// Largest groups: what is taken here is what goes onto the wire.
const (
	maxFECData   = fec.MaxData
	maxFECParity = fec.MaxParity
)

const minMemory = 8 << 20 // bytes: below this not even one train per direction fits

// one returns the single value that a field without a list takes.
func one(v []string) string {
	if len(v) == 0 {
		return ""
	}
	return v[len(v)-1]
}

// number makes the setter of a whole number between least and most.
func number(least, most int, at func(*Config) *int) func(*Config, []string) error {
	return func(c *Config, v []string) error {
		n, err := strconv.Atoi(one(v))
		if err != nil || n < least || n > most {
			return fmt.Errorf("%s: want a whole number from %d to %d", shown(one(v)), least, most)
		}
		*at(c) = n
		return nil
	}
}

// seconds makes the setter of a time given in seconds, at least as many as least says.
func seconds(least int, most time.Duration, at func(*Config) *time.Duration) func(*Config, []string) error {
	return duration(least, int(most/time.Second), time.Second, "seconds", at)
}

func milliseconds(least, most int, at func(*Config) *time.Duration) func(*Config, []string) error {
	return duration(least, most, time.Millisecond, "milliseconds", at)
}

func duration(least, most int, unit time.Duration, units string, at func(*Config) *time.Duration) func(*Config, []string) error {
	return func(c *Config, v []string) error {
		n, err := strconv.Atoi(one(v))
		if err != nil || n < least || n > most {
			return fmt.Errorf("%s: want a whole number of %s from %d to %d", shown(one(v)), units, least, most)
		}
		*at(c) = time.Duration(n) * unit
		return nil
	}
}

func toggle(at func(*Config) *bool) func(*Config, []string) error {
	return func(c *Config, v []string) error {
		b, err := strconv.ParseBool(one(v))
		if err != nil {
			return fmt.Errorf("%s: want true or false", shown(one(v)))
		}
		*at(c) = b
		return nil
	}
}

func choice(at func(*Config) *string, allowed ...string) func(*Config, []string) error {
	return func(c *Config, v []string) error {
		if !slices.Contains(allowed, one(v)) {
			return fmt.Errorf("%s: want one of %s", shown(one(v)), strings.Join(allowed, ", "))
		}
		*at(c) = one(v)
		return nil
	}
}

func setMode(c *Config, v []string) error {
	switch m := Mode(one(v)); m {
	case Server, Client:
		c.Mode = m
		return nil
	}
	return fmt.Errorf("%s: want server or client", shown(one(v)))
}

func setListen(c *Config, v []string) error {
	var all []netip.AddrPort
	for _, s := range split(v) {
		if port, ok := strings.CutPrefix(s, ":"); ok {
			s = "0.0.0.0:" + port
			v6, err := netip.ParseAddrPort("[::]:" + port)
			if err == nil {
				all = append(all, v6)
			}
		}
		a, err := netip.ParseAddrPort(s)
		if err != nil || a.Port() == 0 {
			return fmt.Errorf("%s: want ADDR:PORT with a numeric address and a port from 1 to 65535, such as 0.0.0.0:9000 or [::]:9000", shown(s))
		}
		all = append(all, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	}
	c.Listen = all
	return nil
}

func setSeeds(c *Config, v []string) error {
	all, err := hostPorts(split(v))
	if err == nil {
		c.Seeds = all
	}
	return err
}

func setSTUN(c *Config, v []string) error {
	if one(v) == "none" && len(v) == 1 {
		c.STUN, c.STUNOff = nil, true
		return nil
	}
	all, err := hostPorts(split(v))
	if err != nil {
		return fmt.Errorf("%w, or none", err)
	}
	c.STUN, c.STUNOff = all, false
	return nil
}

func hostPorts(v []string) ([]string, error) {
	var all []string
	for _, s := range v {
		host, port, err := net.SplitHostPort(s)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err != nil || perr != nil || n == 0 || !isHost(host) {
			return nil, fmt.Errorf("%s: want HOST:PORT with a port from 1 to 65535, such as vpn.example.org:9000 or [2001:db8::1]:9000", shown(s))
		}
		if host == placeholderHost {
			return nil, fmt.Errorf("%s: put the name or address of your server in place of %s", shown(s), placeholderHost)
		}
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all, nil
}

func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	if s == "" || len(s) > 253 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_') {
			return false
		}
	}
	return true
}

func setAddresses(c *Config, v []string) error {
	var all []netip.Prefix
	for _, s := range split(v) {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("%s: want an address with its prefix length, such as 10.0.0.2/24 or fd00::2/64", shown(s))
		}
		a := p.Addr()
		switch {
		case a.Is4In6():
			return fmt.Errorf("%s: write the IPv4 address plainly", shown(s))
		case a.IsUnspecified() || a.IsLoopback() || a.IsMulticast():
			return fmt.Errorf("%s: not an address that a node can have", shown(s))
		case p.Bits() < a.BitLen()-1 && a == p.Masked().Addr():
			return fmt.Errorf("%s: this is the network itself; give this node an address in it, such as %s/%d", shown(s), a.Next(), p.Bits())
		case a.Is4() && p.Bits() < 31 && a == lastOf(p):
			return fmt.Errorf("%s: this is the broadcast address of the network; give this node another one", shown(s))
		case slices.Contains(all, p):
			return fmt.Errorf("%s: given twice", shown(s))
		}
		all = append(all, p)
	}
	if len(all) > message.MaxAddresses {
		return fmt.Errorf("%d addresses: at most %d", len(all), message.MaxAddresses)
	}
	c.Addresses = all
	return nil
}

// lastOf is the highest address of an IPv4 prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

func setRoutes(c *Config, v []string) error {
	all, err := prefixes(split(v))
	if err != nil {
		return err
	}
	if len(all) > message.MaxRoutes {
		return fmt.Errorf("%d routes: at most %d", len(all), message.MaxRoutes)
	}
	c.Routes = all
	return nil
}

func setAcceptRoutes(c *Config, v []string) (err error) {
	c.AcceptRoutes, err = routes.ParsePolicy(strings.Join(v, ","))
	return err
}

func prefixes(v []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range v {
		p, err := netip.ParsePrefix(s)
		if err != nil || p.Addr().Is4In6() {
			return nil, fmt.Errorf("%s: want a network such as 192.168.5.0/24", shown(s))
		}
		if p != p.Masked() {
			return nil, fmt.Errorf("%s: bits are set behind the prefix length; want the network %s", shown(s), p.Masked())
		}
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all, nil
}

func setName(c *Config, v []string) error {
	if err := message.CheckName(one(v)); err != nil {
		return err
	}
	c.Name = one(v)
	return nil
}

func setInterface(c *Config, v []string) error {
	s := one(v)
	bad := s == "." || s == ".." || len(s) > 15
	for i := range len(s) {
		bad = bad || s[i] <= ' ' || s[i] > '~' || s[i] == '/' || s[i] == ':' || s[i] == '%'
	}
	if bad {
		return fmt.Errorf("%s: want 1 to 15 printable characters without space, slash, colon or percent, such as tun0", shown(s))
	}
	c.Interface, c.InterfaceAsked = s, true
	return nil
}

func setMTU(c *Config, v []string) error {
	n, err := strconv.Atoi(one(v))
	if err != nil || n != 0 && (n < 500 || n > 9000) {
		return fmt.Errorf("%s: want 0 (discover) or a whole number from 500 to 9000", shown(one(v)))
	}
	c.MTU = n
	return nil
}

func setFEC(c *Config, v []string) error {
	s := one(v)
	switch s {
	case "auto", "off":
		c.FEC.Mode = FECMode(s)
		return nil
	}
	d, p, ok := strings.Cut(s, "+")
	data, derr := strconv.Atoi(d)
	parity, perr := strconv.Atoi(p)
	if !ok || derr != nil || perr != nil || data < 1 || data > maxFECData || parity < 1 || parity > maxFECParity {
		return fmt.Errorf("%s: want auto, off, or D+P with D from 1 to %d and P from 1 to %d, such as 20+4", shown(s), maxFECData, maxFECParity)
	}
	c.FEC = FEC{Mode: FECFixed, Data: data, Parity: parity}
	return nil
}

func setMemory(c *Config, v []string) error {
	s := one(v)
	digits, shift := s, 0
	if n := len(s); n > 0 {
		switch s[n-1] {
		case 'K', 'k':
			digits, shift = s[:n-1], 10
		case 'M', 'm':
			digits, shift = s[:n-1], 20
		case 'G', 'g':
			digits, shift = s[:n-1], 30
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<40>>shift || n != 0 && n<<shift < minMemory {
		return fmt.Errorf("%s: want 0 (no ceiling) or at least %dM, with K, M or G, such as 40M", shown(s), minMemory>>20)
	}
	c.Memory = n << shift
	return nil
}

func setMetrics(c *Config, v []string) error {
	s := one(v)
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Port() == 0 {
		return fmt.Errorf("%s: want ADDR:PORT with a numeric address, such as 127.0.0.1:9100", shown(s))
	}
	c.Metrics = s
	return nil
}

func setStateDir(c *Config, v []string) error {
	abs, err := filepath.Abs(one(v))
	if err != nil {
		return fmt.Errorf("find the directory: %w", err)
	}
	c.StateDir = abs
	return nil
}

// setKey and setKeyFile only have to be there: [resolveKey] decides which of
// the sources counts.
func setKey(*Config, []string) error     { return nil }
func setKeyFile(*Config, []string) error { return nil }

// split takes comma-separated lists apart and drops empty pieces.
func split(v []string) []string {
	var all []string
	for _, s := range v {
		for piece := range strings.SplitSeq(s, ",") {
			if piece = strings.TrimSpace(piece); piece != "" {
				all = append(all, piece)
			}
		}
	}
	return all
}

// shown quotes a value for an error, shortened if somebody pasted a novel.
func shown(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strconv.Quote(s)
}
