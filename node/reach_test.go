package node

import (
	"fmt"
	"testing"
	"time"
)

func TestASeedAndItsSitesBehindRoutersReachEachOther(t *testing.T) {
	for _, n := range []int{2, 5, 10} {
		t.Run(fmt.Sprint(n, " sites"), func(t *testing.T) {
			inMesh(t, func(m *mesh) {
				seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24")
				all := append(m.sites(n), seed)
				m.reachAll(15*time.Second, all...)
			})
		})
	}
}
