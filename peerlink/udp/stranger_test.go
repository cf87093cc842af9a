package udp

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

func TestAFloodOfStrangersIsAnsweredWithoutLookingAtRoutes(t *testing.T) {
	na, nb := nstest.Pair(t)
	families(t, na, nb, Config{}, Config{}, func(t *testing.T, a, b *host, at addresses) {
		b.lookups.perSecond = 0 // as after so many in this second
		p := a.through(t, 0, b.at(at.b))
		send(t, p, text("hello"))
		stranger := b.takes(t, text("hello"))
		err := stranger.Send(text("answer"))
		if at.b.Is6() {
			if !errors.Is(err, packet.ErrFull) || b.Drops()["too-many-strangers"] != 1 {
				t.Fatalf("%v: %v", err, b.Drops())
			}
		} else if err != nil {
			t.Fatal(err)
		} else if got := a.takes(t, text("answer")); got != p {
			t.Fatalf("by %v", got)
		}
		if stranger.way.Load() != nil || stranger.MaxDatagram() > p.MaxDatagram() {
			t.Fatalf("the routes were looked at: %d", stranger.MaxDatagram())
		}
		stranger.Adopt()
		send(t, stranger, text("friend"))
		a.takes(t, text("friend"))
		if stranger.MaxDatagram() != p.MaxDatagram() {
			t.Fatalf("largest datagrams: %d and %d", stranger.MaxDatagram(), p.MaxDatagram())
		}
	})
}

func TestLinkLocalNeighboursAreReachedOnTheirLink(t *testing.T) {
	na, nb := nstest.Pair(t)
	a, b := pumped(t, na, Config{}), pumped(t, nb, Config{})
	var far netip.Addr
	eventually(t, "addresses on the link", func() bool {
		for _, n := range []*nstest.NS{na, nb} {
			words := strings.Fields(n.Run("ip -6 -o addr show dev v0 scope link -tentative"))
			if len(words) < 4 {
				return false
			}
			far = netip.MustParsePrefix(words[3]).Addr()
		}
		return true
	})
	p := a.through(t, 0, b.at(far.WithZone("v0")))
	if p.MaxDatagram() != 1500-headers6 || p.Remote().Addr().Zone() == "" {
		t.Fatalf("%v takes %d bytes", p, p.MaxDatagram())
	}
	p.Adopt()
	send(t, p, text("hello"))
	back := b.takes(t, text("hello"))
	for range 2 {
		send(t, back, text("answer"))
		if got := a.takes(t, text("answer")); got != p {
			t.Fatalf("the answer came by %v, not %v", got, p)
		}
		back.Adopt()
	}
	if own := b.through(t, 0, back.Remote()); own != back {
		t.Fatalf("asked for %v, another path", own)
	}
	if _, err := a.Through(0, b.at(far)); err == nil {
		t.Fatal("a link-local path without a link")
	}
}

func TestRunAgainFindsItsPaths(t *testing.T) {
	na, nb := nstest.Pair(t)
	a, b := pumped(t, na, Config{}), pumped(t, nb, Config{})
	p := a.through(t, 0, b.at(b4))
	p.Adopt()
	a.stop()
	na.Run("ip link set v0 mtu 1400")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	eventually(t, "what changed meanwhile is noticed", func() bool { return p.MaxDatagram() == 1400-headers4 })
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	send(t, p, text("hello"))
	b.takes(t, text("hello"))
}
