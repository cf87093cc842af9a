package nat

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

var kinds = map[string]struct {
	router *router
	want   Behaviour
}{
	"none":     {nil, Behaviour{Mapping: Direct, Filtering: EndpointIndependent, Open: true}},
	"firewall": {&router{mapping: Direct, filtering: AddressAndPortDependent}, Behaviour{Mapping: Direct, Filtering: AddressAndPortDependent}},
	"firewall, the port is open": {&router{mapping: Direct, filtering: AddressAndPortDependent, forwarded: 9000},
		Behaviour{Mapping: Direct, Filtering: AddressAndPortDependent, Open: true}},
	"home router, the port is forwarded": {&router{mapping: EndpointIndependent, filtering: AddressAndPortDependent, preserves: true, forwarded: 9000},
		Behaviour{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Preserves: true, Open: true}},
	"full cone": {&router{mapping: EndpointIndependent, filtering: EndpointIndependent},
		Behaviour{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Open: true}},
	"full cone, hairpin": {&router{mapping: EndpointIndependent, filtering: EndpointIndependent, hairpin: true},
		Behaviour{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Hairpin: true, Open: true}},
	"restricted": {&router{mapping: EndpointIndependent, filtering: AddressDependent},
		Behaviour{Mapping: EndpointIndependent, Filtering: AddressDependent}},
	"port-restricted": {&router{mapping: EndpointIndependent, filtering: AddressAndPortDependent, preserves: true},
		Behaviour{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Preserves: true}},
	"address-dependent, step": {&router{mapping: AddressDependent, filtering: AddressDependent, step: 1},
		Behaviour{Mapping: AddressDependent, Filtering: AddressDependent, Step: 1}},
	"symmetric, step 1": {&router{mapping: AddressAndPortDependent, filtering: AddressAndPortDependent, step: 1},
		Behaviour{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Step: 1}},
	"symmetric, step -4": {&router{mapping: AddressAndPortDependent, filtering: AddressAndPortDependent, step: -4},
		Behaviour{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Step: -4}},
	"symmetric, random": {&router{mapping: AddressAndPortDependent, filtering: AddressAndPortDependent},
		Behaviour{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent}},
}

// homeOf gives a site's host: behind the router, or on the internet.
func (w *world) homeOf(r *router) *host {
	switch {
	case r == nil:
		return w.host("198.51.100.50", nil)
	case r.mapping == Direct:
		return w.host("198.51.100.50", w.router(*r))
	}
	return w.host("192.168.1.2", w.router(*r))
}

// surveyed says that a survey has come to its end.
func (s *site) surveyed() {
	s.w.t.Helper()
	pass(30 * time.Second)
	if r := s.p.Report(); r.When.IsZero() || len(r.Problems) > 0 {
		s.w.t.Fatalf("survey failed: %+v", *r)
	}
}

func TestEveryKindOfNATIsFoundOutByNodesOfTheMesh(t *testing.T) {
	for name, c := range kinds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				servers := w.mesh(3)
				s := w.site(w.homeOf(c.router), func(c *Config) { c.Servers = func() []Server { return servers } })
				quick := s.learns(time.Second, "mapped endpoint and mapping", func(r *Report) bool {
					return r.Mapped4.IsValid() && r.Behaviour.Mapping == c.want.Mapping
				})
				// Two round trips of 40 ms to servers that answer, and one more for the filter.
				if quick > 150*time.Millisecond {
					t.Errorf("mapping known after %v", quick)
				}
				s.surveyed()
				r := s.p.Report()
				if r.Behaviour != c.want {
					t.Errorf("got %+v, want %+v", r.Behaviour, c.want)
				}
				if c.router == nil {
					return
				}
				data := s.router.byPort[r.Mapped4.Port()]
				if data == nil || data.inside != s.endpoint() {
					t.Errorf("%s is not how the data socket is seen", r.Mapped4)
				}
				if s.open() != 0 {
					t.Errorf("%d sockets are left open", s.open())
				}
			})
		})
	}
}

// What a search for direct paths does with a report: a fresh socket asks how it is
// seen, and the ports that the router will give to its next destinations lie steps
// away from there.
func TestTheStepLeadsToThePortsThatTheRouterGivesNext(t *testing.T) {
	for name, c := range kinds {
		if c.want.Step == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				servers := w.mesh(3)
				s := w.site(w.homeOf(c.router), func(c *Config) { c.Servers = func() []Server { return servers } })
				s.surveyed()
				sockets, err := s.Sockets(1, false)
				if err != nil {
					t.Fatal(err)
				}
				path, err := s.Through(sockets[0], servers[0].Addr)
				if err != nil {
					t.Fatal(err)
				}
				answers := make(chan Answer, 1)
				if !s.p.Ask(path, func(a Answer) { answers <- a }) {
					t.Fatal("no room for a question")
				}
				seen := <-answers
				if seen.Err != nil {
					t.Fatal(seen.Err)
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				for i := range 3 {
					next := at(fmt.Sprintf("192.0.2.%d:7", i+1))
					given := s.router.out(w, path.Local(), next)
					foreseen := seen.Mapped.Port() + uint16((i+1)*s.p.Report().Behaviour.Step)
					if want := netip.AddrPortFrom(seen.Mapped.Addr(), foreseen); given != want {
						t.Errorf("destination %d: the router gives %s, foreseen was %s", i+1, given, want)
					}
				}
			})
		})
	}
}

func TestOneSeedAloneTellsTheMappingByItsSecondPort(t *testing.T) {
	for name, c := range kinds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				servers := w.mesh(1)
				s := w.site(w.homeOf(c.router), func(c *Config) { c.Servers = func() []Server { return servers } })
				s.surveyed()
				want := c.want
				if want.Filtering == EndpointIndependent && want.Mapping != Direct {
					want.Filtering = AddressDependent // or better: nobody else was there to try
				}
				if want.Mapping == AddressDependent {
					want.Mapping, want.Step = EndpointIndependent, 0
				}
				if got := s.p.Report().Behaviour; got.Mapping != want.Mapping || got.Filtering != want.Filtering || got.Step != want.Step {
					t.Errorf("got %+v, want %+v", got, want)
				}
			})
		})
	}
}

func TestPublicServersAreAskedWhereTheMeshHasNone(t *testing.T) {
	for name, c := range kinds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.serve("192.0.2.1:3478", "192.0.2.1:3479", "192.0.2.2:3478", "192.0.2.2:3479")
				w.serve("192.0.2.9:3478")
				s := w.site(w.homeOf(c.router), func(c *Config) {
					c.Public = []string{"full.example:3478", "plain.example:3478"}
					c.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
						if host == "full.example" {
							return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
						}
						return []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.9")}, nil
					}
				})
				s.surveyed()
				want := c.want
				want.Hairpin = c.want.Hairpin
				if got := s.p.Report().Behaviour; got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			})
		})
	}
}

func TestServersThatCanOnlyAnswerLeaveTheFilterUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("192.0.2.1:3478")
		w.serve("192.0.2.2:3478")
		s := w.site(w.homeOf(kinds["port-restricted"].router), func(c *Config) {
			c.Public = []string{"192.0.2.1:3478", "192.0.2.2:3478"}
			c.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr(host)}, nil
			}
		})
		s.surveyed()
		if got := s.p.Report().Behaviour; got != (Behaviour{Mapping: EndpointIndependent, Preserves: true}) {
			t.Errorf("got %+v", got)
		}
	})
}

func TestLossesDoNotChangeWhatIsFound(t *testing.T) {
	for _, name := range []string{"port-restricted", "symmetric, step 1", "symmetric, random", "none"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := kinds[name]
				w := newWorld(t)
				servers := w.mesh(4)
				w.loss = 0.2
				s := w.site(w.homeOf(c.router), func(c *Config) { c.Servers = func() []Server { return servers } })
				pass(30 * time.Second)
				if got := s.p.Report().Behaviour; got.Mapping != c.want.Mapping || got.Step != c.want.Step || got.Filtering != c.want.Filtering {
					t.Errorf("got %+v, want %+v", got, c.want)
				}
			})
		})
	}
}

func TestWithoutFreshSocketsTheDataSocketShowsTheMapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		servers := w.mesh(3)
		h := w.homeOf(kinds["port-restricted"].router)
		h.broken = true
		s := w.site(h, func(c *Config) { c.Servers = func() []Server { return servers } })
		s.surveyed()
		if got := s.p.Report(); got.Behaviour != (Behaviour{Mapping: EndpointIndependent, Preserves: true}) || got.Mapped4 != at("198.51.100.7:9000") {
			t.Errorf("got %+v", got)
		}
	})
}

func TestTheReportHasTheCandidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		servers := w.mesh(2)
		forwarded := Candidate{Addr: at("198.51.100.7:7777"), Kind: message.PortMapped, Transport: packet.RawTCP}
		s := w.site(w.homeOf(kinds["port-restricted"].router), func(c *Config) {
			c.Servers = func() []Server { return servers }
			c.TCPPort = 443
			c.PortMaps = func() []Candidate { return []Candidate{forwarded} }
		})
		s.surveyed()
		want := []Candidate{
			{Addr: at("192.168.1.2:9000"), Kind: message.Host, Transport: packet.UDP},
			{Addr: at("192.168.1.2:443"), Kind: message.Host, Transport: packet.RawTCP},
			forwarded,
			{Addr: at("198.51.100.7:9000"), Kind: message.Mapped, Transport: packet.UDP},
		}
		r := s.p.Report()
		if !slices.Equal(r.Candidates, want) {
			t.Errorf("candidates %v, want %v", r.Candidates, want)
		}
		if got := r.Endpoints(); len(got) != 4 || got[3] != want[3].Addr {
			t.Errorf("endpoints %v", got)
		}
		w.mu.Lock()
		changes := len(s.changes)
		w.mu.Unlock()
		if changes > 4 {
			t.Errorf("%d reports for one survey", changes)
		}
	})
}

func TestDetectionThatIsOffSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		servers := w.mesh(2)
		s := w.site(w.homeOf(kinds["port-restricted"].router), func(c *Config) {
			c.Servers = func() []Server { return servers }
			c.Detect = false
		})
		s.p.NetworkChanged()
		pass(24 * time.Hour)
		if r := s.p.Report(); s.sentSoFar() != 0 || r.Behaviour.Known() || len(r.Candidates) != 1 {
			t.Errorf("%d packets, %+v", s.sentSoFar(), *r)
		}
	})
}

func TestOverIPv6WhereThereIsNoIPv4(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var servers []Server
		for i, a := range []string{"2001:db8:1::1", "2001:db8:2::1"} {
			h := w.host(a, nil)
			servers = append(servers, Server{Node: message.NodeID{byte(i + 1)}, Addr: h.endpoint()})
			w.site(h, func(c *Config) { c.Detect = false })
		}
		s := w.site(w.host("2001:db8:9::9", nil), func(c *Config) { c.Servers = func() []Server { return servers } })
		s.surveyed()
		if r := s.p.Report(); r.Behaviour.Mapping != Direct || r.Mapped6 != at("[2001:db8:9::9]:9000") || r.Mapped4.IsValid() {
			t.Errorf("got %+v", *r)
		}
	})
}

func TestProblemsAreSaidInWords(t *testing.T) {
	for want, change := range map[string]func(w *world, c *Config){
		"no server is known that could tell": func(*world, *Config) {},
		"STUN server nowhere.example:3478 cannot be resolved: no such host": func(_ *world, c *Config) {
			c.Public = []string{"nowhere.example:3478"}
		},
		"no STUN server answers over UDP (asked seed (203.0.113.1:9000), 203.0.113.2:9000): UDP may be blocked": func(w *world, c *Config) {
			servers := w.mesh(2)
			servers[0].Name = "seed"
			c.Servers = func() []Server { return servers }
			for _, r := range w.routers {
				r.blocked = true
			}
		},
		"STUN servers that do not answer: 203.0.113.66:9000": func(w *world, c *Config) {
			servers := append(w.mesh(2), Server{Node: message.NodeID{9}, Addr: at("203.0.113.66:9000")})
			c.Servers = func() []Server { return servers }
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			s := w.site(w.homeOf(kinds["port-restricted"].router), func(c *Config) { change(w, c) })
			pass(time.Minute)
			got := strings.Join(s.p.Report().Problems, "; ")
			if got = strings.Replace(got, "203.0.113.2:9000, seed (203.0.113.1:9000)", "seed (203.0.113.1:9000), 203.0.113.2:9000", 1); !strings.Contains(got, want) {
				t.Errorf("said %q, want %q", got, want)
			}
		})
	}
}

func TestTheConfigIsChecked(t *testing.T) {
	seal := func(body []byte, _ int) []byte { return body }
	for want, c := range map[string]Config{
		"lacks Seal":          {},
		"want HOST:PORT":      {Seal: seal, Public: []string{"stun.example"}},
		"a port from 1 to 65": {Seal: seal, Public: []string{"stun.example:0"}},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for _, s := range DefaultPublic() {
		if _, _, err := splitServer(s); err != nil {
			t.Error(err)
		}
	}
}
