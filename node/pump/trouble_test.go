package pump

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
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
