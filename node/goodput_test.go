package node

import (
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/simnet"
)

// bulk sends packets of 450 bytes for a while, rate of them a second, and returns
// how many arrived. So small ones fit every path: what large ones a full queue drops
// is a question of its own.
func bulk(m *mesh, from, to *station, d time.Duration, rate int) (arrived int) {
	const step = 20 * time.Millisecond
	text := strings.Repeat("x", 422) // and 28 of headers
	due := 0
	for range d / step {
		for due += rate; due >= int(time.Second/step); due -= int(time.Second / step) {
			from.say(from.address(), to.address(), text)
		}
		m.pass(step)
		arrived += len(to.heard())
	}
	return arrived
}

func TestOfTwoRelaysTheOneThatCarriesTheTrafficIsUsed(t *testing.T) {
	for name, turn := range map[string]bool{"sent by one": false, "sent by the other": true} {
		t.Run(name, func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				// The seed is nearer, and narrow: its lines carry 1 Mbit/s each.
				seed, hub, sites := hubsOn(m,
					simnet.Link{Delay: 10 * time.Millisecond, Rate: 1_000_000}, simnet.Link{Delay: 30 * time.Millisecond, Rate: 20_000_000})
				a, b := sites[0], sites[1]
				if turn {
					a, b = b, a
				}
				bulk(m, a, b, 20*time.Second, 80)
				if via := a.peer(b).Link.Via; via != seed.cfg.Name {
					t.Fatalf("little traffic goes through %q, although the other is nearer", via)
				}
				took := time.Duration(0)
				for ; a.peer(b).Link.Via != hub.cfg.Name && took < 30*time.Second; took += time.Second {
					bulk(m, a, b, time.Second, 230)
				}
				t.Logf("on the wide relay after %v", took)
				if took > 15*time.Second {
					t.Errorf("it took %v to leave a relay that carries too little", took)
				}
				bulk(m, a, b, 5*time.Second, 230) // what waited before the narrow one arrives
				before := a.log.count("path changed", "peer="+b.cfg.Name)
				const rest = 90 * time.Second
				if n, sent := bulk(m, a, b, rest, 280), int(rest/time.Second)*280; n < sent-280/4 {
					t.Errorf("%d of %d packets arrived", n, sent)
				}
				if n := a.log.count("path changed", "peer="+b.cfg.Name) - before; n > 0 || a.peer(b).Link.Via != hub.cfg.Name {
					t.Errorf("the path was changed %d times more, it goes through %q", n, a.peer(b).Link.Via)
				}
			})
		})
	}
}

func TestTrafficStaysOnFakeTCPAsLongAsUDPIsKnownToBeThrottled(t *testing.T) {
	for name, turn := range map[string]bool{"sent by one": false, "sent by the other": true} {
		t.Run(name, func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				m.seed("fra-seed", seedAddress, "10.0.0.1/24", throughNATs)
				m.seed("ams-seed", secondAddress, "10.0.0.9/24", throughNATs, func(s *station) { s.cfg.Seeds = []string{seedAddress} })
				throttled := simnet.NATConfig{Kind: simnet.PortRestricted, UDPRate: 1_000_000}
				a, b := m.site(2, throughNATs, behindA(2, throttled)), m.site(3, throughNATs, behindA(3, throttled))
				m.endpointsOf(20*time.Second, a, b, "udp", "rawtcp")
				if turn {
					a, b = b, a
				}
				took := time.Duration(0)
				for ; a.peer(b).Link.Path != "rawtcp" && took < time.Minute; took += time.Second {
					bulk(m, a, b, time.Second, 300)
				}
				t.Logf("on fake TCP after %v", took)
				const d = 90 * time.Second
				bulk(m, a, b, 5*time.Second, 300)
				before := a.log.count("path changed", "peer="+b.cfg.Name)
				if n, sent := bulk(m, a, b, d, 300), int(d/time.Second)*300; n < sent-300/4 {
					t.Errorf("%d of %d packets arrived", n, sent)
				}
				if n := a.log.count("path changed", "peer="+b.cfg.Name) - before; n > 0 || a.peer(b).Link.Path != "rawtcp" {
					t.Errorf("the path was changed %d times more, to %q", n, a.peer(b).Link.Path)
				}
			})
		})
	}
}
