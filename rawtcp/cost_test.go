package rawtcp

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link"
)

func TestAcknowledgementsComeAtOnceThenDelayedOrPerAmount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNet(t)
		a, _ := n.transport(n.host("192.0.2.1"), Config{})
		_, arrived := n.transport(n.host("192.0.2.2"), serverConfig())
		f := mustDial(t, a, "192.0.2.2:9000")
		acks := func() int { return len(n.sent(flagACK)) }
		send := func(count, size int) {
			if err := sendTest(f, 1, count, size); err != nil {
				t.Fatal(err)
			}
			(<-arrived)[0].Path.(*Flow).Adopt()
			pass(2 * time.Millisecond)
		}
		quick := 0
		for range 30 { // single datagrams carry PSH, so ACK alone is a pure one
			was := acks()
			send(1, 100)
			quick += acks() - was
		}
		if quick < 16 || quick > 18 {
			t.Fatalf("%d of the first 30 segments were acknowledged at once", quick)
		}
		pass(time.Second)
		was := acks()
		send(1, 100)
		pass(30 * time.Millisecond)
		if acks() != was {
			t.Fatal("not delayed")
		}
		pass(20 * time.Millisecond)
		if acks() != was+1 {
			t.Fatalf("%d acknowledgements after 50 ms", acks()-was)
		}
		pass(time.Second)
		before := len(n.sent(flagACK))
		for range 200 {
			send(40, 1400)
		}
		pure := 0
		for _, g := range n.sent(flagACK)[before:] {
			if len(g.payload) == 0 {
				pure++
			}
		}
		if bytes := 200 * 40 * 1405; pure > bytes/(100<<10) {
			t.Fatalf("%d pure acknowledgements for %d bytes", pure, bytes)
		}
	})
}

func TestSendingAllocatesNothing(t *testing.T) {
	n := newTestNet(t)
	w := n.host("192.0.2.1")
	tr, err := newTransport(Config{}, w, testProfile())
	if err != nil {
		t.Fatal(err)
	}
	tr.wire = discard{w}
	g := segment{tuple: newTuple(netip.MustParseAddrPort("192.0.2.1:9000"), netip.MustParseAddrPort("192.0.2.2:4"))}
	f := tr.acceptedFlow(&g, testHop{w, false}, &options{mss: 1460, wscale: 10, stamps: true}, tr.now())
	f.sndEdge.Store(1 << 30)
	train := packet.NewTrain()
	got := testing.AllocsPerRun(100, func() {
		train.Reset(5)
		for range 40 {
			train.Next(1400)
		}
		if err := f.Send(train); err != nil {
			t.Fatal(err)
		}
	})
	if got != 0 {
		t.Fatalf("%v allocations", got)
	}
}

func replaying(t testing.TB, packets int) (*Transport, *Flow) {
	n := newTestNet(nil)
	w := n.host("192.0.2.1")
	tr, err := newTransport(Config{}, w, testProfile())
	if err != nil {
		t.Fatal(err)
	}
	r := &replay{discard: discard{w}}
	tr.wire = r
	tu := newTuple(netip.MustParseAddrPort("192.0.2.1:9000"), netip.MustParseAddrPort("192.0.2.2:4"))
	back := newTuple(tu.remoteAddrPort(), tu.localAddrPort())
	g := segment{tuple: tu, seq: 1000, ack: 1}
	ms := millis(tr.now())
	f := tr.acceptedFlow(&g, testHop{w, false}, &options{mss: 1460, wscale: 10, stamps: true}, tr.now())
	f.oldest.Store(f.stamp(ms))
	tr.state.flows[tu], tr.state.dirty = f, true
	tr.state.publish()
	for i := range packets {
		body := records(40, 1400)
		h := header{tuple: &back, pseudo: back.pseudoSum(), ttl: 64, flags: flagACK, window: 64, seq: 1000 + uint32(i*len(body)), ack: 1,
			opts: options{wscale: -1, stamps: true, val: 9, ecr: f.stamp(ms)}}
		ip, tcp := h.size()
		pkt := make([]byte, ip+tcp, ip+tcp+len(body))
		h.put(pkt, len(body))
		r.packets = append(r.packets, link.Packet{IP: append(pkt, body...), SegmentSize: 1400})
	}
	return tr, f
}

func TestReceivingAllocatesNothing(t *testing.T) {
	tr, f := replaying(t, 4)
	got := testing.AllocsPerRun(100, func() {
		f.rcvNxt.Store(1000)
		f.ackSent.Store(1000)
		in, err := tr.Receive()
		if err != nil || len(in) != 160 {
			t.Fatal(len(in), err, tr.Drops())
		}
	})
	if got != 0 {
		t.Fatalf("%v allocations", got)
	}
}

func BenchmarkReceive(b *testing.B) {
	tr, f := replaying(b, 4)
	b.SetBytes(4 * 40 * 1400)
	for b.Loop() {
		f.rcvNxt.Store(1000)
		f.ackSent.Store(1000)
		if in, _ := tr.Receive(); len(in) != 160 {
			b.Fatal(len(in))
		}
	}
}
