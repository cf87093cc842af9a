package pump

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/openbmx/lightweight-tunnel/node/simnet"
	"github.com/openbmx/lightweight-tunnel/node/tun"
	"github.com/openbmx/lightweight-tunnel/routes"
)

// loads are the kinds of traffic that the data path carries in bulk.
func loads(from, to *end) map[string][][]byte {
	small := make([][]byte, 40)
	for i := range small {
		small[i] = udpBytes(from.addr, to.addr, make([]byte, 64))
	}
	segments := make([][]byte, 32)
	for i := range segments {
		segments[i] = frame(tun.Header{}, simnet.TCP(netip.AddrPortFrom(from.addr, 4000), netip.AddrPortFrom(to.addr, 5000),
			uint32(i*1300), 1, simnet.ACK, make([]byte, 1300)))
	}
	h, p := simnet.Super(simnet.UDP(netip.AddrPortFrom(from.addr, 4000), netip.AddrPortFrom(to.addr, 5000), make([]byte, 30*1200)), 1200)
	return map[string][][]byte{
		"super-packets over IPv4":     {bulk(from.addr, to.addr, 1, 60000, 1300), bulk(from.addr, to.addr, 60001, 60000, 1300)},
		"super-packets over IPv6":     {bulk(from.v6(), to.v6(), 1, 60000, 1280)},
		"packets of their final size": segments,
		"small UDP":                   small,
		"UDP super-packets":           {frame(h, p)},
		"a ping":                      {frame(tun.Header{}, simnet.Echo(from.addr, to.addr, 1, 1, []byte("ping")))},
		"packets of several flows":    {bulk(from.addr, to.addr, 1, 20000, 1300), small[0], bulk(from.v6(), to.v6(), 1, 20000, 1280), small[1]},
	}
}

func TestEveryKindOfTrafficArrivesAsItWasSent(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		for name, frames := range loads(tr.a, tr.hub) {
			tr.a.send(frames...)
			tr.hub.receive()
			t.Log(name)
			whole(t, tr.hub.sink.packets(t), frames...)
		}
		for name, frames := range loads(tr.a, tr.b) {
			tr.a.send(frames...)
			tr.hub.receive()
			tr.b.receive()
			t.Log("relayed:", name)
			whole(t, tr.b.sink.packets(t), frames...)
			if n := len(tr.hub.sink.frames); n != 0 {
				t.Fatalf("the relay wrote %d packets to its own device", n)
			}
		}
		for _, e := range tr.all() {
			e.drops.Each(func(reason string, n uint64) { t.Errorf("%s dropped %d: %s", e.name, n, reason) })
		}
	})
}

func TestTheWholeWalkOfAPacketAllocatesNothing(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		for _, e := range tr.all() {
			e.sink.counting = true
		}
		walk := func(name string, to *end, through ...*end) {
			for load, frames := range loads(tr.a, to) {
				before := to.sink.bytes
				n := testing.AllocsPerRun(20, func() {
					tr.a.send(frames...)
					for _, e := range through {
						e.receive()
					}
					to.receive()
				})
				if n != 0 {
					t.Errorf("%s, %s: %v allocations per batch", name, load, n)
				}
				if to.sink.bytes == before {
					t.Errorf("%s, %s: nothing arrived", name, load)
				}
			}
		}
		walk("direct", tr.hub)
		walk("relayed", tr.b, tr.hub)
	})
}

func TestSuperPacketsAreJoinedAgainAtTheFarEnd(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		tr.a.send(bulk(tr.a.addr, tr.hub.addr, 1, 60000, 1348))
		tr.hub.receive()
		if n := len(tr.hub.sink.frames); n != 1 {
			t.Errorf("one super-packet became %d writes", n)
		}
	})
}

func TestSegmentsThatDoNotFitARelayedPathAreCutAgain(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		f := bulk(tr.a.addr, tr.b.addr, 1, 60000, 1348)
		stream := bytes.Clone(f[tun.HeaderLen+52:])
		tr.a.send(f)
		tr.hub.receive()
		tr.b.receive()
		limit := tr.a.d.Peer(tr.b.id).Outbound().MaxPacket()
		var got []byte
		for _, p := range tr.b.sink.packets(t) {
			if len(p) > limit {
				t.Errorf("a packet of %d bytes on a path for %d", len(p), limit)
			}
			if seq := binary.BigEndian.Uint32(p[24:]); int(seq)-1 != len(got) {
				t.Fatalf("sequence number %d behind %d bytes", seq, len(got))
			}
			got = append(got, p[52:]...)
		}
		if !bytes.Equal(got, stream) {
			t.Errorf("%d bytes arrived, not the %d that were sent", len(got), len(stream))
		}
	})
}

// The routes hear of a link after the peer does, who may send at once.
func TestAPeersFirstPacketsNeedNotWaitForTheRoutes(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		a, b, hub := tr.a, tr.b, tr.hub
		hub.in.FIB = func() *routes.FIB { return nil }
		frames := loads(a, hub)["small UDP"]
		a.send(frames...)
		hub.receive()
		whole(t, hub.sink.packets(t), frames...)
		a.send(udpBytes(b.addr, hub.addr, []byte("I am b")), udpBytes(netip.MustParseAddr("10.0.0.99"), hub.addr, []byte("I am nobody")))
		hub.receive()
		if n := hub.count(SpoofedSource); n != 2 || len(hub.sink.packets(t)) != 0 {
			t.Errorf("%d packets count as spoofed, want 2", n)
		}
	})
}
