package node

import "testing"

func TestTheCeilingIsDividedWithoutARest(t *testing.T) {
	const k, m = 1 << 10, 1 << 20
	for _, c := range []struct {
		ceiling             int64
		ring, receive, send int
		pool                int64 // about
	}{
		{8 * m, 1 * m, 160 * k, 128 * k, 789 * k},
		{16 * m, 2662 * k, 416 * k, 128 * k, 2461 * k},
		{24 * m, 3 * m, 672 * k, 168 * k, 4464 * k},
		{40 * m, 3 * m, 1184 * k, 296 * k, 8645 * k},
		{256 * m, 3 * m, 4 * m, 1 * m, 75093 * k},
		{1 << 40, 3 * m, 4 * m, 1 * m, 1<<40/3 - 12*m},
	} {
		b := divide(c.ceiling)
		if b.ring>>10 != c.ring>>10 || b.receive != c.receive || b.send != c.send || b.pool>>10 != c.pool>>10 {
			t.Errorf("%d MiB: ring %d KiB, receive %d, send %d, pool %d", c.ceiling>>20, b.ring>>10, b.receive>>10, b.send>>10, b.pool>>10)
		}
		sum := bursts + int64(b.ring) + int64(busySockets*kernelFactor*(b.receive+b.send)) + 3*b.pool
		if sum > c.ceiling || sum < c.ceiling-3 {
			t.Errorf("%d bytes are divided as %d", c.ceiling, sum)
		}
		if b.runtime <= 3*b.pool+bursts || b.runtimeFor(40)-b.runtimeFor(20) != 16*runtimePeer {
			t.Errorf("%d MiB: the runtime may take %d bytes, %d with 40 peers", c.ceiling>>20, b.runtime, b.runtimeFor(40))
		}
	}
}

func TestWithoutACeilingEverythingHasItsUsualSize(t *testing.T) {
	b := divide(0)
	if b != (budget{}) || b.pools() != (pools{}) {
		t.Errorf("%+v", b)
	}
}
