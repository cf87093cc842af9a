package node

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/control"
	"github.com/openbmx/lightweight-tunnel/node/simnet"
)

// paced sends numbered packets at an even rate and notes what becomes of them.
type paced struct {
	from, to *station
	label    string
	sent     []time.Time
	at       []time.Time // of the first arrival
	times    []int       // how often each arrived
	order    []int
}

// run sends one packet every step for a while.
func (p *paced) run(m *mesh, d, step time.Duration) {
	for range d / step {
		p.next()
		m.pass(step)
		p.look()
	}
}

// next sends one packet.
func (p *paced) next() {
	p.from.say(p.from.address(), p.to.address(), fmt.Sprintf("%s %d", p.label, len(p.sent)))
	p.sent, p.at, p.times = append(p.sent, time.Now()), append(p.at, time.Time{}), append(p.times, 0)
}

// rest waits for what is still under way.
func (p *paced) rest(m *mesh) {
	for range 100 {
		m.pass(10 * time.Millisecond)
		p.look()
	}
}

// look takes what has arrived.
func (p *paced) look() {
	for _, got := range p.to.heard() {
		var i int
		if n, _ := fmt.Sscanf(got.payload(), p.label+" %d", &i); n != 1 {
			continue
		}
		if p.times[i]++; p.times[i] == 1 {
			p.at[i] = time.Now()
			p.order = append(p.order, i)
		}
	}
}

// missing counts the packets that never arrived, and twice those that did so more
// than once.
func (p *paced) missing() (missing, twice int) {
	for _, n := range p.times {
		switch {
		case n == 0:
			missing++
		case n > 1:
			twice++
		}
	}
	return missing, twice
}

// longest is the longest time in which nothing arrived, from the first arrival on.
func (p *paced) longest() (gap time.Duration) {
	at := slices.Clone(p.at)
	at = slices.DeleteFunc(at, time.Time.IsZero)
	slices.SortFunc(at, time.Time.Compare)
	for i := 1; i < len(at); i++ {
		gap = max(gap, at[i].Sub(at[i-1]))
	}
	return gap
}

func TestAfterABlackholeTrafficIsBackAtOnceAndNothingIsLost(t *testing.T) {
	for _, c := range []struct {
		lasts time.Duration
		queue int
	}{{10 * time.Second, 5000}, {2 * time.Second, 5000}, {60 * time.Second, 5000}, {10 * time.Second, 100}} {
		for _, way := range []string{"from the seed", "to the seed"} {
			t.Run(fmt.Sprint(c.lasts, " queue ", c.queue, " ", way), func(t *testing.T) {
				inMesh(t, func(t *testing.T, m *mesh) {
					m.net.SetDefault(simnet.Link{Delay: 25 * time.Millisecond})
					short := func(s *station) { s.cfg.SendQueue = c.queue }
					seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24", short)
					a := m.site(2, short)
					m.reachAll(10*time.Second, seed, a)
					m.pass(10 * time.Second)
					s := &paced{from: a, to: seed, label: "tick"}
					if way == "from the seed" {
						s.from, s.to = seed, a
					}
					const step = 20 * time.Millisecond
					s.run(m, 5*time.Second, step)
					m.net.Blackhole(seed.host, a.host, true)
					s.run(m, c.lasts, step)
					m.net.Blackhole(seed.host, a.host, false)
					healed := time.Now()
					s.run(m, 5*time.Second, step)
					s.rest(m)

					first := slices.IndexFunc(s.at, func(at time.Time) bool { return at.After(healed) })
					back := s.at[first].Sub(healed)
					for _, at := range s.at {
						if at.After(healed) {
							back = min(back, at.Sub(healed))
						}
					}
					missing, twice := s.missing()
					t.Logf("back after %v, %d of %d missing, %d twice", back, missing, len(s.sent), twice)
					if back > 1500*time.Millisecond {
						t.Errorf("traffic was back %v after the line", back)
					}
					most := 0
					if away := int(c.lasts / step); away > c.queue {
						most = away - c.queue + 25
					}
					if missing > most {
						t.Errorf("%d packets are missing, the queue takes all but %d", missing, most)
					}
					if twice > 0 { // what arrived shortly before goes again, under the same counter
						t.Errorf("%d packets arrived twice", twice)
					}
					if c.lasts > 3*time.Second && !slices.IsSorted(s.order) {
						t.Error("packets arrived out of order")
					}
				})
			})
		}
	}
}

func TestAConnectionThatDiesSilentlyIsLeftWithinThreeSeconds(t *testing.T) {
	for _, way := range []string{"both ways", "to the seed", "from the seed"} {
		t.Run(way, func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				m.net.SetDefault(simnet.Link{Delay: 25 * time.Millisecond})
				seed, sites := m.star(2)
				a := sites[0]
				m.pass(10 * time.Second)
				at := netip.MustParseAddrPort(seedAddress)
				before := a.node.peers.Peer(seed.node.hello.ID).Snapshot().Handshake
				s := &paced{from: a, to: seed, label: "up"}
				if way == "from the seed" {
					s.from, s.to = seed, a
				}
				s.run(m, 3*time.Second, 20*time.Millisecond)
				dead := a.node.peers.Peer(seed.node.hello.ID).Outbound().Path().Local().Port()
				outside := map[uint16]bool{}
				m.net.Swallow(func(src, dst netip.AddrPort) bool {
					// The router's mapping for the old connection is known by being
					// the first one seen.
					far, toSeed := dst, false
					if dst == at {
						far, toSeed = src, true
					} else if src != at {
						return false
					}
					if far.Addr() != netip.MustParseAddr("198.51.100.2") {
						return false
					}
					if len(outside) == 0 {
						outside[far.Port()] = true
					}
					return outside[far.Port()] && (way == "both ways" || toSeed == (way == "to the seed"))
				})
				s.run(m, 10*time.Second, 20*time.Millisecond)
				s.rest(m)
				missing, twice := s.missing()
				t.Logf("longest stall %v, %d missing, %d twice", s.longest(), missing, twice)
				if s.longest() > 3*time.Second {
					t.Errorf("nothing arrived for %v", s.longest())
				}
				// Who is still heard is asked a little later.
				if most := 25; missing > 0 && way == "both ways" || missing > most {
					t.Errorf("%d packets are missing", missing)
				}
				p := a.node.peers.Peer(seed.node.hello.ID)
				if now := p.Outbound().Path().Local().Port(); now == dead {
					t.Error("the port is still the old one")
				}
				if !p.Snapshot().Handshake.Equal(before) {
					t.Error("the session was lost")
				}
				if n := seed.log.count("link is down") + a.log.count("link is down"); n > 0 && way != "from the seed" {
					t.Errorf("a link went down %d times", n)
				}
			})
		})
	}
}

func TestASiteThatMovesKeepsItsSession(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		m.net.SetDefault(simnet.Link{Delay: 25 * time.Millisecond})
		seed, sites := m.star(2)
		a := sites[0]
		m.pass(10 * time.Second)
		session := func() time.Time { return a.node.peers.Peer(seed.node.hello.ID).Snapshot().Handshake }
		before := session()
		for i, move := range []func(){
			func() { a.host.SetAddrs("192.168.2.99") },            // another network at home
			func() { a.router.SetOutside("198.51.100.200") },      // its provider's idea of a good night
			func() { a.router.Reboot() },                          // the mapping is gone
			func() { a.host.SetAddrs("192.168.2.10", "fd09::1") }, // and back
		} {
			s := &paced{from: a, to: seed, label: fmt.Sprint("move", i)}
			s.run(m, time.Second, 20*time.Millisecond)
			move()
			s.run(m, 6*time.Second, 20*time.Millisecond)
			s.rest(m)
			missing, twice := s.missing()
			t.Logf("move %d: longest stall %v, %d missing, %d twice", i, s.longest(), missing, twice)
			if s.longest() > 2*time.Second || missing > 0 {
				t.Errorf("move %d: nothing arrived for %v, %d packets are missing", i, s.longest(), missing)
			}
			if !session().Equal(before) {
				t.Errorf("move %d: the session was lost", i)
				before = session()
			}
			if seed.peer(a).Link.State != control.Up {
				t.Errorf("move %d: the link is %v", i, seed.peer(a).Link.State)
			}
		}
	})
}

func TestADeadPeerDelaysNobody(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed, sites := m.star(3)
		dead, alive := sites[0], sites[1]
		m.pass(5 * time.Second)
		m.net.Blackhole(seed.host, dead.host, true)
		s := &paced{from: seed, to: alive, label: "alive"}
		for range 100 {
			for range 40 {
				seed.say(seed.address(), dead.address(), "into the dark")
			}
			s.run(m, 100*time.Millisecond, 20*time.Millisecond)
		}
		if missing, twice := s.missing(); missing > 1 || twice > 0 {
			t.Errorf("%d packets of another peer are missing, %d came twice", missing, twice)
		}
		if gap := s.longest(); gap > 50*time.Millisecond {
			t.Errorf("another peer heard nothing for %v", gap)
		}
	})
}
