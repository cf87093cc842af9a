package pump

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/node/simnet"
	"github.com/openbmx/lightweight-tunnel/node/tun"
)

// blamed takes the failures that were reported of e's pumps.
func (e *end) blamed() []failure {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.failed
	e.failed = nil
	return all
}

// heals lets time pass until a packet goes from a to b, and back to the test's
// own hands.
func (tr trio) heals(a, b *end) {
	tr.Helper()
	b.sink.clear()
	tr.resume()
	tr.until("traffic from "+a.name+" to "+b.name+" is back", func() bool {
		a.send(udp(a, b, "again"))
		<-time.After(50 * time.Millisecond)
		return b.sink.wrote() > 0
	})
	tr.pause()
	for _, e := range tr.all() {
		e.receive()
		e.sink.clear()
	}
}

func TestAPanicWhileSendingCostsThatBurstAndIsChargedToItsPeer(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		a, hub := tr.a, tr.hub
		path := a.path(hub)
		var sprung atomic.Bool
		fail := func(*packet.Train) error {
			if !sprung.Swap(true) {
				panic("a bug in the transport")
			}
			return nil
		}
		path.onSend.Store(&fail)
		a.send(udp(a, hub, "one"), udp(a, hub, "two"))
		if n := a.count(Panicked); n == 0 {
			t.Error("nothing is counted")
		}
		failed := a.blamed()
		if len(failed) != 1 || failed[0].peer != a.d.Peer(hub.id) || !strings.Contains(failed[0].err.Error(), "a bug in the transport") {
			t.Fatalf("reported: %v", failed)
		}
		hub.receive()
		if n := len(hub.sink.packets(t)); n != 0 {
			t.Errorf("%d packets of the burst arrived", n)
		}
		tr.heals(a, hub)
		if more := a.blamed(); len(more) != 0 {
			t.Errorf("more failures: %v", more)
		}
		frames := loads(a, hub)["packets of several flows"]
		a.send(frames...)
		hub.receive()
		whole(t, hub.sink.packets(t), frames...)
	})
}

func TestAPanicWhileReceivingCostsThatBurstAndIsChargedToItsPeer(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		a, b, hub := tr.a, tr.b, tr.hub
		hub.sink.fail = func(p []byte) {
			if bytes.Contains(p, []byte("poison")) {
				panic("a bug in the device")
			}
		}
		a.send(udp(a, hub, "poison"))
		b.send(udp(b, hub, "mine"))
		hub.receive()
		failed := hub.blamed()
		if len(failed) != 1 || failed[0].peer == nil || !strings.Contains(failed[0].err.Error(), "a bug in the device") {
			t.Fatalf("reported: %v", failed)
		}
		if hub.count(Panicked) == 0 {
			t.Error("nothing is counted")
		}
		tr.heals(a, hub)
		tr.heals(b, hub)
		for _, from := range []*end{a, b} {
			frames := loads(from, hub)["super-packets over IPv4"]
			from.send(frames...)
			hub.receive()
			whole(t, hub.sink.packets(t), frames...)
		}
	})
}

func TestAPanicInTheMiddleOfARelayedBurstDoesNotSpoilTheNext(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		a, b, hub := tr.a, tr.b, tr.hub
		hub.sink.fail = func(p []byte) { panic("a bug in the device") }
		// The relayed packet is in the train when the pump fails.
		a.send(udp(a, b, "relayed"), udp(a, hub, "one"), udp(a, hub, "two"))
		hub.receive()
		if len(hub.blamed()) != 1 {
			t.Fatal("the device did not fail")
		}
		hub.sink.fail = nil
		tr.heals(a, b)
		frames := loads(a, b)["small UDP"]
		a.send(frames...)
		hub.receive()
		b.receive()
		whole(t, b.sink.packets(t), frames...)
		if more := hub.blamed(); len(more) != 0 {
			t.Errorf("more failures: %v", more)
		}
	})
}

func TestAPacketForNobodyIsAnsweredWithHostUnreachable(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		a := tr.a
		for _, c := range []struct {
			to         netip.Addr
			from       netip.Addr
			kind, code byte
		}{
			{netip.MustParseAddr("10.0.0.99"), a.addr, 3, 1},
			{netip.MustParseAddr("fd00::99"), a.v6(), 1, 3},
		} {
			p := udpBytes(c.from, c.to, []byte("anybody?"))
			a.send(p)
			got := a.sink.packets(t)
			if len(got) != 1 {
				t.Fatalf("%d answers", len(got))
			}
			checkError(t, got[0], c.kind, c.code, c.from, p[tun.HeaderLen:])
		}
		if n := a.count(NoRoute); n != 2 {
			t.Errorf("%d packets count as without a route", n)
		}
		many := make([][]byte, 50)
		for i := range many {
			many[i] = udpBytes(a.addr, netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + i)}), []byte("scan"))
		}
		a.send(many...)
		if n := len(a.sink.packets(t)); n == 0 || n > 8 {
			t.Errorf("%d answers to a burst of 50", n)
		}
		a.send(udpBytes(a.addr, netip.MustParseAddr("224.0.0.251"), []byte("mdns")), udpBytes(a.addr, netip.MustParseAddr("10.0.0.255"), []byte("all")))
		if n := len(a.sink.packets(t)); n > 1 {
			t.Errorf("%d answers to multicast and broadcast", n)
		}
	})
}

// checkError wants got to be an ICMP error of that kind to a packet's sender,
// quoting the packet.
func checkError(t *testing.T, got []byte, kind, code byte, to netip.Addr, quoted []byte) {
	t.Helper()
	if err := simnet.Check(got); err != nil {
		t.Fatal(err)
	}
	in, ok := parseInner(got)
	start := 20
	if in.v6 {
		start = 40
	}
	if !ok || in.dst != to || got[start] != kind || got[start+1] != code || !bytes.HasPrefix(got[start+8:], quoted[:28]) {
		t.Errorf("answer to %s: type %d code %d, want type %d code %d: % x", in.dst, got[start], got[start+1], kind, code, got)
	}
}

func TestAPacketThatIsTooBigIsAnsweredWithThePathsMTU(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		a := tr.a
		a.path(tr.hub).room.Store(1200)
		want := a.d.Peer(tr.hub.id).Outbound().MaxPacket()
		for _, c := range []struct {
			from, to   netip.Addr
			kind, code byte
			mtuAt      int
		}{
			{a.addr, tr.hub.addr, 3, 4, 20 + 6},
			{a.v6(), tr.hub.v6(), 2, 0, 40 + 6},
		} {
			p := udpBytes(c.from, c.to, make([]byte, 1300))
			a.send(p)
			got := a.sink.packets(t)
			if len(got) != 1 {
				t.Fatalf("%d answers", len(got))
			}
			checkError(t, got[0], c.kind, c.code, c.from, p[tun.HeaderLen:])
			if mtu := int(binary.BigEndian.Uint16(got[0][c.mtuAt:])); mtu != want {
				t.Errorf("the answer says %d bytes, want %d", mtu, want)
			}
			// Through the hub there is less room.
			var to netip.Addr
			if to = tr.b.addr; !c.to.Is4() {
				to = tr.b.v6()
			}
			a.send(udpBytes(c.from, to, make([]byte, 1300)))
			got = a.sink.packets(t)
			if relayed := a.d.Peer(tr.b.id).Outbound().MaxPacket(); len(got) != 1 || int(binary.BigEndian.Uint16(got[0][c.mtuAt:])) != relayed || relayed >= want {
				t.Errorf("for the relayed path: %d answers, room for %d", len(got), relayed)
			}
		}
		if n := a.count(TooBig); n != 4 {
			t.Errorf("%d packets count as too big", n)
		}
		// What routers may cut is cut.
		p := udpBytes(a.addr, tr.hub.addr, make([]byte, 3000))
		p[tun.HeaderLen+6] = 0
		(&inner{}).setLength(p[tun.HeaderLen:])
		a.send(p)
		tr.hub.receive()
		total := 0
		for _, f := range tr.hub.sink.clear() {
			if len(f) > want+tun.HeaderLen {
				t.Errorf("a fragment of %d bytes", len(f))
			}
			total += len(f) - tun.HeaderLen - 20
		}
		if total != 3008 {
			t.Errorf("fragments of %d bytes arrived, want 3008", total)
		}
	})
}

func TestTheSegmentSizeOfNewConnectionsIsClampedToThePath(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		a := tr.a
		syn := func(from, to netip.Addr, partial bool) []byte {
			p := simnet.TCP(netip.AddrPortFrom(from, 4000), netip.AddrPortFrom(to, 5000), 1, 0, simnet.SYN, nil)
			in, _ := parseInner(p)
			copy(p[in.l4+20:], []byte{2, 4, 8900 >> 8, 8900 & 0xff, 1, 1, 1, 1, 1, 1, 1, 1})
			h := tun.Header{}
			binary.BigEndian.PutUint16(p[in.l4+16:], fold(in.pseudoSum(p)))
			if partial {
				h = tun.Header{Flags: tun.NeedsChecksum, CsumStart: uint16(in.l4), CsumOffset: 16}
			} else {
				finishChecksum(p, in.l4+16, in.l4)
			}
			return frame(h, p)
		}
		for _, partial := range []bool{false, true} {
			for _, c := range []struct {
				from, to netip.Addr
				end      *end
				head     int
			}{
				{a.addr, tr.hub.addr, tr.hub, 40}, {a.v6(), tr.hub.v6(), tr.hub, 60},
				{a.addr, tr.b.addr, tr.b, 40}, {a.v6(), tr.b.v6(), tr.b, 60},
			} {
				a.send(syn(c.from, c.to, partial))
				tr.hub.receive()
				tr.b.receive()
				got := c.end.sink.packets(t)
				if len(got) != 1 {
					t.Fatalf("%d packets to %s", len(got), c.to)
				}
				in, _ := parseInner(got[0])
				want := a.d.Peer(c.end.id).Outbound().MaxPacket() - c.head
				if mss := int(binary.BigEndian.Uint16(got[0][in.l4+22:])); mss != want {
					t.Errorf("to %s, partial %v: segment size %d, want %d", c.to, partial, mss, want)
				}
			}
		}
	})
}

func TestAClosedPathIsReportedToItsLinkAndHealed(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		a, hub := tr.a, tr.hub
		a.path(hub).Close()
		for range 5 {
			a.send(udp(a, hub, "into the void"))
		}
		// The link learns of it at the first, and what follows may wait already.
		if n := a.count(PathGone); n == 0 || n > 5 {
			t.Errorf("%d packets count as lost with the path", n)
		}
		tr.resume()
		tr.until("the link has noticed", func() bool { return a.d.Peer(hub.id).Outbound() == nil })
		tr.pause()
		tr.heals(a, hub)
	})
}

func TestAPathThatIsFullCostsPacketsAndNothingElse(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		a, hub := tr.a, tr.hub
		full := func(*packet.Train) error { return packet.ErrFull }
		a.path(hub).onSend.Store(&full)
		a.send(udp(a, hub, "one"), udp(a, hub, "two"))
		if n := a.count(PathFull); n != 2 {
			t.Errorf("%d packets count as too many, want 2", n)
		}
		a.path(hub).onSend.Store(nil)
		a.send(udp(a, hub, "three"))
		hub.receive()
		whole(t, hub.sink.packets(t), udp(a, hub, "three"))
	})
}

func TestARelayThatIsOutOfReachTellsNoSenderAnMTU(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		a := tr.a
		a.path(tr.hub).room.Store(0) // as a relayed path says while its relay has no path itself
		a.send(udp(a, tr.b, "patience"))
		if got := a.sink.packets(t); len(got) != 0 || a.count(TooBig) != 0 {
			t.Errorf("%d ICMP errors, %d packets count as too big", len(got), a.count(TooBig))
		}
	})
}

func TestReplayedAndSpoofedDatagramsAreDroppedAndCounted(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		a, b, hub := tr.a, tr.b, tr.hub
		var seen [][]byte
		tap := func(t *packet.Train) error {
			for i := range t.Len() {
				seen = append(seen, bytes.Clone(t.Datagram(i)))
			}
			return nil
		}
		path := a.path(hub)
		path.onSend.Store(&tap)
		frames := loads(a, hub)["small UDP"]
		a.send(frames...)
		a.send(udp(a, b, "relayed"))
		hub.receive()
		b.receive()
		whole(t, hub.sink.packets(t), frames...)
		whole(t, b.sink.packets(t), udp(a, b, "relayed"))
		refused := func() uint64 { return hub.count(BadSeal) + hub.count(Junk) + hub.count(UnknownIndex) }
		before := refused() // what the handshakes of the start left over
		for i, d := range seen {
			hub.in.burst(packet.Arrivals{{Data: bytes.Clone(d), Path: path.back}})
			d[i%len(d)] ^= 1
			hub.in.burst(packet.Arrivals{{Data: d, Path: path.back}})
			hub.in.burst(packet.Arrivals{{Data: d[:i%len(d)], Path: path.back}})
		}
		b.receive()
		if n := len(hub.sink.packets(t)) + len(b.sink.packets(t)); n != 0 {
			t.Errorf("%d replayed or forged packets were delivered", n)
		}
		if n := refused() - before; n != uint64(3*len(seen)) {
			t.Errorf("%d of %d are counted", n, 3*len(seen))
		}
		a.send(udpBytes(b.addr, hub.addr, []byte("I am b")), udpBytes(hub.addr, hub.addr, []byte("I am you")))
		hub.receive()
		if n := hub.count(SpoofedSource); n != 2 || len(hub.sink.packets(t)) != 0 {
			t.Errorf("%d packets count as spoofed", n)
		}
	})
}

func TestARelayForwardsOnlyAsFarAsTheHopsGo(t *testing.T) {
	withTrio(t, func(t *testing.T, tr trio) {
		a, b, hub := tr.a, tr.b, tr.hub
		path := hub.d.RelayPath(hub.d.Peer(a.id), b.id.Short())
		if path.Kind() != packet.Relay || !path.Alive() {
			t.Fatal("no path through a")
		}
		// The hub sends through a, which does not relay.
		train := packet.NewTrain()
		train.Reset(path.Prefix())
		copy(train.Next(200), make([]byte, 200))
		if err := path.Send(train); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		a.receive()
		if n := a.count(RelayUnknown) + a.count(RelayRefused); n != 1 {
			t.Errorf("%d datagrams count as not forwarded", n)
		}
		// And a sends through the hub what is for itself.
		back := a.d.RelayPath(a.d.Peer(hub.id), a.id.Short())
		train.Reset(back.Prefix())
		copy(train.Next(200), make([]byte, 200))
		if err := back.Send(train); err != nil {
			t.Fatal(err)
		}
		hub.receive()
		if n := hub.count(RelayRefused); n != 1 {
			t.Errorf("%d datagrams were refused to be sent back", n)
		}
	})
}
