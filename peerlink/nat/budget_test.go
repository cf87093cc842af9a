package nat

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// What an idle node sends: one survey, one measurement of the lifetime, then a
// question now and then.
const (
	surveyRequests   = 16 // of a survey that is answered
	lifetimeRequests = 15 // of a measurement where mappings last, within the hour
	refreshesPerHour = int(time.Hour / RefreshInterval)
)

func TestAnIdleNodeKeepsToTheBudgetForADay(t *testing.T) {
	for name, c := range kinds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				servers := w.mesh(5)
				s := w.site(w.homeOf(c.router), func(c *Config) { c.Servers = func() []Server { return servers } })
				s.surveyed()
				first := s.sentSoFar()
				if first > surveyRequests*2 { // the filter's and the hairpin's questions are repeated where nothing comes in
					t.Errorf("%d packets for one survey", first)
				}
				if s.p.Report().Behaviour.Forgets() {
					took := s.measured()
					if n := s.sentSoFar() - first; n > lifetimeRequests+refreshesPerHour || took > time.Hour {
						t.Errorf("%d packets in %v to learn how long mappings last", n, took)
					}
				}
				measured := s.sentSoFar()
				for range 24 {
					before := s.sentSoFar()
					pass(time.Hour)
					if n := s.sentSoFar() - before; n > refreshesPerHour {
						t.Fatalf("%d packets in an idle hour", n)
					}
				}
				if n := s.sentSoFar() - measured; n < 23*refreshesPerHour {
					t.Errorf("%d questions in a day: the mapping is not watched", n)
				}
				t.Logf("%d packets for the survey, %d until the lifetime is known, %d in 24 idle hours",
					first, measured-first, s.sentSoFar()-measured)
			})
		})
	}
}

func TestWhereUDPIsBlockedSurveysGetRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		servers := w.mesh(5)
		r := *kinds["port-restricted"].router
		r.blocked = true
		s := w.site(w.homeOf(&r), func(c *Config) { c.Servers = func() []Server { return servers } })
		pass(time.Hour)
		before := s.sentSoFar()
		if before > 12*SurveyRequests {
			t.Errorf("%d packets in the first hour", before)
		}
		pass(23 * time.Hour)
		perHour := float64(s.sentSoFar()-before) / 23
		if perHour > float64(refreshesPerHour*SurveyRequests) {
			t.Errorf("%.0f packets an hour", perHour)
		}
		t.Logf("%d in the first hour, then %.0f an hour", before, perHour)

		// It comes back by itself.
		w.mu.Lock()
		s.router.blocked = false
		w.mu.Unlock()
		s.learns(RefreshInterval+time.Minute, "NAT", func(r *Report) bool { return r.Behaviour.Known() && r.Mapped4.IsValid() })
	})
}

func TestANetworkThatFlapsIsLookedAtNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		servers := w.mesh(5)
		s := w.site(w.homeOf(kinds["port-restricted"].router), func(c *Config) { c.Servers = func() []Server { return servers } })
		s.surveyed()
		before := s.sentSoFar()
		for range 600 {
			s.p.NetworkChanged()
			s.p.Look()
			pass(100 * time.Millisecond)
		}
		if n := s.sentSoFar() - before; n > 7*SurveyRequests {
			t.Errorf("%d packets in a minute of 600 changes", n)
		}
	})
}

func TestNewsWithoutNewServersCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		servers := []Server{{Node: message.NodeID{1}, Addr: at("203.0.113.77:9000")}} // does not answer
		s := w.site(w.homeOf(kinds["port-restricted"].router), func(c *Config) { c.Servers = func() []Server { return servers } })
		pass(30 * time.Minute)
		before := s.sentSoFar()
		for range 100 {
			s.p.Look()
			pass(time.Second)
		}
		if n := s.sentSoFar() - before; n > 0 {
			t.Errorf("%d packets", n)
		}
	})
}

func TestServersThatAppearAreAskedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		all := w.mesh(3)
		var known []Server
		s := w.site(w.homeOf(kinds["port-restricted"].router), func(c *Config) {
			c.Servers = func() []Server {
				w.mu.Lock()
				defer w.mu.Unlock()
				return known
			}
		})
		pass(3 * time.Minute)
		if s.sentSoFar() != 0 || len(s.p.Report().Problems) != 1 {
			t.Fatalf("%d packets, %v", s.sentSoFar(), s.p.Report().Problems)
		}
		w.mu.Lock()
		known = all
		w.mu.Unlock()
		s.p.Look()
		s.learns(500*time.Millisecond, "NAT", func(r *Report) bool { return r.Behaviour.Known() && r.Mapped4.IsValid() })
	})
}

func TestAnotherNetworkIsSurveyedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		servers := w.mesh(3)
		var address netip.Addr
		h := w.homeOf(kinds["symmetric, step 1"].router)
		address = h.address
		s := w.site(h, func(c *Config) {
			c.Servers = func() []Server { return servers }
			c.Hosts = func() []netip.Addr {
				w.mu.Lock()
				defer w.mu.Unlock()
				return []netip.Addr{address}
			}
		})
		s.surveyed()
		w.mu.Lock()
		address = netip.MustParseAddr("10.9.9.9")
		r := kinds["restricted"].router
		s.router.mapping, s.router.filtering, s.router.step = r.mapping, r.filtering, 0
		s.router.reboot()
		w.mu.Unlock()
		s.p.NetworkChanged()
		synctest.Wait()
		if r := s.p.Report(); r.Behaviour.Known() || r.Mapped4.IsValid() || r.Candidates[0].Addr != at("10.9.9.9:9000") {
			t.Errorf("the old network is still reported: %+v", *r)
		}
		s.learns(time.Second, "the new mapping", func(r *Report) bool { return r.Behaviour.Mapping == EndpointIndependent })
		s.surveyed()
		if got := s.p.Report().Behaviour; got != kinds["restricted"].want {
			t.Errorf("got %+v", got)
		}
	})
}

func TestARouterThatForgotIsNoticedByTheRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		servers := w.mesh(3)
		s := w.site(w.homeOf(kinds["restricted"].router), func(c *Config) { c.Servers = func() []Server { return servers } })
		s.surveyed()
		was := s.p.Report().Mapped4
		w.mu.Lock()
		s.router.reboot()
		w.mu.Unlock()
		s.learns(RefreshInterval+5*time.Second, "new endpoint", func(r *Report) bool { return r.Mapped4.IsValid() && r.Mapped4 != was })
	})
}

func TestNamesAreLookedUpAgainWhenTheyFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("192.0.2.1:3478")
		w.serve("192.0.2.2:3478")
		lookups := 0
		s := w.site(w.homeOf(kinds["port-restricted"].router), func(c *Config) {
			c.Public = []string{"stun.example:3478"}
			c.Resolve = func(ctx context.Context, _ string) ([]netip.Addr, error) {
				w.mu.Lock()
				lookups++
				n := lookups
				w.mu.Unlock()
				if n < 3 {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}, nil
			}
		})
		s.learns(2*time.Minute, "NAT", func(r *Report) bool { return r.Behaviour.Known() })
		pass(24 * time.Hour)
		w.mu.Lock()
		defer w.mu.Unlock()
		if lookups > 4 {
			t.Errorf("%d lookups in a day", lookups)
		}
	})
}
