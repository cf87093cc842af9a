package udp

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

func TestWakeEndsAWaitingReceiveAndTheNext(t *testing.T) {
	a := pumped(t, nstest.New(t), Config{})
	for range 3 {
		a.Wake()
		<-a.woke
	}
	send(t, a.through(t, 0, a.at(netip.MustParseAddr("127.0.0.1"))), text("to itself"))
	a.takes(t, text("to itself"))
}

func TestWakeBeforeReceiveCounts(t *testing.T) {
	a := newHost(t, nstest.New(t), Config{})
	send(t, a.through(t, 0, a.at(netip.MustParseAddr("127.0.0.1"))), text("to itself"))
	a.Wake()
	if got, err := a.Receive(); err != nil || len(got) != 0 {
		t.Fatalf("%d datagrams, %v", len(got), err)
	}
	if got, err := a.Receive(); err != nil || len(got) != 1 {
		t.Fatalf("%d datagrams, %v", len(got), err)
	}
}

func TestCloseEndsReceiveAndEverythingElse(t *testing.T) {
	a := pumped(t, nstest.New(t), Config{})
	self := a.at(netip.MustParseAddr("127.0.0.1"))
	p := a.through(t, 0, self)
	gone := make(chan struct{}, 1)
	p.OnChange(func() { gone <- struct{}{} })
	p.Adopt()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := <-a.arrived; ok {
		t.Fatal("something arrived")
	}
	<-gone
	if p.Alive() || !errors.Is(p.Send(text("x")), net.ErrClosed) {
		t.Error("a path lives")
	}
	if _, err := a.Receive(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("receive: %v", err)
	}
	if _, err := a.Poll(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("poll: %v", err)
	}
	if _, err := a.Through(0, self); !errors.Is(err, net.ErrClosed) {
		t.Errorf("through: %v", err)
	}
	if _, err := a.Sockets(1, false); !errors.Is(err, net.ErrClosed) {
		t.Errorf("sockets: %v", err)
	}
	a.Wake()
	a.Release([]packet.Socket{0, 1})
	if err := a.Run(t.Context()); err != nil {
		t.Errorf("run: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if got := a.Status(); got.Sockets != 0 || got.Paths != 0 {
		t.Errorf("%+v", got)
	}
}

// readable waits until the descriptor is readable, or reports that it is not.
func readable(t *testing.T, fd int, wait bool) bool {
	t.Helper()
	timeout := 0
	if wait {
		timeout = int(patience.Milliseconds())
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, timeout)
		if !errors.Is(err, unix.EINTR) {
			if err != nil {
				t.Fatal(err)
			}
			return n == 1
		}
	}
}

func TestTheDescriptorIsReadableWhilePollBringsSomething(t *testing.T) {
	na, nb := nstest.Pair(t)
	a, b := newHost(t, na, Config{}), newHost(t, nb, Config{})
	fd, err := b.Descriptor()
	if err != nil {
		t.Fatal(err)
	}
	empty := func() {
		t.Helper()
		if got, err := b.Poll(); err != nil || len(got) != 0 {
			t.Fatalf("%d datagrams, %v", len(got), err)
		}
		if readable(t, fd, false) {
			t.Fatal("readable, and nothing is there")
		}
	}
	empty()
	b.Wake()
	if !readable(t, fd, true) {
		t.Fatal("not woken")
	}
	empty()
	extra := b.more(t, 3, false)
	for _, s := range append(extra, 0) {
		p := a.through(t, 0, netip.AddrPortFrom(b4, b.PortOf(s, false)))
		for range 3 {
			send(t, p, train(40, 1000, 0))
			for got := 0; got < 40; {
				if !readable(t, fd, true) {
					t.Fatalf("not readable after %d datagrams", got)
				}
				batch, err := b.Poll()
				if err != nil {
					t.Fatal(err)
				}
				got += len(batch)
			}
			empty()
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// stunMessage is a binding request without attributes.
var stunMessage = string([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})

func TestSTUNIsTakenOutOrGoesOn(t *testing.T) {
	na, nb := nstest.Pair(t)
	type seen struct {
		text string
		path packet.Path
	}
	hooked := make(chan seen, 16)
	var leave atomic.Bool
	b := pumped(t, nb, Config{STUN: func(m []byte, p packet.Path) bool {
		hooked <- seen{string(m), p}
		return !leave.Load()
	}})
	a := pumped(t, na, Config{})
	p := a.through(t, 0, b.at(b4))
	send(t, p, text(stunMessage))
	s := <-hooked
	if s.text != stunMessage || s.path.Remote() != a.at(a4) {
		t.Fatalf("%x by %v", s.text, s.path)
	}
	if err := s.path.Send(text("answer")); err != nil {
		t.Fatal(err)
	}
	a.takes(t, text("answer"))
	send(t, p, text("after it"))
	b.takes(t, text("after it"))
	leave.Store(true)
	send(t, p, text(stunMessage))
	if got := b.takes(t, text(stunMessage)); packet.Path(got) != s.path {
		t.Fatalf("by %v", got)
	}
	<-hooked
	send(t, p, text(stunMessage+"1234"))
	b.takes(t, text(stunMessage+"1234"))
	if len(hooked) != 0 {
		t.Fatal("called for what is not STUN")
	}
}

func TestNothingThatTheNetworkAnswersIsFatal(t *testing.T) {
	na, nb := nstest.Pair(t)
	a, b := pumped(t, na, Config{}), pumped(t, nb, Config{})
	closed := a.through(t, 0, netip.AddrPortFrom(b4, 1))
	for range 5 {
		_ = closed.Send(train(5, 100, 0)) // the port is unreachable
		p := a.through(t, 0, b.at(b4))
		send(t, p, text("reachable"))
		send(t, b.takes(t, text("reachable")), text("so it is"))
		a.takes(t, text("so it is"))
	}
	nothing := a.through(t, 0, b.at(b4))
	if err := nothing.Send(packet.NewTrain()); err != nil {
		t.Errorf("an empty train: %v", err)
	}
	if _, err := na.Try("nft add table inet t"); err != nil {
		t.Skip("needs nft")
	}
	na.Run("nft add chain inet t out { type filter hook output priority 0 ; }", "nft add rule inet t out udp dport "+
		b.at(b4).String()[len("10.77.0.2:"):]+" drop")
	for _, tr := range []*packet.Train{text("x"), train(4, 100, 0)} {
		if err := nothing.Send(tr); !errors.Is(err, packet.ErrFull) {
			t.Fatalf("a firewall drops it: %v", err)
		}
	}
	if got := a.Drops()["firewall"]; got != 5 {
		t.Fatalf("dropped: %v", a.Drops())
	}
	na.Run("nft flush ruleset", "ip link set v0 down")
	eventually(t, "there is no route", func() bool {
		return errors.Is(nothing.Send(text("x")), packet.ErrFull) && a.Drops()["no-route"] > 0
	})
	na.Run("ip link set v0 up")
	b.reaches(t, nothing, "back")
}

func TestWhatTheKernelThrowsAwayIsCounted(t *testing.T) {
	a := newHost(t, nstest.New(t), Config{ReceiveBuffer: 8 << 10, NoGRO: true})
	p := a.through(t, 0, a.at(netip.MustParseAddr("127.0.0.1")))
	for range 20 {
		send(t, p, train(20, 1000, 0))
	}
	got, err := a.Poll()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got) + int(a.Drops()[dropOverrun]); n < 200 || len(got) == 0 {
		t.Fatalf("%d arrived, dropped %v", len(got), a.Drops())
	}
}
