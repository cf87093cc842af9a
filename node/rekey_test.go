package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/node/simnet"
)

// stream is numbered packets that one station sends another.
type stream struct {
	from, to *station
	label    string
	sent     int
}

func (s *stream) send() {
	s.from.say(s.from.address(), s.to.address(), fmt.Sprint(s.label, " ", s.sent))
	s.sent++
}

// arrived counts how often each packet of s is among ps.
func (s *stream) arrived(ps []ipPacket) []int {
	counts := make([]int, s.sent)
	for _, p := range ps {
		var n int
		if label, number, ok := strings.Cut(p.payload(), " "); ok && label == s.label {
			if _, err := fmt.Sscan(number, &n); err == nil && n < len(counts) {
				counts[n]++
			}
		}
	}
	return counts
}

// streams go both ways between a seed and a site and, relayed, between two sites.
func streams(seed, a, b *station) []*stream {
	return []*stream{
		{from: a, to: seed, label: "up"}, {from: seed, to: a, label: "down"},
		{from: a, to: b, label: "across"}, {from: b, to: a, label: "back"},
	}
}

// eachOnce complains of every packet that did not arrive exactly once.
func eachOnce(t *testing.T, all []*stream) {
	t.Helper()
	got := map[*station][]ipPacket{}
	for _, s := range all {
		got[s.to] = append(got[s.to], s.to.heard()...)
	}
	for _, s := range all {
		for n, times := range s.arrived(got[s.to]) {
			if times != 1 {
				t.Errorf("packet %d of %q arrived %d times", n, s.label, times)
			}
		}
	}
}

func TestNewKeysEveryTwoMinutesCostNoPacket(t *testing.T) {
	inMesh(t, func(t *testing.T, m *mesh) {
		m.net.SetDefault(simnet.Link{Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond, Reorder: 0.02})
		seed, sites := m.star(2)
		a, b := sites[0], sites[1]
		all := streams(seed, a, b)
		handshake := func(of *station) time.Time { return a.node.peers.Peer(of.node.hello.ID).Snapshot().Handshake }
		first := map[*station]time.Time{seed: handshake(seed), b: handshake(b)}
		for range 10 * 270 { // four minutes and a half: two changes of keys on each link
			for _, s := range all {
				s.send()
			}
			m.pass(100 * time.Millisecond)
		}
		m.pass(time.Second)
		eachOnce(t, all)
		for of, at := range first {
			if newest := handshake(of).Sub(at); newest < 4*time.Minute-time.Second {
				t.Errorf("the newest keys with %s are only %v younger than the first", of.cfg.Name, newest)
			}
		}
	})
}
