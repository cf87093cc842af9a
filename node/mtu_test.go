package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/node/simnet"
)

func TestTheInterfaceFitsEveryPath(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	f := fitting{current: firstMTU, least: 1280}
	for _, s := range []struct {
		wait  time.Duration
		links []int
		want  int
	}{
		{0, nil, 1400},
		{0, []int{1414, 1401}, 1400},
		{29 * time.Second, []int{1414, 1401}, 1400},
		{time.Second, []int{1414, 1401}, 1401},
		{0, []int{1414, 1355}, 1355},
		{0, []int{1414, 0, 1355}, 1355}, // a link that does not know
		{0, []int{900}, 1280},
		{20 * time.Second, []int{1414}, 1280},
		{20 * time.Second, []int{1280}, 1280}, // it came and went
		{20 * time.Second, []int{1414}, 1280},
		{30 * time.Second, []int{1414}, 1414},
		{time.Hour, nil, 1414},
		{0, []int{60000}, 1414},
		{time.Minute, []int{60000}, 9000},
	} {
		now = now.Add(s.wait)
		if got := f.step(now, s.links); got != s.want {
			t.Errorf("links %v: %d, want %d", s.links, got, s.want)
		}
	}
}

func TestTheInterfaceFollowsAndGoesOnAfterAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refuse atomic.Bool
		var limit atomic.Int64 // of the one link
		refuse.Store(true)
		limit.Store(1300)
		var set []int
		a := &mtuActor{
			fitting: fitting{current: 1400, least: 576}, log: hclog.NewNullLogger(),
			links: func() []int { return []int{int(limit.Load())} },
			set: func(mtu int) error {
				if refuse.Load() {
					return errors.New("busy")
				}
				set = append(set, mtu)
				return nil
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		wait := func(d time.Duration) { <-time.After(d); synctest.Wait() }
		wait(3 * time.Second)
		refuse.Store(false)
		wait(2 * time.Second)
		limit.Store(1350)
		wait(time.Minute)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if want := []int{1300, 1350}; !slices.Equal(set, want) {
			t.Errorf("set to %v, want %v", set, want)
		}
	})
}

// offers is the largest packet that is sent to a peer now.
func (s *station) offers(to *station) int { return s.peer(to).Link.MTU }

func TestANarrowLineIsFoundAndUsed(t *testing.T) {
	for _, line := range []int{1500, 1492, 1400, 1280, 1000} {
		t.Run(fmt.Sprint(line), func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				m.net.SetDefault(simnet.Link{Delay: 25 * time.Millisecond, MTU: line})
				discover := func(s *station) { s.cfg.MTU = 0 }
				seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24", discover)
				a, b := m.site(2, discover), m.site(3, discover)
				m.reachAll(10*time.Second, seed, a, b)
				m.pass(10 * time.Second)
				for _, to := range []*station{seed, b} {
					least, most := line-52-5-29-20-8, line-52-5-29
					if to == b { // and an envelope
						least, most = least-60, most-40
					}
					got := a.offers(to)
					if got < least || got > most {
						t.Fatalf("packets of up to %d bytes go to %s, want %d to %d", got, to.cfg.Name, least, most)
					}
					text := string(make([]byte, got-28))
					a.say(a.address(), to.address(), text)
					if _, ok := to.hears(text, time.Second); !ok {
						t.Errorf("a packet of %d bytes does not arrive at %s", got, to.cfg.Name)
					}
				}
			})
		})
	}
}

func TestALineThatBecomesNarrowIsNoticedUnderLoad(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		line := simnet.Link{Delay: 25 * time.Millisecond, MTU: 1400}
		m.net.SetDefault(line)
		seed, sites := m.star(2)
		a, b := sites[0], sites[1]
		m.pass(10 * time.Second)
		before := map[*station]int{seed: a.offers(seed), b: a.offers(b)}
		flood := func(to *station) {
			size := a.offers(to)
			a.say(a.address(), to.address(), string(make([]byte, max(size-28, 0))))
		}
		line.MTU = 1280
		m.net.SetDefault(line)
		for to, was := range before {
			began := time.Now()
			for a.offers(to) == was {
				flood(to)
				m.pass(20 * time.Millisecond)
				if time.Since(began) > 3*time.Second {
					t.Fatalf("after %v packets of %d bytes still go to %s", time.Since(began), was, to.cfg.Name)
				}
			}
			t.Logf("%s: from %d to %d after %v", to.cfg.Name, was, a.offers(to), time.Since(began))
		}
		m.pass(5 * time.Second)
		for to := range before {
			text := string(make([]byte, a.offers(to)-28))
			a.say(a.address(), to.address(), text)
			if _, ok := to.hears(text, time.Second); !ok {
				t.Errorf("a packet of %d bytes does not arrive at %s", len(text)+28, to.cfg.Name)
			}
		}
		if seed.log.count("link is down")+a.log.count("link is down") > 0 {
			t.Error("a link went down for it")
		}
	})
}
