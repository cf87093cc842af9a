package udp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

// patience bounds what should happen at once, on a machine that is busy.
const patience = 30 * time.Second

var (
	a4, b4 = netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2")
	a6, b6 = netip.MustParseAddr("fd77::1"), netip.MustParseAddr("fd77::2")
)

// arrival is a received datagram, copied.
type arrival struct {
	data []byte
	path *Path
}

// host is a transport at work in a namespace.
type host struct {
	*Transport
	ns      *nstest.NS
	arrived chan arrival
	woke    chan struct{}
	stop    func() // ends Run
}

// newHost starts a transport with its actor; nobody receives.
func newHost(t testing.TB, ns *nstest.NS, cfg Config) *host {
	t.Helper()
	h := &host{ns: ns}
	var err error
	ns.Do(func() { h.Transport, err = New(cfg) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		h.stop()
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

// pumped is newHost with a pump that hands on all that is received.
func pumped(t testing.TB, ns *nstest.NS, cfg Config) *host {
	t.Helper()
	h := newHost(t, ns, cfg)
	h.arrived, h.woke = make(chan arrival, 1<<16), make(chan struct{}, 16)
	go func() {
		defer close(h.arrived)
		for {
			batch, err := h.Receive()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("receive: %v", err)
				}
				return
			}
			if len(batch) == 0 {
				h.woke <- struct{}{}
			}
			for _, a := range batch {
				h.arrived <- arrival{bytes.Clone(a.Data), a.Path.(*Path)}
			}
		}
	}()
	return h
}

// next is the next datagram to arrive.
func (h *host) next(t testing.TB) arrival {
	t.Helper()
	select {
	case a, ok := <-h.arrived:
		if !ok {
			t.Fatal("the pump ended")
		}
		return a
	case <-time.After(patience):
		t.Fatalf("nothing arrives: %v", h.Drops())
	}
	panic("unreachable")
}

// at is socket zero's address.
func (h *host) at(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, h.Port(a.Is6())) }

func (h *host) through(t testing.TB, s packet.Socket, remote netip.AddrPort) *Path {
	t.Helper()
	p, err := h.Through(s, remote)
	if err != nil {
		t.Fatal(err)
	}
	return p.(*Path)
}

// more opens sockets in the host's namespace.
func (h *host) more(t testing.TB, n int, v6 bool) (numbers []packet.Socket) {
	t.Helper()
	var err error
	h.ns.Do(func() { numbers, err = h.Sockets(n, v6) })
	if err != nil {
		t.Fatal(err)
	}
	return numbers
}

// fill makes a train of n datagrams of size bytes and a last one of tail bytes
// (0: none). Every datagram tells its place in the train.
func fill(t *packet.Train, n, size, tail int) {
	t.Reset(0)
	put := func(i, size int) {
		b := t.Next(size)
		for j := range b {
			b[j] = byte(i*31 + j)
		}
	}
	for i := range n {
		put(i, size)
	}
	if tail > 0 {
		put(n, tail)
	}
}

func train(n, size, tail int) *packet.Train {
	t := packet.NewTrain()
	fill(t, n, size, tail)
	return t
}

// text is a train of one datagram.
func text(s string) *packet.Train {
	t := packet.NewTrain()
	copy(t.Next(len(s)), s)
	return t
}

func send(t testing.TB, p *Path, tr *packet.Train) {
	t.Helper()
	if err := p.Send(tr); err != nil {
		t.Fatalf("send: %v: %v", err, p.transport.Drops())
	}
}

// takes checks that h receives exactly the datagrams of tr, in order, by one path.
func (h *host) takes(t testing.TB, tr *packet.Train) *Path {
	t.Helper()
	var path *Path
	for i := range tr.Len() {
		a := h.next(t)
		if !bytes.Equal(a.data, tr.Datagram(i)) {
			t.Fatalf("datagram %d of %d: %d bytes, not the %d that were sent", i, tr.Len(), len(a.data), len(tr.Datagram(i)))
		}
		if path != nil && a.path != path {
			t.Fatalf("datagram %d came by another path: %v, not %v", i, a.path, path)
		}
		path = a.path
	}
	return path
}

// reaches sends by p until it arrives at h: an interface that has just come up
// loses datagrams.
func (h *host) reaches(t testing.TB, p *Path, word string) {
	t.Helper()
	arrived := false
	eventually(t, word+" arrives", func() bool {
		_ = p.Send(text(word))
		select {
		case a := <-h.arrived:
			arrived = string(a.data) == word
		default:
		}
		return arrived
	})
}

// eventually waits for what other goroutines or the kernel do soon.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// addresses are those of two hosts in one address family.
type addresses struct{ a, b netip.Addr }

// families runs a test between two namespaces over IPv4 and over IPv6.
func families(t *testing.T, na, nb *nstest.NS, ca, cb Config, f func(t *testing.T, a, b *host, at addresses)) {
	for name, at := range map[string]addresses{"IPv4": {a4, b4}, "IPv6": {a6, b6}} {
		t.Run(name, func(t *testing.T) {
			f(t, pumped(t, na, ca), pumped(t, nb, cb), at)
		})
	}
}
