package node

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/node/pump"
)

// forger makes of each datagram what an enemy on the line could: it again, parts
// of it, changes of it, older ones, noise.
func forger(seed uint64) func([]byte) [][]byte {
	r := rand.New(rand.NewPCG(seed, 7))
	var old [][]byte
	return func(d []byte) [][]byte {
		d = bytes.Clone(d)
		flipped := bytes.Clone(d)
		flipped[r.IntN(len(d))] ^= 1 << r.IntN(8)
		longer := append(bytes.Clone(d), byte(r.Uint32()))
		noise := make([]byte, r.IntN(1400))
		for i := range noise {
			noise[i] = byte(r.Uint32())
		}
		out := [][]byte{bytes.Clone(d), bytes.Clone(d[:r.IntN(len(d))]), flipped, longer, noise, {}}
		if len(old) < 500 {
			old = append(old, d)
		}
		return append(out, bytes.Clone(old[r.IntN(len(old))]))
	}
}

func TestForgedAndReplayedDatagramsAtEveryNodeChangeNothing(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		forged := func(n uint64) func(*station) { return func(s *station) { s.forge = forger(n) } }
		seed := m.seed("fra-seed", seedAddress, "10.0.0.1/24", forged(1))
		a, b := m.site(2, forged(2)), m.site(3, forged(3))
		m.reachAll(10*time.Second, seed, a, b)
		all := streams(seed, a, b)
		for range 10 * 130 { // beyond a change of keys
			for _, s := range all {
				s.send()
			}
			m.pass(100 * time.Millisecond)
		}
		m.pass(time.Second)
		eachOnce(t, all)
		for _, s := range []*station{seed, a, b} {
			for _, reason := range []pump.Reason{pump.Junk, pump.BadSeal, pump.UnknownIndex} {
				if s.drops(reason) < 100 {
					t.Errorf("%s counts %d for %s", s.cfg.Name, s.drops(reason), reason)
				}
			}
			if n := s.drops(pump.Panicked); n != 0 {
				t.Errorf("%s panicked: %d datagrams lost", s.cfg.Name, n)
			}
			for _, text := range []string{"link is down", "actor failed"} {
				if n := s.log.count(text); n != 0 {
					t.Errorf("%s says %q %d times", s.cfg.Name, text, n)
				}
			}
		}
	})
}

func TestAStrangerThatFloodsTheSeedWithJunkCostsNobodyAPacket(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		seed, sites := m.star(2)
		host := m.net.Host("stranger", "203.0.113.66")
		stranger, err := host.Open(0)
		if err != nil {
			t.Fatal(err)
		}
		connected := make(chan packet.Path, 1)
		stranger.Dial(netip.MustParseAddrPort(seedAddress), func(p packet.Path, err error) {
			if err != nil {
				t.Error(err)
			}
			connected <- p
		})
		path := <-connected
		r := rand.New(rand.NewPCG(5, 5))
		all := streams(seed, sites[0], sites[1])
		train := packet.NewTrain()
		for range 500 {
			for range 10 {
				train.Reset(path.Prefix())
				for range 10 {
					for i, slot := 0, train.Next(200); i < len(slot); i++ {
						slot[i] = byte(r.Uint32())
					}
				}
				if err := path.Send(train); err != nil {
					t.Fatal(err)
				}
			}
			for _, s := range all {
				s.send()
			}
			m.pass(10 * time.Millisecond)
		}
		m.pass(time.Second)
		eachOnce(t, all)
		if n := seed.drops(pump.Junk) + seed.drops(pump.UnknownIndex); n < 50000 {
			t.Errorf("of 50000 junk datagrams %d are counted", n)
		}
		if n := seed.log.count("wrong key?"); n != 1 {
			t.Errorf("the seed complains %d times, want once", n)
		}
		stranger.Close()
	})
}
