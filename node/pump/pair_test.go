package pump

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/node/simnet"
	"github.com/openbmx/lightweight-tunnel/node/tun"
	"github.com/openbmx/lightweight-tunnel/peerlink"
	"github.com/openbmx/lightweight-tunnel/peerlink/noise"
	"github.com/openbmx/lightweight-tunnel/routes"
)

// end is a node without the parts that pumps do not need: real links and routes,
// both pumps, a memory on either side. Once the links are up a test stops the
// receiving goroutine and works the pumps itself, one burst after the other.
type end struct {
	t      *testing.T
	name   string
	addr   netip.Addr
	id     message.NodeID
	line   *memEnd
	d      *peerlink.Directory
	fib    routes.Published
	routes *actors.Mailbox[message.ToRoutes]
	drops  Drops
	dev    device
	sink   sink
	out    *Outbound
	in     *Inbound
	pause  func() // ends the receiving goroutine

	mu     sync.Mutex
	failed []failure
	wanted []message.NodeID
}

type failure struct {
	peer *peerlink.Peer
	err  error
}

// device gives out packets that a test has put there.
type device struct {
	frames [][]byte
	next   int
}

func (d *device) Poll(buf []byte) (int, bool, error) {
	if d.next == len(d.frames) {
		return 0, false, nil
	}
	d.next++
	return copy(buf, d.frames[d.next-1]), true, nil
}

func (d *device) Read([]byte) (int, error) { return 0, errors.New("tests read by Poll") }
func (d *device) Wake()                    {}

// sink keeps what is written, unless it only counts.
type sink struct {
	counting bool
	fail     func([]byte)

	mu     sync.Mutex
	writes int
	bytes  int
	frames [][]byte
}

func (s *sink) Write(frame []byte) error {
	if s.fail != nil {
		s.fail(frame)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	s.bytes += len(frame) - tun.HeaderLen
	if !s.counting {
		s.frames = append(s.frames, bytes.Clone(frame))
	}
	return nil
}

// packets takes what was written and cuts it up as a kernel does, which checks
// it, too.
func (s *sink) packets(t *testing.T) (all [][]byte) {
	t.Helper()
	for _, f := range s.clear() {
		h, err := tun.ParseHeader(f)
		if err != nil {
			t.Fatal(err)
		}
		pieces, err := simnet.Segment(h, f[tun.HeaderLen:])
		if err != nil {
			t.Fatalf("no kernel takes what was written (%+v): %v", h, err)
		}
		all = append(all, pieces...)
	}
	return all
}

// clear takes all that was written.
func (s *sink) clear() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.frames
	s.frames, s.writes = nil, 0
	return all
}

// wrote is how often something was written since the last clear.
func (s *sink) wrote() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

const hub = "192.0.2.1:9000"

// trio is a hub and two sites of it, all linked to all: the sites to each other
// through the hub.
type trio struct {
	*testing.T
	hub, a, b *end
}

// withTrio runs test in a bubble. Time stands still in it unless test waits, so
// nothing but the pumps works while it does not.
func withTrio(t *testing.T, test func(*testing.T, trio)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		line := newMemLine()
		tr := trio{T: t, hub: newEnd(t, line, "hub", hub, "10.0.0.1")}
		tr.a = newEnd(t, line, "a", "192.0.2.2:1", "10.0.0.2", hub)
		tr.b = newEnd(t, line, "b", "192.0.2.3:1", "10.0.0.3", hub)
		tr.a.know(tr.b)
		tr.b.know(tr.a)
		tr.a.send(udp(tr.a, tr.b, "knock"))
		for _, pair := range [][2]*end{{tr.a, tr.hub}, {tr.hub, tr.a}, {tr.b, tr.hub}, {tr.hub, tr.b}, {tr.a, tr.b}, {tr.b, tr.a}} {
			tr.until("all links are up", func() bool { return pair[0].up(pair[1]) })
		}
		tr.pause()
		for _, e := range tr.all() {
			e.receive() // what came last
			e.sink.clear()
			e.drops.n[UnknownIndex].Store(0) // two handshakes that crossed leave strays
		}
		test(t, tr)
	})
}

func (tr trio) all() []*end { return []*end{tr.hub, tr.a, tr.b} }

func (tr trio) pause() {
	tr.until("what was sent has been handled", func() bool { synctest.Wait(); return true })
	for _, e := range tr.all() {
		e.pause()
	}
}

func (tr trio) resume() {
	for _, e := range tr.all() {
		e.resume()
	}
}

// until waits in virtual time.
func (tr trio) until(what string, ok func() bool) {
	tr.Helper()
	for began := time.Now(); !ok(); <-time.After(10 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			tr.Fatalf("still not: %s", what)
		}
	}
}

func newEnd(t *testing.T, line *memLine, name, at, overlay string, seeds ...string) *end {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	e := &end{
		t: t, name: name, addr: netip.MustParseAddr(overlay), id: message.NodeID(key.Public().(ed25519.PublicKey)),
		line: line.end(at), routes: actors.NewMailbox[message.ToRoutes]("routes", 64),
	}
	v6 := netip.PrefixFrom(netip.MustParseAddr("fd00::"+overlay[len(overlay)-1:]), 64)
	addresses := []netip.Prefix{netip.PrefixFrom(e.addr, 24), v6}
	asked := actors.NewMailbox[message.ToKeys]("keys", 64)
	var err error
	e.d, err = peerlink.New(peerlink.Config{
		ID: e.id, Static: noise.StaticKey(key), MeshKey: sha256.Sum256([]byte("mesh")), Seeds: seeds,
		Hello:  func() message.Hello { return message.Hello{Name: name, Addresses: addresses, Relay: seeds == nil} },
		Dialer: e.line, Relay: seeds == nil, Keys: asked.Ref(), Routes: e.routes.Ref(),
	})
	if err != nil {
		t.Fatal(err)
	}
	shared := Shared{
		Peers: e.d, FIB: e.fib.FIB, Drops: &e.drops, Self4: e.addr, Self6: v6.Addr(),
		Wanted: func(id message.NodeID) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.wanted = append(e.wanted, id)
		},
		Failed: func(p *peerlink.Peer, err error) {
			e.mu.Lock()
			e.failed = append(e.failed, failure{p, err})
			e.mu.Unlock()
			if p != nil {
				e.d.Fail(p, err)
			}
		},
	}
	e.out, e.in = NewOutbound(shared, &e.dev, &e.sink), NewInbound(shared, e.line, &e.sink, true)
	root := actors.NewSupervisor(name, actors.Policy{},
		actors.Spec{Name: "keys", New: func() actors.Actor { return admitAll(asked) }},
		actors.Spec{Name: "routes", New: func() actors.Actor {
			a, err := routes.New(routes.Config{
				Own:     routes.Own{ID: e.id, Name: name, Addresses: addresses, Accept: routes.AcceptAll},
				Mailbox: e.routes, Published: &e.fib,
			})
			if err != nil {
				t.Error(err)
			}
			return a
		}},
		e.d.Spec(actors.Policy{}),
	)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := root.Run(ctx); err != nil {
			t.Errorf("%s ended: %v", name, err)
		}
	}()
	e.pause = func() {}
	e.resume()
	t.Cleanup(func() {
		cancel()
		<-ended
		e.pause()
	})
	return e
}

// resume lets a goroutine work the inbound pump.
func (e *end) resume() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = e.in.Run(ctx)
	}()
	e.pause = sync.OnceFunc(func() { cancel(); <-ended })
}

func admitAll(asked *actors.Mailbox[message.ToKeys]) actors.Actor {
	return actors.Func(func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case m := <-asked.C():
				if q, ok := m.(message.Authorize); ok {
					q.Reply.Offer(message.Authorized{Token: q.Token, Node: q.Hello.ID})
				}
			}
		}
	})
}

// know tells e of another node, as gossip would.
func (e *end) know(other *end) {
	advert := message.Advert{ID: other.id, Seq: 1, Name: other.name, Addresses: []netip.Prefix{
		netip.PrefixFrom(other.addr, 24), netip.PrefixFrom(other.v6(), 64),
	}}
	e.routes.Ref().Offer(message.Advertised{Advert: advert})
	e.d.Ref().Offer(message.Known{Advert: advert})
	synctest.Wait()
}

func (e *end) v6() netip.Addr { return e.out.Self6 }

func (e *end) up(other *end) bool {
	p := e.d.Peer(other.id)
	return p != nil && p.Snapshot().State == peerlink.Up
}

// path is the connection that leads from e to another end.
func (e *end) path(other *end) *memPath {
	return e.d.Peer(other.id).Outbound().Path().(*memPath)
}

// send lets the outbound pump read frames, offload header in front, as one burst.
func (e *end) send(frames ...[]byte) {
	e.dev.frames, e.dev.next = frames, 0
	n, _, _ := e.dev.Poll(e.out.buf)
	if err := e.out.burst(n); err != nil {
		e.t.Fatal(err)
	}
}

// receive lets the inbound pump handle what has arrived.
func (e *end) receive() {
	batch, _, _ := e.line.take()
	e.in.burst(batch)
}

// count is how often e dropped something for that reason.
func (e *end) count(r Reason) uint64 { return e.drops.n[r].Load() }

// frame puts an offload header in front of a packet.
func frame(h tun.Header, p []byte) []byte { return append(h.Append(nil), p...) }

func udp(from, to *end, text string) []byte { return udpBytes(from.addr, to.addr, []byte(text)) }

func udpBytes(from, to netip.Addr, payload []byte) []byte {
	return frame(tun.Header{}, simnet.UDP(netip.AddrPortFrom(from, 4000), netip.AddrPortFrom(to, 5000), payload))
}

// bulk is what a kernel hands over of a TCP stream: n bytes from seq on, to be
// cut into segments of mss.
func bulk(from, to netip.Addr, seq uint32, n, mss int) []byte {
	payload := make([]byte, n)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	h, p := simnet.Super(simnet.TCP(netip.AddrPortFrom(from, 4000), netip.AddrPortFrom(to, 5000), seq, 1, simnet.ACK, payload), mss)
	return frame(h, p)
}

// whole says whether got is exactly what a kernel would have sent instead of the
// frames.
func whole(t *testing.T, got [][]byte, frames ...[]byte) {
	t.Helper()
	var want [][]byte
	for _, f := range frames {
		h, err := tun.ParseHeader(f)
		if err != nil {
			t.Fatal(err)
		}
		pieces, err := simnet.Segment(h, f[tun.HeaderLen:])
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, pieces...)
	}
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Fatalf("%d packets arrived, want the %d that were sent, unchanged", len(got), len(want))
	}
}
