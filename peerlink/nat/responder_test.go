package nat

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v3"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

var noon = time.Unix(1_800_000_000, 0)

func newID() TransactionID { return stun.NewTransactionID() }

func TestQuestionsAreAnswered(t *testing.T) {
	asker := at("198.51.100.7:5000")
	f := facts{otherPort: 41000, others: []netip.AddrPort{at("203.0.113.2:9000"), at("[2001:db8::1]:9000")}}
	for name, c := range map[string]struct {
		m     Message
		facts facts
		want  reply
	}{
		"plain": {Message{Class: Request}, f,
			reply{message: Message{Class: Success, Mapped: asker, Other: at("0.0.0.0:41000")}}},
		"plain, no second socket": {Message{Class: Request}, facts{},
			reply{message: Message{Class: Success, Mapped: asker}}},
		"from another port": {Message{Class: Request, Change: ChangePort}, f,
			reply{message: Message{Class: Success, Mapped: asker}, otherPort: true, to: asker}},
		"from another port, there is none": {Message{Class: Request, Change: ChangePort}, facts{},
			reply{message: Message{Class: Failure, Code: 420}}},
		"from another address": {Message{Class: Request, Change: ChangeAddress | ChangePort}, f,
			reply{message: Message{Class: Indication, Asker: asker, Time: noon}, to: at("203.0.113.2:9000")}},
		"from another address, there is none": {Message{Class: Request, Change: ChangeAddress}, facts{otherPort: 5},
			reply{message: Message{Class: Failure, Code: 420}}},
		"passed on": {Message{Class: Indication, Asker: at("192.0.2.66:1")}, f,
			reply{message: Message{Class: Success, Mapped: at("192.0.2.66:1")}, to: at("192.0.2.66:1")}},
	} {
		var r responder
		c.m.ID, c.m.Time = testID, noon
		c.want.message.ID = testID
		got, ok := r.answer(noon, c.m, asker, c.facts)
		if !ok || got != c.want {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, ok, c.want)
		}
	}
}

func TestOtherNodesAnswerInTurn(t *testing.T) {
	var r responder
	f := facts{others: []netip.AddrPort{at("203.0.113.1:1"), at("203.0.113.2:1"), at("203.0.113.3:1"), at("198.51.100.7:9")}}
	count := map[netip.AddrPort]int{}
	for range 12 {
		got, _ := r.answer(noon, Message{Class: Request, ID: newID(), Change: ChangeAddress, Time: noon}, at("198.51.100.7:5000"), f)
		count[got.to]++
	}
	if len(count) != 3 || count[at("198.51.100.7:9")] != 0 {
		t.Errorf("asked %v", count)
	}
}

func TestWhatIsOldRepeatedOrTooMuchIsNotAnswered(t *testing.T) {
	ask := func(r *responder, now, stamp time.Time, id TransactionID) bool {
		_, ok := r.answer(now, Message{Class: Request, ID: id, Time: stamp}, at("198.51.100.7:5000"), facts{})
		return ok
	}
	var r responder
	for _, off := range []time.Duration{ClockWindow + time.Second, -ClockWindow - time.Second, -365 * 24 * time.Hour} {
		if ask(&r, noon, noon.Add(off), newID()) {
			t.Errorf("answered with the clock off by %v", off)
		}
	}
	if ask(&r, noon, time.Time{}, newID()) {
		t.Error("answered without a time")
	}
	for _, off := range []time.Duration{0, ClockWindow, -ClockWindow} { // this node's own clock is set back in between
		stamp := noon.Add(off)
		id := newID()
		if !ask(&r, noon, stamp, id) {
			t.Errorf("not answered with the clock off by %v", off)
		}
		// As long as its time is good it is known, however late it is repeated.
		for now := noon; now.Before(noon.Add(6 * ClockWindow)); now = now.Add(7 * time.Second) {
			if ask(&r, now, stamp, id) {
				t.Errorf("answered a repetition after %v of one with the clock off by %v", now.Sub(noon), off)
			}
		}
	}
	var busy responder
	answered := 0
	for range 10 * sourceBurst {
		if ask(&busy, noon, noon, newID()) {
			answered++
		}
	}
	if answered != sourceBurst {
		t.Errorf("%d answers at once", answered)
	}
	if !ask(&busy, noon.Add(time.Second), noon, newID()) {
		t.Error("a source that was too fast is not answered later")
	}
	if _, ok := busy.answer(noon, Message{Class: Success, ID: newID(), Time: noon}, at("192.0.2.1:1"), facts{}); ok {
		t.Error("an answer was answered")
	}
}

func TestSourcesAreForgottenWhenTheyAreQuiet(t *testing.T) {
	var s sourceRates
	a := netip.MustParseAddr("10.0.0.0")
	for range maxSources {
		a = a.Next()
		if !s.allow(noon, a) {
			t.Fatal("a new source is not answered")
		}
	}
	if s.allow(noon, netip.MustParseAddr("11.0.0.1")) {
		t.Error("more sources are remembered than there is room for")
	}
	if !s.allow(noon.Add(time.Minute), netip.MustParseAddr("11.0.0.1")) {
		t.Error("quiet sources keep others out")
	}
	for _, a := range []string{"2001:db8::1", "2001:db8::2"} {
		s.allow(noon, netip.MustParseAddr(a))
	}
	if len(s.buckets) != 2 {
		t.Errorf("%d sources are remembered", len(s.buckets))
	}
}

func TestAPortIsSilentToStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		node := w.site(w.host("203.0.113.1", nil), func(c *Config) { c.Detect = false })
		var heard []netip.AddrPort
		stranger := at("192.0.2.66:4444")
		w.servers[stranger] = func(_ []byte, from netip.AddrPort) { heard = append(heard, from) }

		plain := Message{Class: Request, ID: testID, Time: time.Now()}.Append(nil)
		keys := wire.DeriveKeys([32]byte{99})
		other := wire.NewOuter(keys.Outer, wire.NewMasker(keys.Mask))
		for _, b := range [][]byte{plain, plain[:10], other.Append(nil, wire.Handshake{Kind: wire.STUN, Body: plain}, 1200), make([]byte, 200)} {
			w.inject(b, stranger, node.endpoint())
		}
		pass(time.Minute)
		if len(heard) != 0 {
			t.Fatalf("a stranger was answered from %v", heard)
		}
		// One who holds the mesh key is.
		sealed := node.cfg.Seal(Message{Class: Request, ID: newID(), Time: time.Now()}.Append(nil), 1200)
		w.inject(sealed, stranger, node.endpoint())
		pass(time.Second)
		if len(heard) != 1 {
			t.Errorf("%d answers: the test proves nothing", len(heard))
		}
	})
}

func TestARecordedQuestionIsAnsweredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		node := w.site(w.host("203.0.113.1", nil), func(c *Config) { c.Detect = false })
		asker, thief := at("192.0.2.1:4444"), at("192.0.2.66:4444")
		answers := map[netip.AddrPort]int{}
		for _, a := range []netip.AddrPort{asker, thief} {
			w.servers[a] = func([]byte, netip.AddrPort) { answers[a]++ }
		}
		sealed := node.cfg.Seal(Message{Class: Request, ID: testID, Time: time.Now()}.Append(nil), 1200)
		w.inject(sealed, asker, node.endpoint())
		pass(time.Second)
		for range 20 {
			w.inject(sealed, thief, node.endpoint())
			pass(time.Minute)
		}
		if answers[asker] != 1 || answers[thief] != 0 {
			t.Errorf("answers: %v", answers)
		}
	})
}

func TestEveryDatagramOfTheMeshLooksRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		servers := w.mesh(3)
		var seen [][]byte
		w.tap = func(data []byte, _, _ netip.AddrPort) { seen = append(seen, slices.Clone(data)) }
		s := w.site(w.homeOf(kinds["restricted"].router), func(c *Config) { c.Servers = func() []Server { return servers } })
		s.surveyed()
		for _, b := range seen {
			if IsMessage(b) || len(b) < wire.HandshakeOverhead {
				t.Errorf("%x is in the clear", b)
			}
		}
		if len(seen) < 10 {
			t.Errorf("%d datagrams", len(seen))
		}
	})
}

func TestAPathIsAskedHowItIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		servers := w.mesh(1)
		s := w.site(w.homeOf(kinds["restricted"].router), func(c *Config) { c.Detect = false })
		ask := func(remote netip.AddrPort, kind packet.Kind) (got Answer) {
			p, err := s.through(pathKey{0, remote, kind})
			if err != nil {
				t.Fatal(err)
			}
			answers := make(chan Answer, 2)
			if !s.p.Ask(p, func(a Answer) { answers <- a }) {
				t.Fatal("no room")
			}
			select {
			case got = <-answers:
			case <-time.After(AskTimeout + time.Second):
				t.Fatal("neither an answer nor silence")
			}
			pass(2 * AskTimeout)
			if len(answers) != 0 {
				t.Error("answered twice")
			}
			return got
		}
		for _, kind := range []packet.Kind{packet.UDP, packet.RawTCP} {
			got := ask(servers[0].Addr, kind)
			if got.Err != nil || got.Mapped.Addr() != s.router.address || got.RTT != 2*w.latency {
				t.Errorf("%s: got %+v", kind, got)
			}
		}
		if got := ask(at("203.0.113.99:9000"), packet.UDP); !errors.Is(got.Err, ErrSilent) {
			t.Errorf("nobody there: %+v", got)
		}
		// What comes through a relay would tell the relay's address.
		if got := ask(servers[0].Addr, packet.Relay); !errors.Is(got.Err, ErrSilent) {
			t.Errorf("through a relay: %+v", got)
		}
	})
}

func TestTooManyQuestionsAreRefusedAndNoneIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.site(w.homeOf(nil), func(c *Config) { c.Detect = false })
		p, err := s.Through(0, at("203.0.113.99:9000"))
		if err != nil {
			t.Fatal(err)
		}
		answers := make(chan Answer, 2*maxAsks)
		asked := 0
		for range 2 * maxAsks {
			if s.p.Ask(p, func(a Answer) { answers <- a }) {
				asked++
			}
			synctest.Wait()
		}
		pass(AskTimeout + time.Second)
		silent := 0
		for range len(answers) {
			if errors.Is((<-answers).Err, ErrSilent) {
				silent++
			}
		}
		if asked != 2*maxAsks || silent != maxAsks {
			t.Errorf("%d asked, %d were silent", asked, silent)
		}
	})
}

func TestAProberThatStopsLeavesNothingOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		servers := w.mesh(2)
		s := w.site(w.homeOf(kinds["restricted"].router), func(c *Config) { c.Servers = func() []Server { return servers } })
		asked := make(chan Answer, 1)
		p, err := s.Through(0, at("203.0.113.99:9000"))
		if err != nil {
			t.Fatal(err)
		}
		s.p.Ask(p, func(a Answer) { asked <- a })
		pass(100 * time.Millisecond) // in the middle of the survey
		if s.open() == 0 {
			t.Fatal("no survey is under way")
		}
		s.stop()
		if s.open() != 0 {
			t.Errorf("%d sockets are left open", s.open())
		}
		if got := <-asked; got.Err == nil {
			t.Errorf("got %+v", got)
		}
		if !s.p.Ref().Offer(Heard{}) || s.p.Report() == nil {
			t.Error("the handle does not outlive the actor")
		}
	})
}

func TestServersAreChosen(t *testing.T) {
	keep := func(int, func(int, int)) {}
	node := func(addr string) Server { return Server{Node: message.NodeID{1}, Addr: at(addr)} }
	public := []Server{{Addr: at("192.0.2.1:3478")}, {Addr: at("[2001:db8::1]:3478")}, {Addr: at("192.0.2.2:3478")}}
	for name, c := range map[string]struct {
		mesh []Server
		v6   bool
		want []string
	}{
		"nobody":            {nil, false, []string{"192.0.2.1:3478", "192.0.2.2:3478"}},
		"nobody, IPv6":      {nil, true, []string{"[2001:db8::1]:3478"}},
		"one":               {[]Server{node(serverA)}, false, []string{serverA, "192.0.2.1:3478", "192.0.2.2:3478"}},
		"two are enough":    {[]Server{node(serverA), node(serverB)}, false, []string{serverA, serverB}},
		"one address twice": {[]Server{node(serverA), node(serverA2)}, false, []string{serverA, "192.0.2.1:3478", "192.0.2.2:3478"}},
		"four at most": {[]Server{node(serverA), node(serverB), node(serverC), node(serverD), node("203.0.113.5:9000")}, false,
			[]string{serverA, serverB, serverC, serverD}},
		"nonsense": {[]Server{node("127.0.0.1:9000"), node("203.0.113.9:0"), {}, node("[::ffff:203.0.113.8]:9000"), node(serverB)}, false,
			[]string{"203.0.113.8:9000", serverB}},
	} {
		var got []string
		for _, s := range choose(c.mesh, public, c.v6, keep) {
			got = append(got, s.Addr.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
