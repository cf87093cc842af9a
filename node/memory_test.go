package node

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/simnet"
)

// heap is what the program holds now, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAFloodForPeersThatAreAwayStaysUnderTheCeiling(t *testing.T) {
	const ceiling, peers = 16 << 20, 8
	for _, c := range []struct {
		name   string
		memory int64
	}{{"16M", ceiling}, {"no ceiling", 0}} {
		t.Run(c.name, func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				m.net.SetDefault(simnet.Link{Delay: 10 * time.Millisecond})
				var limits []int64
				seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24", func(s *station) {
					s.cfg.Memory = c.memory
					s.parts = func(_ *station, p *Parts) { p.LimitRuntime = func(bytes int64) { limits = append(limits, bytes) } }
				})
				sites := m.sites(peers)
				for _, s := range sites {
					m.reach(10*time.Second, seed, s)
					m.net.Blackhole(seed.host, s.host, true)
				}
				m.pass(10 * time.Second) // until nobody is reached any more
				before, most, padding := heap(), int64(0), strings.Repeat(".", 1200)
				for i := range 90 {
					for range 24 {
						for _, s := range sites {
							seed.say(seed.address(), s.address(), fmt.Sprintf("flood %d%s", i, padding))
						}
					}
					m.pass(50 * time.Millisecond)
					most = max(most, seed.node.staged.Held()+seed.node.pumps.Copies.Held()+seed.node.pumps.Waiting.Held())
				}
				took := heap() - before
				t.Logf("%d bytes more in the heap, %d counted at most, %d packets dropped for it", took, most, seed.node.peers.Shed())
				if c.memory == 0 {
					if took < ceiling || len(limits) > 0 {
						t.Errorf("%d bytes more in the heap: the flood was none (limits of the runtime: %v)", took, limits)
					}
					return
				}
				if took > ceiling || most > 3*seed.node.budget.pool || most == 0 {
					t.Errorf("%d bytes more in the heap, %d counted at most: want below %d and %d", took, most, ceiling, 3*seed.node.budget.pool)
				}
				if n := (source{seed.node}).drops()["memory_ceiling"]; n == 0 || seed.log.count("Send queue full", "--memory") == 0 {
					t.Errorf("%d drops for want of memory, and nothing in the log", n)
				}
				if len(limits) != 1 || limits[0] != seed.node.budget.runtimeFor(peers) {
					t.Errorf("Go's runtime was told %v", limits)
				}
				for _, s := range sites {
					s.heard()
					m.net.Blackhole(seed.host, s.host, false)
				}
				for _, s := range sites { // each had its share
					m.reach(10*time.Second, seed, s)
					if n := len(s.heard()); n < int(seed.node.budget.pool)/peers/2000 {
						t.Errorf("%s heard %d packets of the flood", s.cfg.Name, n)
					}
				}
				m.eventually(20*time.Second, "all is given back", func() bool { return seed.node.staged.Held() == 0 })
			})
		})
	}
}
