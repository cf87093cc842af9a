package peerlink

import (
	"maps"
	"slices"
	"sync/atomic"
)

// seedTroubles says why seeds are out of reach: one sentence per seed that has
// not been reached since. Seeds note, anybody reads, nobody waits. Its zero value
// is empty.
type seedTroubles struct {
	now atomic.Pointer[map[string]string]
}

// note replaces what is said of a seed; "" takes it away.
func (s *seedTroubles) note(seed, trouble string) {
	for {
		old := s.now.Load()
		next := map[string]string{}
		if old != nil {
			maps.Copy(next, *old)
		}
		if next[seed] == trouble {
			return
		}
		if next[seed] = trouble; trouble == "" {
			delete(next, seed)
		}
		if s.now.CompareAndSwap(old, &next) {
			return
		}
	}
}

// Seeds are all seeds, HOST:PORT as configured or added since. Any goroutine may ask.
func (d *Directory) Seeds() []string {
	all := slices.Clone(d.cfg.Seeds)
	if joined := d.joined.Load(); joined != nil {
		for _, s := range *joined {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

// SeedTrouble says in words for a user why a seed, HOST:PORT as configured, is
// out of reach; "" if it is not, or nothing is known yet. Any goroutine may ask.
func (d *Directory) SeedTrouble(seed string) string {
	if now := d.troubles.now.Load(); now != nil {
		return (*now)[seed]
	}
	return ""
}
