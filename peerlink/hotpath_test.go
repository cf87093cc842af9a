package peerlink

import (
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/noise"
	"github.com/openbmx/lightweight-tunnel/peerlink/repair"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// sink is a path that swallows everything.
type sink struct{ prefix int }

func (s *sink) Send(*packet.Train) error { return nil }
func (s *sink) Prefix() int              { return s.prefix }
func (s *sink) MaxDatagram() int         { return 1400 }
func (s *sink) Kind() packet.Kind        { return packet.RawTCP }
func (s *sink) Local() netip.AddrPort    { return netip.AddrPort{} }
func (s *sink) Remote() netip.AddrPort   { return netip.AddrPort{} }
func (s *sink) Alive() bool              { return true }
func (s *sink) Adopt()                   {}
func (s *sink) Close()                   {}

// bare is a directory without actors, with one session to itself: what it seals
// it can open.
func bare(tb testing.TB) (*Directory, *Outbound) {
	tb.Helper()
	key := testKey("bare")
	d, err := New(Config{
		ID: key.id, Static: noise.StaticKey(key.private), Dialer: &site{}, Relay: true,
		Hello: func() message.Hello { return message.Hello{Name: "bare"} },
	})
	if err != nil {
		tb.Fatal(err)
	}
	peer := newPeer(message.NodeID{1}, "peer", &d.room)
	d.addPeer(peer)
	var k [32]byte
	rand.Read(k[:])
	index := d.sessions.reserve(slot{})
	s := d.newSession(peer, noise.Result{Send: k, Receive: k}, index, index, nil, time.Now())
	d.sessions.set(index, slot{inbound: s.in})
	out := &Outbound{peer: peer, path: &sink{prefix: 5}, sealer: s.sealer}
	peer.out.Store(out)
	return d, out
}

func TestThePumpsAllocateNothing(t *testing.T) {
	d, out := bare(t)
	path := out.Path()
	train := packet.NewTrain()
	relay := packet.Path(d.RelayPath(out.Peer(), message.ShortID{9}))
	plain := make([]byte, 1200)
	datagram := make([]byte, len(plain)+wire.Overhead)
	relayed := make([]byte, len(datagram)+wire.RelayOverhead)
	room := make([]byte, 0, len(plain))
	junk := make([]byte, 100)
	copy(junk, "junk")

	// The first touch of a session tells its link, once.
	receive := func() {
		h, err := d.Unmask(datagram)
		if err != nil {
			t.Fatal(err)
		}
		in := d.Session(h.Index)
		if _, err := in.Open(room, datagram, h); err != nil {
			t.Fatal(err)
		}
		in.Touch(path, len(datagram))
	}
	out.Seal(datagram, out.Begin(1), wire.Data, plain)
	receive()

	for name, f := range map[string]func(){
		"sealing and opening": func() {
			o := d.Peer(out.peer.id).Outbound()
			if o.MaxPacket() != 1400-29-repair.Room {
				t.Fatal("max packet")
			}
			o.Seal(datagram, o.Begin(1), wire.DataPartial, plain)
			o.Peer().Sent(1, len(datagram))
			receive()
		},
		"sending through a relay": func() {
			train.Reset(relay.Prefix())
			for range 3 {
				out.Seal(train.Next(len(datagram)), out.Begin(1), wire.Data, plain)
			}
			if err := relay.Send(train); err != nil {
				t.Fatal(err)
			}
		},
		"relaying": func() {
			o := d.Forward(message.NodeID{1}.Short(), 2)
			o.SealRelay(relayed, wire.Envelope{Dst: message.ShortID{9}, Hops: 1}, datagram)
			h, err := d.Unmask(relayed)
			if err != nil {
				t.Fatal(err)
			}
			in := d.Session(h.Index)
			e, inner, err := in.OpenRelay(relayed, h)
			if err != nil || len(inner) != len(datagram) {
				t.Fatal(err)
			}
			if d.RelayPath(in.Peer(), e.Dst) != relay {
				t.Fatal("the relayed path has changed")
			}
		},
		"refusing a replay": func() {
			o := d.PeerShort(message.ShortID{1}).Outbound()
			o.Seal(datagram, 0, wire.Data, plain)
			h, _ := d.Unmask(datagram)
			if _, err := d.Session(h.Index).Open(room, datagram, h); err != ErrReplay {
				t.Fatal(err)
			}
		},
		"refusing junk": func() {
			if _, err := d.Unmask(junk); err != nil {
				t.Fatal(err)
			}
			junk[0] = 0 // no kind
			if d.Handshake(junk, path) {
				t.Fatal("junk is taken")
			}
		},
	} {
		f() // what is cached is made
		d.strange.next.Store(1 << 62)
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkSealAndOpen1350(b *testing.B) {
	d, out := bare(b)
	plain := make([]byte, 1350)
	datagram := make([]byte, len(plain)+wire.Overhead)
	room := make([]byte, 0, len(plain))
	b.SetBytes(1350)
	for b.Loop() {
		out.Seal(datagram, out.Begin(1), wire.Data, plain)
		h, _ := d.Unmask(datagram)
		if _, err := d.Session(h.Index).Open(room, datagram, h); err != nil {
			b.Fatal(err)
		}
	}
}
