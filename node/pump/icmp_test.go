package pump

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/openbmx/lightweight-tunnel/node/simnet"
	"github.com/openbmx/lightweight-tunnel/node/tun"
)

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
