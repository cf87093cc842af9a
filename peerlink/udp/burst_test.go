package udp

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

// bursts are trains of every shape.
func bursts() []*packet.Train {
	return []*packet.Train{
		train(1, 1, 0), train(1, 1452, 0), train(2, 1000, 0), train(2, 1000, 1), train(45, 1452, 100),
		train(64, 200, 0), train(65, 200, 0), train(127, 500, 7), train(128, 20, 0), train(1, 1400, 1399),
	}
}

func TestBurstsArriveWholeAndInOrder(t *testing.T) {
	for name, c := range map[string]struct {
		cfg           Config
		offload       string
		send, receive string
	}{
		"offloads on":          {Config{}, "", ModeGSO, ModeGRO},
		"offloads off":         {Config{}, "gso off gro off tso off tx-udp-segmentation off", ModeGSO, ModeGRO},
		"no segmentation":      {Config{NoGSO: true}, "", ModeBatch, ModeGRO},
		"no merging":           {Config{NoGRO: true}, "", ModeGSO, ModeReceive},
		"neither":              {Config{NoGSO: true, NoGRO: true}, "", ModeBatch, ModeReceive},
		"one datagram a call":  {Config{NoGSO: true, NoGRO: true, NoBatch: true}, "", ModeSingle, ModeReceiveOne},
		"one merged a call":    {Config{NoBatch: true}, "", ModeGSO, ModeGRO},
		"merging by interface": {Config{NoGSO: true}, "gro on rx-udp-gro-forwarding on", ModeBatch, ModeGRO},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			families(t, c.cfg, c.cfg, func(t *testing.T, a, b *host, at func(*host, bool) netip.AddrPort) {
				if c.offload != "" {
					for _, n := range []*nstest.NS{a.ns, b.ns} {
						if _, err := n.Try("ethtool -K v0 " + c.offload); err != nil {
							t.Skip(err)
						}
					}
				}
				p := a.through(t, 0, at(b, true))
				p.Adopt()
				var back *Path
				for _, tr := range bursts() {
					send(t, p, tr)
					back = b.takes(t, tr)
					send(t, back, tr)
					if got := a.takes(t, tr); got != p {
						t.Fatalf("the answer came by %v, not %v", got, p)
					}
				}
				if back.Remote() != at(a, false) || back.Local() != at(b, true) {
					t.Errorf("path %v", back)
				}
				if s := a.Status(); s.Send != c.send || s.Receive != c.receive {
					t.Errorf("sends by %q, receives by %q", s.Send, s.Receive)
				}
				for _, h := range []*host{a, b} {
					if d := h.Drops(); len(d) > 0 {
						t.Errorf("dropped: %v", d)
					}
				}
			})
		})
	}
}

func TestAnInterfaceWithoutChecksumOffloadGetsSingleDatagrams(t *testing.T) {
	na, nb := nstest.Pair(t)
	a, b := pumped(t, na, Config{}), pumped(t, nb, Config{})
	if _, err := na.Try("ethtool -K v0 tx off"); err != nil {
		t.Skip(err)
	}
	p := a.through(t, 0, b.at(b4))
	for _, tr := range bursts() { // newer kernels segment all the same
		send(t, p, tr)
		b.takes(t, tr)
	}
}

func TestRefusedSegmentationIsRememberedUntilTheRouteChanges(t *testing.T) {
	na, nb := nstest.Pair(t)
	a, b := pumped(t, na, Config{}), pumped(t, nb, Config{})
	// The kernel refuses to segment what IPsec is to encrypt. (EIO)
	for _, c := range []struct {
		ns       *nstest.NS
		out, own string
	}{{na, "out", "in"}, {nb, "in", "out"}} {
		for _, line := range []string{
			"ip xfrm state add src 10.77.0.1 dst 10.77.0.2 proto esp spi 0x100 mode transport auth hmac(sha256) 0x0000000000000000000000000000000000000000000000000000000000000001 enc cipher_null 0x",
			"ip xfrm policy add src 10.77.0.1 dst 10.77.0.2 proto udp dir " + c.out + " tmpl proto esp mode transport",
		} {
			if _, err := c.ns.Try(line); err != nil {
				t.Skipf("no IPsec here: %v", err)
			}
		}
	}
	p := a.through(t, 0, b.at(b4))
	p.Adopt()
	for range 2 {
		tr := train(10, 1000, 5)
		send(t, p, tr)
		b.takes(t, tr)
		if p.Mode() != ModeBatch {
			t.Fatalf("sends by %q", p.Mode())
		}
	}
	na.Run("ip xfrm policy flush", "ip xfrm state flush", "ip link set v0 mtu 1400")
	nb.Run("ip xfrm policy flush", "ip xfrm state flush")
	eventually(t, "segmentation is tried again", func() bool { return p.Mode() == ModeGSO })
	tr := train(10, 1000, 5)
	send(t, p, tr)
	b.takes(t, tr)
	if p.Mode() != ModeGSO || len(a.Drops()) > 0 {
		t.Fatalf("sends by %q, dropped %v", p.Mode(), a.Drops())
	}
}

func TestDatagramsLongerThanTheLinkAreDroppedAndCounted(t *testing.T) {
	families(t, Config{}, Config{}, func(t *testing.T, a, b *host, at func(*host, bool) netip.AddrPort) {
		p := a.through(t, 0, at(b, true))
		p.Adopt()
		headers := 28
		if at(b, true).Addr().Is6() {
			headers = 48
		}
		if got := p.MaxDatagram(); got != 1500-headers {
			t.Fatalf("largest datagram: %d", got)
		}
		send(t, p, train(3, 1500-headers, 0))
		back := b.takes(t, train(3, 1500-headers, 0))
		if err := p.Send(train(3, 1501-headers, 0)); err != packet.ErrFull {
			t.Fatalf("one byte more: %v", err)
		}
		if got := a.Drops()["too-long-for-path"]; got != 3 {
			t.Fatalf("dropped: %v", a.Drops())
		}
		// Whoever has not looked at the route is told by the kernel.
		if err := back.Send(train(3, 1501-headers, 0)); err != packet.ErrFull {
			t.Fatalf("a stranger, one byte more: %v", err)
		}
		if got := b.Drops()["too-long-for-path"]; got != 3 {
			t.Fatalf("dropped: %v", b.Drops())
		}
		a.ns.Run("ip link set v0 mtu 1300")
		eventually(t, "the MTU is followed", func() bool { return p.MaxDatagram() == 1300-headers })
	})
}
