package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/openbmx/lightweight-tunnel/scripts/lab"
)

// flood sends UDP datagrams to an address from a host, as fast as its kernel takes
// them.
func flood(ctx context.Context, from *lab.Namespace, address string, datagrams, size int) error {
	out, err := from.Dial(ctx, "udp", address+":5000")
	if err != nil {
		return err
	}
	defer out.Close()
	payload := make([]byte, size)
	for range datagrams {
		_, _ = out.Write(payload) // what does not fit is not queued either
	}
	return nil
}

func TestTheMemoryOfAFloodedNodeKeepsToItsCeiling(t *testing.T) {
	const (
		ceiling, size = 8 << 20, 1300
		// The program without a packet is 26 MB: code, runtime, four links. Without a
		// ceiling the flood makes it 37 MB and more.
		program = 26 << 20
	)
	m := newMesh(t, plain(t), lab.StarConfig{Sites: 4})
	seed := m.seed("--memory", "8M")
	var nodes []*lab.Node
	for n := range m.Sites {
		nodes = append(nodes, m.site(n+1))
		m.reaches(m.Server, ip4(n+2))
	}
	for _, n := range nodes {
		must(t, n.Kill())
	}
	must(t, lab.Until(m.ctx, "nobody is reached", func() error {
		peers, err := seed.Peers(m.ctx)
		if err != nil {
			return err
		}
		for _, p := range peers.Peers {
			if p.Link.State == "up" {
				return fmt.Errorf("%s is up", p.Name)
			}
		}
		return nil
	}))
	must(t, lab.Until(m.ctx, "much more was sent than may wait", func() error {
		for n := range m.Sites {
			if err := flood(m.ctx, m.Server, ip4(n+2), 1000, size); err != nil {
				return err
			}
		}
		status, err := seed.Status(m.ctx)
		if n := status.Drops["memory_ceiling"]; err == nil && n < 3*ceiling/size {
			err = fmt.Errorf("%d packets were dropped: %v", n, status.Drops)
		}
		return err
	}))
	took, err := seed.PeakRSS()
	must(t, err)
	t.Logf("%.1f MB resident at most", float64(took)/1e6)
	if took > ceiling+program {
		t.Errorf("%d bytes were resident, want at most %d", took, ceiling+program)
	}
}
