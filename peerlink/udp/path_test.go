package udp

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/rawtcp/link/nstest"
)

func TestThePathToARemoteIsTheSameWhoeverFindsIt(t *testing.T) {
	na, nb := nstest.Pair(t)
	families(t, na, nb, Config{}, Config{}, func(t *testing.T, a, b *host, at addresses) {
		there := a.through(t, 0, b.at(at.b))
		if again := a.through(t, 0, b.at(at.b)); again != there {
			t.Fatal("asked twice, another path")
		}
		send(t, there, text("one"))
		stranger := b.takes(t, text("one"))
		if own := b.through(t, 0, a.at(at.a)); own != stranger {
			t.Fatalf("asked for %v, another path than it came by, %v", own, stranger)
		}
		if stranger.Kind() != packet.UDP || stranger.Prefix() != 0 {
			t.Fatalf("kind %v, prefix %d", stranger.Kind(), stranger.Prefix())
		}
		stranger.Close()
		if stranger.Alive() || !errors.Is(stranger.Send(text("x")), net.ErrClosed) {
			t.Fatal("a closed path lives")
		}
		send(t, there, text("two"))
		if fresh := b.takes(t, text("two")); fresh == stranger || !fresh.Alive() {
			t.Fatal("a closed path came back")
		}
		if got := a.through(t, a.more(t, 1, at.b.Is6())[0], b.at(at.b)); got == there {
			t.Fatal("two sockets, one path")
		}
	})
}

func TestAnswersLeaveFromTheAddressThatWasAsked(t *testing.T) {
	na, nb := nstest.Pair(t)
	nb.Run("ip addr add 10.77.0.3/24 dev v0", "ip addr add fd77::3/64 dev v0 nodad")
	families(t, na, nb, Config{}, Config{}, func(t *testing.T, a, b *host, at addresses) {
		other := netip.MustParseAddr("10.77.0.3")
		if at.b.Is6() {
			other = netip.MustParseAddr("fd77::3")
		}
		first, second := a.through(t, 0, b.at(at.b)), a.through(t, 0, b.at(other))
		send(t, first, text("to one"))
		backFirst := b.takes(t, text("to one"))
		send(t, second, text("to the other"))
		backSecond := b.takes(t, text("to the other"))
		if backFirst == backSecond || backFirst.Local() != b.at(at.b) || backSecond.Local() != b.at(other) {
			t.Fatalf("paths %v and %v", backFirst, backSecond)
		}
		for range 2 { // as a stranger, and adopted
			send(t, backSecond, text("from the other"))
			if got := a.takes(t, text("from the other")); got != second {
				t.Fatalf("the answer came by %v", got)
			}
			send(t, backFirst, text("from one"))
			if got := a.takes(t, text("from one")); got != first {
				t.Fatalf("the answer came by %v", got)
			}
			backFirst.Adopt()
			backSecond.Adopt()
		}
	})
}

func TestFewHopsDieAtTheRouter(t *testing.T) {
	router := nstest.New(t)
	near := nstest.Behind(t, router, "10.78.1.1/24", "10.78.1.2/24")
	far := nstest.Behind(t, router, "10.78.2.1/24", "10.78.2.2/24")
	router.Run("sysctl -qw net.ipv4.ip_forward=1")
	near.Run("ip route add default via 10.78.1.1")
	far.Run("ip route add default via 10.78.2.1")
	a, b := pumped(t, near, Config{}), pumped(t, far, Config{})
	p := a.through(t, 0, b.at(netip.MustParseAddr("10.78.2.2")))
	for range 2 { // the second after the router has complained of the first
		if err := p.SendHops(train(3, 100, 0), 1); err != nil {
			t.Fatal(err)
		}
		if err := p.SendHops(text("two hops"), 2); err != nil {
			t.Fatal(err)
		}
		b.takes(t, text("two hops"))
		send(t, p, train(3, 100, 0))
		b.takes(t, train(3, 100, 0))
	}
}

func TestADialledPathIsAnsweredOnceAndLives(t *testing.T) {
	na, _ := nstest.Pair(t)
	a := newHost(t, na, Config{})
	type answer struct {
		p   packet.Path
		err error
	}
	answers := make(chan answer, 4)
	done := func(p packet.Path, err error) { answers <- answer{p, err} }
	cancel := a.Dial(netip.AddrPortFrom(b4, 9), done)
	got := <-answers
	if got.err != nil || got.p != packet.Path(a.through(t, 0, netip.AddrPortFrom(b4, 9))) {
		t.Fatalf("%v %v", got.p, got.err)
	}
	cancel()
	a.Dial(netip.AddrPortFrom(b4, 10), done)() // what is adopted already must find its owner
	if got := <-answers; got.err != nil {
		t.Fatal(got.err)
	}
	a.stop()
	for range 2 * idleBeats {
		a.age(a.beat.Add(1))
	}
	if !got.p.Alive() {
		t.Fatal("a dialled path was forgotten")
	}
	for _, bad := range []string{"0.0.0.0:9", "224.0.0.1:9", "10.77.0.2:0", "192.0.2.1:9", "[ff02::1]:9"} {
		a.Dial(netip.MustParseAddrPort(bad), done)
		if got := <-answers; got.err == nil || got.p != nil {
			t.Errorf("%s: %v", bad, got.p)
		}
	}
	if len(answers) != 0 {
		t.Fatal("answered twice")
	}
}

func TestIdlePathsThatNobodyAdoptsAreForgotten(t *testing.T) {
	na, nb := nstest.Pair(t)
	a, b := pumped(t, na, Config{}), pumped(t, nb, Config{})
	asked, kept := a.through(t, 0, b.at(b4)), a.through(t, 0, netip.AddrPortFrom(b4, 1))
	kept.Adopt()
	send(t, asked, text("hello"))
	stranger := b.takes(t, text("hello"))
	a.stop()
	b.stop()
	for _, h := range []*host{a, b} {
		for range idleBeats - 1 {
			h.age(h.beat.Add(1))
		}
	}
	if !asked.Alive() || !stranger.Alive() {
		t.Fatal("forgotten too early")
	}
	send(t, asked, text("again")) // which is use at both ends
	b.takes(t, text("again"))
	for _, h := range []*host{a, b} {
		for range idleBeats - 1 {
			h.age(h.beat.Add(1))
		}
	}
	if !asked.Alive() || !stranger.Alive() {
		t.Fatal("forgotten although in use")
	}
	for _, h := range []*host{a, b} {
		h.age(h.beat.Add(1))
	}
	if asked.Alive() || stranger.Alive() || !kept.Alive() {
		t.Fatal("an idle path is kept, or an adopted one is not")
	}
}

func TestOnlyAPathThatNobodyAdoptsIsForgottenOnRequest(t *testing.T) {
	na, _ := nstest.Pair(t)
	a := pumped(t, na, Config{})
	asked, kept := a.through(t, 0, netip.AddrPortFrom(b4, 1)), a.through(t, 0, netip.AddrPortFrom(b4, 2))
	kept.Adopt()
	a.Forget(asked)
	a.Forget(asked)
	a.Forget(kept)
	if asked.Alive() || !kept.Alive() || a.asked.Load() != 0 {
		t.Fatalf("asked for: %v, adopted: %v, %d counted", asked.Alive(), kept.Alive(), a.asked.Load())
	}
	if again := a.through(t, 0, netip.AddrPortFrom(b4, 1)); again == asked || !again.Alive() {
		t.Fatal("what was forgotten is found again")
	}
}

func TestAPathEndsWithItsAddressAndSaysSo(t *testing.T) {
	na, _ := nstest.Pair(t)
	na.Run("ip addr add 10.77.9.1/24 dev v0", "ip route add 10.77.8.0/24 via 10.77.0.2 src 10.77.9.1")
	a := newHost(t, na, Config{})
	p := a.through(t, 0, netip.MustParseAddrPort("10.77.8.1:9"))
	if p.Local() != a.at(netip.MustParseAddr("10.77.9.1")) {
		t.Fatalf("local address %v", p.Local())
	}
	changes := make(chan bool, 64)
	p.OnChange(func() { changes <- p.Alive() })
	p.Adopt()
	stays := a.through(t, 0, netip.AddrPortFrom(b4, 9))
	stays.Adopt()
	na.Run("ip addr del 10.77.9.1/24 dev v0")
	<-changes
	eventually(t, "the address is gone", func() bool { return !a.router.resolver.IsLocal(p.Local().Addr()) })
	if err := p.Send(text("x")); !errors.Is(err, packet.ErrFull) {
		t.Fatalf("send without the address: %v", err)
	}
	a.stop()
	for range missingBeats {
		if !p.Alive() {
			t.Fatal("ended at once")
		}
		a.age(a.beat.Add(1))
	}
	if p.Alive() || !stays.Alive() {
		t.Fatal("the wrong path ended")
	}
	for len(changes) > 1 {
		<-changes
	}
	if alive := <-changes; alive {
		t.Fatal("the end was not told")
	}
}

func TestAPathOutlivesAShortAbsenceOfItsInterface(t *testing.T) {
	na, nb := nstest.Pair(t)
	a, b := pumped(t, na, Config{}), pumped(t, nb, Config{})
	p := a.through(t, 0, b.at(b4))
	changes := make(chan struct{}, 64)
	p.OnChange(func() { changes <- struct{}{} })
	p.Adopt()
	send(t, p, text("before"))
	b.takes(t, text("before"))
	eventually(t, "its way is known", func() bool { return !p.moved.Load() })
	na.Run("ip link set v0 down")
	<-changes
	na.Run("ip link set v0 up")
	<-changes
	b.reaches(t, p, "after")
}

func TestAPathSaysThatItsRouteChanged(t *testing.T) {
	na, _ := nstest.Pair(t)
	na.Run("ip link add other type veth peer name end", "ip addr add 10.79.0.1/24 dev other", "ip link set end up", "ip link set other up")
	a := newHost(t, na, Config{})
	p := a.through(t, 0, netip.AddrPortFrom(b4, 9))
	changes := make(chan struct{}, 64)
	p.OnChange(func() { changes <- struct{}{} })
	p.Adopt()
	eventually(t, "its way is known", func() bool { return !p.moved.Load() })
	na.Run("ip route add 10.77.0.2/32 dev other")
	<-changes
	if !p.Alive() {
		t.Fatal("it ended")
	}
}
