package simnet

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

type dialed struct {
	path packet.Path
	err  error
}

func dial(t *Transport, remote string) dialed {
	result := make(chan dialed, 1)
	t.Dial(netip.MustParseAddrPort(remote), func(p packet.Path, err error) { result <- dialed{p, err} })
	return <-result
}

func mustDial(t *testing.T, tr *Transport, remote string) packet.Path {
	t.Helper()
	d := dial(tr, remote)
	if d.err != nil {
		t.Fatal(d.err)
	}
	return d.path
}

func mustOpen(t *testing.T, h *Host, port uint16) *Transport {
	t.Helper()
	tr, err := h.Open(port)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// say sends each datagram in a train of its own.
func say(t *testing.T, p packet.Path, datagrams ...string) {
	t.Helper()
	train := packet.NewTrain()
	for _, d := range datagrams {
		train.Reset(p.Prefix())
		copy(train.Next(len(d)), d)
		if err := p.Send(train); err != nil {
			t.Fatal(err)
		}
	}
}

// hear returns what waits at tr and the path of the last, without waiting for more.
func hear(t *testing.T, tr *Transport) (heard []string, from packet.Path) {
	t.Helper()
	synctest.Wait()
	tr.Wake()
	arrivals, err := tr.Receive()
	if err != nil {
		t.Fatal(err)
	}
	tr.woken.Store(false)
	for _, a := range arrivals {
		heard = append(heard, string(a.Data))
		from = a.Path
	}
	return heard, from
}

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestADialedFlowCarriesTrainsBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		seed, site := n.Host("seed", "203.0.113.1"), n.Host("site", "198.51.100.9")
		server, client := mustOpen(t, seed, 9000), mustOpen(t, site, 0)
		begun := time.Now()
		p := mustDial(t, client, "203.0.113.1:9000")
		if rtt := time.Since(begun); rtt != 20*time.Millisecond {
			t.Fatalf("the dial took %v", rtt)
		}
		if p.Kind() != packet.RawTCP || !p.Alive() || p.MaxDatagram() != 1500-20-32-5 {
			t.Fatalf("%v, alive %v, largest datagram %d", p.Kind(), p.Alive(), p.MaxDatagram())
		}
		train := packet.NewTrain()
		train.Reset(p.Prefix())
		for _, b := range []byte{1, 2, 3} {
			copy(train.Next(1400), bytes.Repeat([]byte{b}, 1400))
		}
		if err := p.Send(train); err != nil {
			t.Fatal(err)
		}
		arrivals, err := server.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if len(arrivals) != 3 {
			t.Fatalf("%d datagrams came together, sent were 3", len(arrivals))
		}
		for i, a := range arrivals {
			if !bytes.Equal(a.Data, bytes.Repeat([]byte{byte(i + 1)}, 1400)) {
				t.Fatalf("datagram %d is damaged", i)
			}
		}
		back := arrivals[0].Path
		if back.Remote() != p.Local() || back.Local() != p.Remote() {
			t.Fatalf("%v-%v and %v-%v", p.Local(), p.Remote(), back.Local(), back.Remote())
		}
		kept := arrivals[0].Data
		say(t, back, "hello")
		pass(10 * time.Millisecond)
		if heard, from := hear(t, client); len(heard) != 1 || heard[0] != "hello" || from != p {
			t.Fatalf("heard %q", heard)
		}
		hear(t, server)
		if kept[0] == 1 {
			t.Fatal("a datagram kept beyond the next Receive was left intact")
		}
	})
}

func TestDialsFailForTheirReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		seed, site := n.Host("seed", "203.0.113.1"), n.Host("site", "198.51.100.9")
		client := mustOpen(t, site, 0)
		for _, test := range []struct {
			remote string
			want   error
			after  time.Duration
		}{
			{"203.0.113.1:9000", syscall.ECONNREFUSED, 20 * time.Millisecond},
			{"203.0.113.99:9000", syscall.ETIMEDOUT, 4 * time.Second},
			{"[2001:db8::1]:9000", syscall.ENETUNREACH, 0},
		} {
			begun := time.Now()
			d := dial(client, test.remote)
			if !errors.Is(d.err, test.want) || d.path != nil || time.Since(begun) != test.after {
				t.Errorf("%s: %v after %v", test.remote, d.err, time.Since(begun))
			}
		}
		seed.Crash()
		result := make(chan error, 2)
		cancel := client.Dial(netip.MustParseAddrPort("203.0.113.1:9000"), func(_ packet.Path, err error) { result <- err })
		cancel()
		cancel()
		if err := <-result; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		pass(time.Minute)
		if len(result) != 0 {
			t.Error("done was called twice")
		}
	})
}

func TestASynThatIsLostIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		seed, site := n.Host("seed", "203.0.113.1"), n.Host("site", "198.51.100.9")
		mustOpen(t, seed, 9000)
		client := mustOpen(t, site, 0)
		n.BlackholeOneWay(seed, site, true) // the answers
		time.AfterFunc(1500*time.Millisecond, func() { n.Blackhole(seed, site, false) })
		begun := time.Now()
		mustDial(t, client, "203.0.113.1:9000")
		if took := time.Since(begun); took != 2020*time.Millisecond {
			t.Fatalf("established after %v", took)
		}
	})
}

func TestClosingAPathTellsTheOtherSide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		server := mustOpen(t, n.Host("seed", "203.0.113.1"), 9000)
		client := mustOpen(t, n.Host("site", "198.51.100.9"), 0)
		p := mustDial(t, client, "203.0.113.1:9000")
		say(t, p, "hello")
		pass(time.Second)
		_, back := hear(t, server)
		p.Close()
		if p.Alive() || p.Send(packet.NewTrain()) != net.ErrClosed {
			t.Fatal("a closed path is closed at once")
		}
		pass(time.Second)
		if back.Alive() || back.Send(packet.NewTrain()) != net.ErrClosed {
			t.Fatal("the other side was not told")
		}
		q := mustDial(t, client, "203.0.113.1:9000")
		server.Close()
		if _, err := server.Receive(); err != net.ErrClosed {
			t.Fatal(err)
		}
		pass(time.Second)
		if q.Alive() {
			t.Fatal("the paths of a closed transport live on")
		}
	})
}

func TestReceiveWaitsUntilWokenOrClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := mustOpen(t, New(1).Host("a", "203.0.113.1"), 9000)
		type result struct {
			arrivals packet.Arrivals
			err      error
		}
		results := make(chan result)
		receive := func() { a, err := tr.Receive(); results <- result{a, err} }
		go receive()
		synctest.Wait()
		tr.Wake()
		if r := <-results; len(r.arrivals) != 0 || r.err != nil {
			t.Fatalf("%+v", r)
		}
		go receive()
		synctest.Wait()
		tr.Close()
		if r := <-results; r.err != net.ErrClosed {
			t.Fatalf("%+v", r)
		}
	})
}

func TestACrashIsSilentAndTheRestartedHostResetsOldFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		seed, site := n.Host("seed", "203.0.113.1"), n.Host("site", "198.51.100.9")
		server, client := mustOpen(t, seed, 9000), mustOpen(t, site, 0)
		p := mustDial(t, client, "203.0.113.1:9000")
		seed.Crash()
		if _, err := server.Receive(); err != net.ErrClosed {
			t.Fatal(err)
		}
		if _, err := seed.Open(9000); !errors.Is(err, syscall.ENETDOWN) {
			t.Fatal(err)
		}
		say(t, p, "into the void")
		pass(time.Second)
		if !p.Alive() {
			t.Fatal("a crash told the other side")
		}
		seed.Restart()
		mustOpen(t, seed, 9000)
		seed.SetSilent(true)
		say(t, p, "who are you")
		pass(time.Second)
		if !p.Alive() {
			t.Fatal("a silent host sent a reset")
		}
		seed.SetSilent(false)
		say(t, p, "who are you")
		pass(time.Second)
		if p.Alive() {
			t.Fatal("the restarted host did not reset a flow that it does not know")
		}
		mustDial(t, client, "203.0.113.1:9000")
		if _, err := seed.Open(9000); !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	})
}

func TestAHostThatMovedIsReachedAtItsNewAddressOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		seed, site := n.Host("seed", "203.0.113.1"), n.Host("site", "198.51.100.9")
		server, client := mustOpen(t, seed, 9000), mustOpen(t, site, 0)
		p := mustDial(t, client, "203.0.113.1:9000")
		site.SetAddrs("192.0.2.5", "2001:db8::5")
		if p.Alive() {
			t.Fatal("a flow outlived its address")
		}
		pass(time.Second)
		if heard, _ := hear(t, server); heard != nil {
			t.Fatalf("heard %q from an address that is gone", heard)
		}
		q := mustDial(t, client, "203.0.113.1:9000")
		say(t, q, "moved")
		pass(time.Second)
		heard, from := hear(t, server)
		if len(heard) != 1 || from.Remote().Addr() != netip.MustParseAddr("192.0.2.5") {
			t.Fatalf("heard %q", heard)
		}
		seed.SetAddrs("2001:db8::1")
		if r := mustDial(t, client, "[2001:db8::1]:9000"); r.MaxDatagram() != 1500-40-32-5 {
			t.Fatalf("largest datagram over IPv6 is %d", r.MaxDatagram())
		}
	})
}

func TestABusyInterfaceIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		mustOpen(t, n.Host("seed", "203.0.113.1"), 9000)
		site := n.Host("site", "198.51.100.9")
		p := mustDial(t, mustOpen(t, site, 0), "203.0.113.1:9000")
		site.SetBusy(true)
		train := packet.NewTrain()
		train.Reset(p.Prefix())
		train.Next(10)
		if err := p.Send(train); !errors.Is(err, packet.ErrFull) || !p.Alive() {
			t.Fatal(err)
		}
	})
}
