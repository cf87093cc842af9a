package node

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/simnet"
	"github.com/openbmx/lightweight-tunnel/peerlink/repair"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

func TestASlowPeerDelaysNobody(t *testing.T) {
	for _, direct := range []bool{true, false} {
		t.Run(fmt.Sprint("direct ", direct), func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				m.net.SetDefault(simnet.Link{Delay: 25 * time.Millisecond})
				alone := func(s *station) { s.cfg.P2P = direct }
				seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24", alone)
				slow, quick, from := m.site(2, alone), m.site(3, alone), m.site(4, alone)
				m.reachAll(15*time.Second, seed, slow, quick, from)
				m.pass(15 * time.Second)
				// A line of 200 kbit/s with two seconds of queue, far too little for what
				// goes there; it loses besides, so that there is much to mend.
				line := simnet.Link{Delay: 300 * time.Millisecond, Jitter: 100 * time.Millisecond, Loss: 0.05, Rate: 200_000, Queue: 50_000}
				m.net.SetLink(seed.host, slow.host, line)
				m.net.SetLink(from.host, slow.host, line)
				s := &paced{from: from, to: quick, label: "quick"}
				told := 0
				for range 100 {
					for range 20 {
						from.say(from.address(), slow.address(), string(make([]byte, 1000)))
						seed.say(seed.address(), slow.address(), string(make([]byte, 1000)))
						told += 2
					}
					s.run(m, 100*time.Millisecond, 20*time.Millisecond)
				}
				s.rest(m)
				// It is slow, not dead.
				if came := len(slow.heard()); came < 50 || came > told/2 {
					t.Errorf("%d of %d packets came to the slow peer", came, told)
				}
				if missing, twice := s.missing(); missing > 0 || twice > 0 {
					t.Errorf("%d packets of another peer are missing, %d came twice", missing, twice)
				}
				if gap := s.longest(); gap > 50*time.Millisecond {
					t.Errorf("another peer heard nothing for %v", gap)
				}
			})
		})
	}
}

// opening is a TCP SYN over IPv4 with an MSS option.
func opening(src, dst netip.AddrPort, mss uint16) []byte {
	const start = 20
	p := simnet.TCP(src, dst, 1, 0, 2, []byte{2, 4, byte(mss >> 8), byte(mss)})
	p[start+12] = 9 << 4 // words of header: eight before
	sum := uint32(^binary.BigEndian.Uint16(p[start+16:])) + 1<<12
	binary.BigEndian.PutUint16(p[start+16:], ^uint16(sum+sum>>16))
	return p
}

func TestAnMTUThatIsGivenIsThatOfAllThatPasses(t *testing.T) {
	const line = 1500
	// What fits an envelope on such a line: less than the largest that is given.
	const relayed = line - 20 - 32 - 5 - wire.RelayOverhead - wire.Overhead - repair.Room
	for _, mtu := range []int{1300, 1350, relayed, 1400} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			inMesh(t, func(t *testing.T, m *mesh) {
				m.net.SetDefault(simnet.Link{Delay: 25 * time.Millisecond, MTU: line})
				given := func(s *station) { s.cfg.MTU, s.cfg.P2P = mtu, false }
				seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24 fd00::1/64", given)
				a, b := m.site(2, given), m.site(3, given)
				m.reachAll(15*time.Second, seed, a, b)
				m.pass(40 * time.Second) // long enough to find more, if anybody looked
				if shown := (source{a.node}).self().MTU; shown != mtu {
					t.Errorf("the interface is shown with %d", shown)
				}
				for _, to := range []*station{seed, b} {
					most := mtu
					if to == b { // through the seed, in an envelope
						most = min(mtu, relayed)
					}
					if got := a.offers(to); got != most {
						t.Errorf("packets of up to %d bytes go to %s", got, to.cfg.Name)
					}
					text := string(make([]byte, most-28))
					a.say(a.address(), to.address(), text)
					if _, ok := to.hears(text, time.Second); !ok {
						t.Errorf("a packet of %d bytes does not arrive at %s", most, to.cfg.Name)
					}
					// One more is too big, and its sender is told.
					a.say(a.address(), to.address(), text+"!")
					a.kernel.tun.Inject(opening(netip.AddrPortFrom(a.address(), 5000), netip.AddrPortFrom(to.address(), 5000), 1460))
					m.pass(time.Second)
					told, clamped := 0, 0
					for _, p := range a.heard() {
						if p.icmp() == 3 {
							told = int(binary.BigEndian.Uint16(p.body[6:]))
						}
					}
					for _, p := range to.heard() {
						if p.proto == 6 {
							clamped = int(binary.BigEndian.Uint16(p.body[34:]))
						} else if len(p.payload()) > most-28 {
							t.Errorf("%s got a packet of %d bytes", to.cfg.Name, len(p.payload())+28)
						}
					}
					if told != most || clamped != most-40 {
						t.Errorf("on the way to %s the sender is told of %d bytes, its TCP of segments of %d", to.cfg.Name, told, clamped)
					}
				}
			})
		})
	}
}

func TestWhereAnEnvelopeIsTooLargeForTheMTUThatIsGivenRelayedPeersGetLess(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		const mtu = 1300
		// The interfaces say 1500; what the line carries is for the packets alone.
		m.net.SetDefault(simnet.Link{Delay: 25 * time.Millisecond, MTU: mtu + repair.Room + wire.Overhead + 5 + 32 + 20})
		given := func(s *station) { s.cfg.MTU, s.cfg.P2P = mtu, false }
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24", given)
		a, b := m.site(2, given), m.site(3, given)
		m.reachAll(15*time.Second, seed, a, b)
		m.pass(20 * time.Second)
		if got := a.offers(seed); got != mtu {
			t.Errorf("packets of up to %d bytes go to the seed", got)
		}
		got := a.offers(b)
		if most := mtu - wire.RelayOverhead; got > most || got < most-8 {
			t.Errorf("packets of up to %d bytes go through it, want %d or a little less", got, most)
		}
		text := string(make([]byte, got-28))
		a.say(a.address(), b.address(), text)
		if _, ok := b.hears(text, time.Second); !ok {
			t.Errorf("a packet of %d bytes does not arrive", got)
		}
	})
}
