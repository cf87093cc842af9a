package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// New keys are agreed every second and a half while streams pass in all
// directions, and a transfer beside them.
func TestNewKeysUnderTrafficCostNoPacket(t *testing.T) {
	const changes = 3 // of each site's keys with the seed
	m := newMesh(t, plain(t), lab.StarConfig{Sites: 2})
	often := []string{"--rekey-after", "1500ms", "-p2p=false"}
	m.seed(often...)
	sites := []*lab.Node{m.site(1, often...), m.site(2, often...)}
	m.everyPairReaches()

	var streams []*lab.Stream
	names := []string{"to the seed", "from the seed", "between the sites"}
	for _, way := range [][2]int{{1, 0}, {0, 1}, {1, 2}} {
		s, err := lab.StartStream(m.ctx, m.hosts()[way[0]], m.hosts()[way[1]], ip4(way[1]+1), 250, 200)
		must(t, err)
		streams = append(streams, s)
	}
	for n := range changes {
		before := map[*lab.Node]time.Time{}
		for _, site := range sites {
			since, err := site.Keys(m.ctx, "seed")
			must(t, err)
			before[site] = since
		}
		must(t, lab.Until(m.ctx, fmt.Sprintf("both sites have changed keys with the seed, time %d", n+1), func() error {
			if _, err := lab.Transfer(m.ctx, m.Sites[0].Namespace, m.Server, ip4(1), 1<<20); err != nil {
				return err
			}
			for _, site := range sites {
				since, err := site.Keys(m.ctx, "seed")
				if err != nil {
					return err
				}
				if since.Sub(before[site]) < time.Second {
					return fmt.Errorf("the keys are still those of %s ago", time.Since(since))
				}
			}
			return nil
		}))
	}
	for i, s := range streams {
		report := s.Stop(5 * time.Second)
		if lost := report.Missing(); lost > 0 || len(report.Packets) < 250 {
			t.Errorf("%s, of %d datagrams %d are lost", names[i], len(report.Packets), lost)
		}
	}
}
