package udp

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

// bursts are trains of every shape.
func bursts() []*packet.Train {
	return []*packet.Train{
		train(1, 1, 0), train(1, 1452, 0), train(2, 1000, 0), train(2, 1000, 1), train(44, 1452, 100),
		train(64, 200, 0), train(65, 200, 0), train(127, 500, 7), train(128, 20, 0), train(1, 1400, 1399),
	}
}

func TestBurstsArriveWholeAndInOrder(t *testing.T) {
	na, nb := nstest.Pair(t)
	both := func(t *testing.T, features string) {
		for _, n := range []*nstest.NS{na, nb} {
			if _, err := n.Try("ethtool -K v0 " + features); err != nil {
				t.Skip(err)
			}
		}
	}
	for _, c := range []struct {
		name          string
		cfg           Config
		features      string // of both interfaces, and how to undo them
		restore       string
		send, receive string
	}{
		{"all offloads", Config{}, "", "", ModeGSO, ModeGRO},
		{"no offload by the interface", Config{}, "gso off gro off tso off tx off", "tx on gso on tso on", ModeGSO, ModeGRO},
		{"merging by the interface", Config{NoGSO: true}, "gro on rx-udp-gro-forwarding on", "rx-udp-gro-forwarding off gro off", ModeBatch, ModeGRO},
		{"no segmentation", Config{NoGSO: true}, "", "", ModeBatch, ModeGRO},
		{"no merging", Config{NoGRO: true}, "", "", ModeGSO, ModeReceive},
		{"neither", Config{NoGSO: true, NoGRO: true}, "", "", ModeBatch, ModeReceive},
		{"one datagram a call", Config{NoGSO: true, NoGRO: true, NoBatch: true}, "", "", ModeSingle, ModeReceiveOne},
		{"one merged packet a call", Config{NoBatch: true}, "", "", ModeGSO, ModeGRO},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.features != "" {
				both(t, c.features)
				defer both(t, c.restore)
			}
			families(t, na, nb, c.cfg, c.cfg, func(t *testing.T, a, b *host, at addresses) {
				p := a.through(t, 0, b.at(at.b))
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
				if back.Remote() != a.at(at.a) || back.Local() != b.at(at.b) {
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

// withoutChecksum sets whether the sockets of h send without a checksum, which
// the kernel does not segment (EINVAL).
func withoutChecksum(t *testing.T, h *host, on int) {
	t.Helper()
	for _, s := range *h.sockets.Load() {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, on); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusedSegmentationIsRememberedUntilTheRouteChanges(t *testing.T) {
	na, nb := nstest.Pair(t)
	a, b := pumped(t, na, Config{}), pumped(t, nb, Config{})
	p := a.through(t, 0, b.at(b4))
	p.Adopt()
	burst := func(mode string) {
		t.Helper()
		for _, tr := range bursts() {
			send(t, p, tr)
			b.takes(t, tr)
		}
		if p.Mode() != mode || a.Status().Send != mode || len(a.Drops()) > 0 {
			t.Fatalf("sends by %q, dropped %v", p.Mode(), a.Drops())
		}
	}
	burst(ModeGSO)
	withoutChecksum(t, a, 1)
	burst(ModeBatch)
	withoutChecksum(t, a, 0)
	burst(ModeBatch)
	na.Run("ip link set v0 mtu 1490")
	eventually(t, "segmentation is tried again", func() bool { return p.Mode() == ModeGSO })
	burst(ModeGSO)
}

func TestSegmentationIsNotBlamedForDatagramsThatAreTooLong(t *testing.T) {
	na, nb := nstest.Pair(t)
	a, b := pumped(t, na, Config{}), pumped(t, nb, Config{})
	send(t, a.through(t, 0, b.at(b4)), text("hello"))
	stranger := b.takes(t, text("hello"))
	b.lookups.perSecond = 0 // so nothing but the kernel knows the MTU
	if err := stranger.Send(train(3, 1473, 0)); !errors.Is(err, packet.ErrFull) {
		t.Fatalf("one byte too long: %v", err)
	}
	if got := b.Drops()["too-long-for-path"]; got != 3 || stranger.Mode() != ModeGSO {
		t.Fatalf("dropped %v, sends by %q", b.Drops(), stranger.Mode())
	}
	send(t, stranger, train(3, 1472, 0))
	a.takes(t, train(3, 1472, 0))
}

func TestDatagramsLongerThanTheLinkAreDroppedAndCounted(t *testing.T) {
	na, nb := nstest.Pair(t)
	families(t, na, nb, Config{}, Config{}, func(t *testing.T, a, b *host, at addresses) {
		p := a.through(t, 0, b.at(at.b))
		p.Adopt()
		headers := headers4
		if at.b.Is6() {
			headers = headers6
		}
		if got := p.MaxDatagram(); got != 1500-headers {
			t.Fatalf("largest datagram: %d", got)
		}
		send(t, p, train(3, 1500-headers, 0))
		b.takes(t, train(3, 1500-headers, 0))
		if err := p.Send(train(3, 1501-headers, 0)); !errors.Is(err, packet.ErrFull) {
			t.Fatalf("one byte more: %v", err)
		}
		if got := a.Drops()["too-long-for-path"]; got != 3 {
			t.Fatalf("dropped: %v", a.Drops())
		}
		na.Run("ip link set v0 mtu 1300")
		eventually(t, "the MTU is followed", func() bool { return p.MaxDatagram() == 1300-headers })
		na.Run("ip link set v0 mtu 1500")
		eventually(t, "the MTU is followed", func() bool { return p.MaxDatagram() == 1500-headers })
	})
}
