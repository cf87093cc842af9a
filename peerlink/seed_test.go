package peerlink

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// closedDoor is a dialer that is refused at once while closed, and notes when it was tried.
type closedDoor struct {
	*site
	mu     sync.Mutex
	closed bool
	tries  []time.Time
}

func (d *closedDoor) Dial(remote netip.AddrPort, done func(packet.Path, error)) func() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tries = append(d.tries, time.Now())
	if !d.closed {
		return d.site.Dial(remote, done)
	}
	done(nil, errors.New("connection refused"))
	return func() {}
}

func (d *closedDoor) set(closed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed, d.tries = closed, nil
}

// pauses are the times between tries since set.
func (d *closedDoor) pauses() (all []time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := 1; i < len(d.tries); i++ {
		all = append(all, d.tries[i].Sub(d.tries[i-1]))
	}
	return all
}

func TestASeedIsTriedForEverLessAndLessOftenAndNeverInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		door := &closedDoor{closed: true}
		const address = "10.1.0.1:9000"
		office := n.start("office", "10.1.0.2:9000", []string{address}, func(cfg *Config) { cfg.Dialer = door })
		door.mu.Lock()
		door.site = office
		door.mu.Unlock()
		<-time.After(seldomAfter)

		soon := door.pauses()
		delay, different := minRedial, map[time.Duration]bool{}
		for i, p := range soon {
			if p < delay/2 || p > delay {
				t.Fatalf("pause %d is %v, want %v to %v", i, p, delay/2, delay)
			}
			if delay = min(2*delay, maxRedial); delay == maxRedial {
				different[p] = true
			}
		}
		if len(soon) < int(seldomAfter/maxRedial) || len(different) < len(soon)/2 {
			t.Errorf("%d tries in %v with %d different pauses", len(soon)+1, seldomAfter, len(different))
		}

		// For a day and more: rarely, but always again.
		<-time.After(time.Minute)
		door.set(true)
		<-time.After(30 * time.Hour)
		rarely := door.pauses()
		for i, p := range rarely {
			if p < seldomRedial/2 || p > seldomRedial {
				t.Fatalf("pause %d is %v, want %v to %v", i, p, seldomRedial/2, seldomRedial)
			}
		}
		if len(rarely) < int(30*time.Hour/seldomRedial) {
			t.Errorf("%d tries in 30 hours", len(rarely)+1)
		}

		// It is found when it is there, and the next absence begins with haste.
		door.set(false)
		seed := n.start("seed", address, nil, nil)
		both(t, seed, office, seldomRedial+time.Second)
		door.set(true)
		seed.crash()
		eventually(t, 30*time.Second, "it is missed and tried again", func() bool { return len(door.pauses()) >= 4 })
		delay = minRedial // before the first try
		for i, p := range door.pauses()[:4] {
			if delay *= 2; p > delay {
				t.Errorf("pause %d after it was there is %v, want at most %v", i, p, delay)
			}
		}
	})
}
