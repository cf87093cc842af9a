package portmap

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestARealRouterOpensAPortInEachProtocolUntilTheEnd(t *testing.T) {
	for _, protocol := range []Protocol{PCP, NATPMP, UPnP} {
		t.Run(string(protocol), func(t *testing.T) {
			h := newHome(t)
			h.start()
			socket, port := h.socket()
			tcp := Port{TCP, 39000}
			m := h.run(Config{Ports: []Port{port, tcp}, Protocols: []Protocol{protocol}, Name: "test of <" + string(protocol) + ">"})

			s := m.becomes("both ports are open", func(s *State) bool { return len(s.Mappings) == 2 })
			external := s.External(port)
			if s.Mappings[0].Protocol != protocol || external.Addr() != netip.MustParseAddr(wan) ||
				s.Gateway != netip.MustParseAddr(gateway) || s.Problem != "" {
				t.Fatalf("published %+v", s)
			}
			if !h.redirects(external) || !h.redirects(s.External(tcp)) {
				t.Fatalf("the router does not forward %v", s.Mappings)
			}
			h.passes(external, socket)

			m.Recheck()
			h.until("the mapping is renewed", func() bool {
				return m.cfg.Published.State().Mappings[0].Expires.After(s.Mappings[0].Expires)
			})
			if again := m.cfg.Published.State().External(port); again != external {
				t.Fatalf("renewed as %v, was %v", again, external)
			}

			if took := m.end(); took > 10*time.Second { // it is bounded; how fast depends on the machine
				t.Errorf("the end took %v", took)
			}
			if h.redirects(external) || h.redirects(s.External(tcp)) {
				t.Fatal("the router forwards the ports still")
			}
			if s := m.cfg.Published.State(); isOpen(s) {
				t.Fatalf("published after the end: %+v", s)
			}
		})
	}
}

func TestPortsAreOpenAgainAfterARestartOfTheRouter(t *testing.T) {
	for _, protocol := range []Protocol{PCP, NATPMP, UPnP} {
		t.Run(string(protocol), func(t *testing.T) {
			h := newHome(t)
			h.start()
			socket, port := h.socket()
			m := h.run(Config{Ports: []Port{port}, Protocols: []Protocol{protocol}})
			external := m.becomes("the port is open", isOpen).External(port)
			h.stop()
			h.router.Run("nft flush chain inet home upnp_pre", "nft flush chain inet home upnp", "nft flush chain inet home upnp_post")
			h.start()
			// The announcement of the daemon is heard; nobody tells the mapper.
			h.until("the port is forwarded again", func() bool { return h.redirects(external) })
			if again := m.cfg.Published.State().External(port); again != external {
				t.Fatalf("open as %v, was %v", again, external)
			}
			h.passes(external, socket)
		})
	}
}

func TestARealRouterWithoutAnyProtocolIsNamed(t *testing.T) {
	h := newHome(t)
	_, port := h.socket()
	m := h.run(Config{Ports: []Port{port}})
	s := m.becomes("the problem is told", func(s *State) bool { return s.Problem != "" })
	if !strings.Contains(s.Problem, gateway+" does not answer to pcp, nat-pmp, upnp") {
		t.Fatalf("published %+v", s)
	}
}

func TestARealRouterBehindNATOpensNothing(t *testing.T) {
	for _, protocol := range []Protocol{PCP, NATPMP, UPnP} {
		t.Run(string(protocol), func(t *testing.T) {
			h := newHome(t)
			device := h.device(wan)
			h.router.Run("ip addr del "+wan+"/24 dev "+device, "ip addr add 100.64.3.2/24 dev "+device)
			h.configure(device)
			h.start()
			_, port := h.socket()
			m := h.run(Config{Ports: []Port{port}, Protocols: []Protocol{protocol}})
			s := m.becomes("the problem is told", func(s *State) bool { return s.Problem != "" })
			t.Log(s.Problem)
			if isOpen(s) || !strings.Contains(s.Problem, gateway) {
				t.Fatalf("published %+v", s)
			}
		})
	}
}

func TestARealChangeOfTheDefaultRouteIsFollowed(t *testing.T) {
	h := newHome(t)
	_, port := h.socket()
	m := h.run(Config{Ports: []Port{port}, Protocols: []Protocol{PCP, NATPMP}})
	m.becomes("the first router is named", func(s *State) bool { return strings.Contains(s.Problem, gateway) })
	h.router.Run("ip addr add 192.168.77.9/24 dev " + h.device(gateway))
	h.host.Run("ip route replace default via 192.168.77.9")
	m.becomes("the second router is named", func(s *State) bool { return strings.Contains(s.Problem, "192.168.77.9") })
	h.host.Run("ip route del default")
	m.becomes("no router is named", func(s *State) bool { return s.Problem == errNoGateway.Error() })
}

func TestDiscoveryTellsWhatTheRouterSpeaksAndOpensNothing(t *testing.T) {
	h := newHome(t)
	h.start()
	rules := func() string { return h.router.Run("nft list table inet home") }
	before := rules()
	var offers []Offer
	var gw Gateway
	var err error
	h.host.Do(func() { gw, offers, err = Discover(t.Context()) })
	if err != nil || gw.Address != netip.MustParseAddr(gateway) || len(offers) != 3 {
		t.Fatalf("gateway %+v, offers %+v, %v", gw, offers, err)
	}
	for _, o := range offers {
		// PCP tells the address only with a mapping.
		if o.Err != nil || o.Silent() || o.Protocol != PCP && o.External != netip.MustParseAddr(wan) {
			t.Errorf("%+v", o)
		}
	}
	if after := rules(); after != before {
		t.Errorf("it opened something:\n%s\nbefore:\n%s", after, before)
	}

	h.stop()
	h.host.Do(func() { _, offers, err = Discover(t.Context()) })
	for _, o := range offers {
		if !o.Silent() || o.External.IsValid() {
			t.Errorf("of a router that speaks nothing: %+v", o)
		}
	}
	h.host.Run("ip route del default")
	h.host.Do(func() { _, offers, err = Discover(t.Context()) })
	if err == nil || len(offers) != 0 {
		t.Errorf("without a router: %+v, %v", offers, err)
	}
}
