package nat

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

func TestWhereUDPIsBlockedFakeTCPShowsTheMapping(t *testing.T) {
	for _, name := range []string{"none", "firewall", "full cone", "port-restricted", "symmetric, step 1", "symmetric, random"} {
		for _, withUDP := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " ", withUDP), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := kinds[name]
					w := newWorld(t)
					servers := w.mesh(3)
					r := c.router
					if r == nil {
						r = &router{mapping: Direct, filtering: EndpointIndependent}
					}
					blocked := *r
					blocked.blocked = true
					s := w.site(w.homeOf(&blocked), func(c *Config) {
						c.Servers = func() []Server { return servers }
						c.TCPServers = c.Servers
						c.Crosser = c.Pather.(packet.Crosser)
						if !withUDP {
							c.Pather = nil
						}
					})
					want := Behaviour{Mapping: c.want.Mapping, Step: c.want.Step, Preserves: c.want.Preserves}
					s.learns(30*time.Second, "mapping of TCP", func(r *Report) bool { return r.Behaviour == want })
					pass(24 * time.Hour)
					if n := s.dialled.Load(); n != 3 || s.closed.Load() != 3 {
						t.Errorf("%d connections, %d closed", n, s.closed.Load())
					}
					if s.p.Report().Behaviour != want || s.open() != 0 || s.p.Report().Mapped4.IsValid() {
						t.Errorf("%d open, %+v", s.open(), *s.p.Report())
					}
					if withUDP { // which passes again
						w.mu.Lock()
						s.router.blocked = false
						w.mu.Unlock()
						s.learns(RefreshInterval+time.Minute, "mapping of UDP", func(r *Report) bool { return r.Mapped4.IsValid() && r.Behaviour == c.want })
					} else {
						s.p.NetworkChanged()
						pass(time.Minute)
						if n := s.dialled.Load(); n != 6 {
							t.Errorf("%d connections after a change", n)
						}
					}
				})
			})
		}
	}
}

func TestServersOfFakeTCPThatAreGoneEndTheSurvey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		servers := append(w.mesh(2), Server{Node: message.NodeID{77}, Addr: at("203.0.113.77:9000")})
		s := w.site(w.homeOf(kinds["port-restricted"].router), func(c *Config) {
			c.TCPServers = func() []Server { return servers }
			c.Crosser = c.Pather.(packet.Crosser)
			c.Pather = nil
		})
		s.learns(time.Second, "mapping", func(r *Report) bool { return r.Behaviour.Known() })
		if s.open() != 0 {
			t.Errorf("%d ports are held", s.open())
		}
	})
}
