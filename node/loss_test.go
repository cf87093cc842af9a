package node

import (
	"slices"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/simnet"
)

// What whole nodes make of lines that lose. Plans, and streams of TCP, are tested where they
// are made (peerlink/repair); here it is what arrives, and when.
func TestAStreamBetweenNodesIsMendedOnABadLine(t *testing.T) {
	const oneWay, tick = 25 * time.Millisecond, time.Millisecond
	for _, c := range []struct {
		name    string
		line    simnet.Link
		every   int // ticks between packets
		missing float64
		p99     time.Duration // beyond what the line takes, to the tick
	}{
		{"nothing is lost", simnet.Link{}, 1, 0, tick},
		{"random loss of 5 %", simnet.Link{Loss: 0.05}, 1, 0.001, 10 * time.Millisecond},
		{"bursts of 5, of 3 %", simnet.Link{Burst: simnet.Bursts(0.03, 5)}, 1, 0.001, 100 * time.Millisecond},
		{"bursts of 8, of 3 %", simnet.Link{Burst: simnet.Bursts(0.03, 8)}, 1, 0.001, 100 * time.Millisecond},
		{"random loss of 5 %, 60 packets a second", simnet.Link{Loss: 0.05}, 16, 0.005, 15 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				line := simnet.Link{Delay: oneWay}
				m.net.SetDefault(line)
				seed, sites := m.star(1)
				m.pass(10 * time.Second)
				line.Loss, line.Burst = c.line.Loss, c.line.Burst
				m.net.SetDefault(line)
				s := &paced{from: sites[0], to: seed, label: "tick"}
				run := func(d time.Duration) {
					for n := range int(d / tick) {
						if n%c.every == 0 {
							s.next()
						}
						m.pass(tick)
						s.look()
					}
				}
				run(4 * time.Second) // until then nobody can know
				learnt := len(s.sent)
				run(6 * time.Second)
				all := len(s.sent)
				run(time.Second) // the end of a stream is another matter
				s.rest(m)
				delays := []time.Duration{}
				for i := learnt; i < all; i++ {
					if s.times[i] > 0 {
						delays = append(delays, s.at[i].Sub(s.sent[i])-oneWay)
					}
				}
				slices.Sort(delays)
				missing, p99 := all-learnt-len(delays), delays[len(delays)*99/100]
				_, twice := s.missing()
				t.Logf("%d of %d missing, %d twice, 99 %% within %v, the last after %v", missing, all-learnt, twice, p99, delays[len(delays)-1])
				if float64(missing) > c.missing*float64(all-learnt) || twice > 0 || p99 > c.p99 {
					t.Errorf("%d of %d are missing, %d came twice, 99 %% within %v", missing, all-learnt, twice, p99)
				}
			})
		})
	}
}
