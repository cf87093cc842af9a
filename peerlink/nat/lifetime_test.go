package nat

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheSearchOfALifetimeIsShortAndRight(t *testing.T) {
	for _, c := range []struct {
		life         time.Duration
		want         string
		trials       int
		refreshBelow time.Duration
	}{
		{time.Second, "mappings last 0s to 1.875s", 5, time.Second},
		{10 * time.Second, "mappings last 9.375s to 11.25s", 5, 5 * time.Second},
		{30 * time.Second, "mappings last 30s to 33.75s", 5, 15 * time.Second},
		{59 * time.Second, "mappings last 56.25s to 1m0s", 5, 30 * time.Second},
		{120 * time.Second, "mappings last 2m0s to 2m15s", 7, time.Minute},
		{300 * time.Second, "mappings last 5m0s to 5m30s", 8, 150 * time.Second},
		{time.Hour, "mappings last 10m0s or longer", 6, 5 * time.Minute},
	} {
		var s lifetimeSearch
		trials := 0
		for silence, more := s.next(); more; silence, more = s.next() {
			if s.survived(silence, silence <= c.life); trials > 20 {
				t.Fatalf("%v: no end", c.life)
			}
			trials++
		}
		if got := s.found; got.String() != c.want || trials != c.trials || got.Refresh() > c.refreshBelow {
			t.Errorf("%v: %v, %d trials, refreshed each %v", c.life, got, trials, got.Refresh())
		}
	}
}

func TestTheSearchOfALifetimeEndsWhateverTheTrialsSay(t *testing.T) {
	for word := range 1 << 16 {
		var s lifetimeSearch
		trials := 0
		for silence, more := s.next(); more; silence, more = s.next() {
			if silence <= 0 || silence > longestSilence {
				t.Fatalf("%016b: silence %v", word, silence)
			}
			s.survived(silence, word>>(trials%16)&1 == 1)
			if trials++; trials > 16 {
				t.Fatalf("%016b: %d trials, %v", word, trials, s.found)
			}
		}
	}
}

func TestAContradictionIsBelieved(t *testing.T) {
	s := lifetimeSearch{Lifetime{Least: time.Minute, Most: 2 * time.Minute}}
	s.survived(3*time.Minute, true)
	if s.found != (Lifetime{Least: 3 * time.Minute}) {
		t.Errorf("%+v", s.found)
	}
	s.survived(time.Minute, false)
	if s.found != (Lifetime{Most: time.Minute}) {
		t.Errorf("%+v", s.found)
	}
}

func TestWhatIsNotMeasuredHoldsNobodyBack(t *testing.T) {
	var l Lifetime
	if l.Known() || l.Refresh() != 0 || l.String() != "mapping lifetime not measured" {
		t.Errorf("%v, %v", l, l.Refresh())
	}
}

// forgetful is a site with three nodes to ask, behind a router that forgets what is
// silent for so long; 0: never.
func (w *world) forgetful(kind string, life time.Duration) *site {
	servers := w.mesh(3)
	r := *kinds[kind].router
	r.life = life
	return w.site(w.homeOf(&r), func(c *Config) { c.Servers = func() []Server { return servers } })
}

// measured waits until the lifetime is known, and returns how long it took.
func (s *site) measured() time.Duration {
	s.w.t.Helper()
	began := time.Now()
	for !s.p.Report().Lifetime.Known() {
		if pass(10 * time.Second); time.Since(began) > 2*time.Hour {
			s.w.t.Fatalf("the lifetime is not known after %v: %+v", time.Since(began), *s.p.Report())
		}
	}
	return time.Since(began)
}

// lasts says whether a report agrees with the router.
func lasts(r *Report, life time.Duration) bool {
	l := r.Lifetime
	if life > longestSilence {
		return l == Lifetime{Least: longestSilence}
	}
	return l.Known() && l.Least <= life && l.Most > life && l.Most-l.Least <= max(life/6, finestSilence)
}

func TestTheProberMeasuresHowLongMappingsLast(t *testing.T) {
	for name, c := range kinds {
		if !c.want.Forgets() {
			continue
		}
		for _, life := range []time.Duration{20 * time.Second, 31 * time.Second, 125 * time.Second, 305 * time.Second, 24 * time.Hour} {
			t.Run(fmt.Sprint(name, " ", life), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newWorld(t).forgetful(name, life)
					s.surveyed()
					before := s.sentSoFar()
					took := s.measured()
					pass(time.Minute)
					if l := s.p.Report().Lifetime; !lasts(s.p.Report(), life) {
						t.Errorf("%v", l)
					}
					if n := s.sentSoFar() - before; n > LifetimeRequests/2 || took > time.Hour || s.open() != 0 {
						t.Errorf("%d packets in %v, %d sockets left open", n, took, s.open())
					}
				})
			})
		}
	}
}

func TestALossyLineDoesNotMakeMappingsLookShortLived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.forgetful("port-restricted", 125*time.Second)
		s.surveyed()
		w.mu.Lock()
		w.lostEach = 3
		w.mu.Unlock()
		s.measured()
		if !lasts(s.p.Report(), 125*time.Second) {
			t.Errorf("%v", s.p.Report().Lifetime)
		}
	})
}

func TestAServerThatGoesAwayIsNotTakenForAForgetfulRouter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.forgetful("port-restricted", 125*time.Second)
		s.surveyed()
		pass(lifetimeDelay + 40*time.Second) // in the second silence
		helper := s.p.Report().Tried[0].Server.Addr.Addr()
		w.mu.Lock()
		gone := w.hosts[helper]
		delete(w.hosts, helper)
		w.mu.Unlock()
		s.measured()
		if !lasts(s.p.Report(), 125*time.Second) {
			t.Errorf("%v", s.p.Report().Lifetime)
		}
		w.mu.Lock()
		w.hosts[helper] = gone
		w.mu.Unlock()
	})
}

func TestWithoutAnybodyWhoHelpsTheLifetimeStaysUnknownAndCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.forgetful("port-restricted", 0)
		s.surveyed()
		w.mu.Lock()
		w.routers[s.router.address].blocked = true // all that comes later is lost
		w.mu.Unlock()
		before := s.sentSoFar()
		pass(lifetimeDelay + 2*time.Minute)
		if r := s.p.Report(); r.Lifetime.Known() || s.sentSoFar()-before > 3*Transmissions || s.open() != 0 {
			t.Errorf("%v, %d packets, %d sockets", r.Lifetime, s.sentSoFar()-before, s.open())
		}
	})
}

func TestAnotherNetworkIsMeasuredAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.forgetful("port-restricted", 40*time.Second)
		known := func(r *Report) bool { return r.Lifetime.Known() }
		s.measured()
		s.p.NetworkChanged()
		pass(time.Minute)
		if !lasts(s.p.Report(), 40*time.Second) {
			t.Errorf("a network that stayed the same is not known any more: %v", s.p.Report().Lifetime)
		}
		w.mu.Lock()
		s.router.mapping, s.router.life = AddressAndPortDependent, 200*time.Second
		s.router.preserves = false
		s.router.reboot()
		w.mu.Unlock()
		s.p.NetworkChanged()
		s.learns(2*time.Minute, "that nothing is known", func(r *Report) bool { return !known(r) })
		s.measured()
		if !lasts(s.p.Report(), 200*time.Second) {
			t.Errorf("%v", s.p.Report().Lifetime)
		}
	})
}
