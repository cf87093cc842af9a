package gossip

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func mustHear(t *testing.T, l *Ledger, sealed []byte, want Verdict) {
	t.Helper()
	h, err := l.Hear(noon, sealed)
	if h.Verdict != want || (want == Rejected) != (err != nil) {
		t.Fatalf("verdict %d, want %d (%v)", h.Verdict, want, err)
	}
}

func TestLedgerKeepsTheNewestSignedAdvert(t *testing.T) {
	l := NewLedger(idOf(1))
	second := sealAs(t, 2, message.Advert{Seq: 20, NAT: "second"})
	mustHear(t, l, sealAs(t, 2, message.Advert{Seq: 10}), Fresh)
	mustHear(t, l, second, Fresh)
	mustHear(t, l, second, Known)
	mustHear(t, l, sealAs(t, 2, message.Advert{Seq: 10}), Stale)
	mustHear(t, l, sealAs(t, 2, message.Advert{Seq: 20, NAT: "same number, other words"}), Stale)
	if s, _ := l.Standing(idOf(2)); s.Advert.NAT != "second" || s.State != Dead {
		t.Fatalf("%+v", s)
	}
}

func TestLedgerBelievesNothingThatIsNotSigned(t *testing.T) {
	l := NewLedger(idOf(1))
	mustHear(t, l, sealAs(t, 2, message.Advert{Seq: 10, NAT: "true"}), Fresh)
	newer := sealAs(t, 2, message.Advert{Seq: 30, NAT: "forged"})
	for i := range newer {
		bent := append([]byte(nil), newer...)
		bent[i] ^= 0x20
		if h, _ := l.Hear(noon, bent); h.Verdict == Fresh {
			t.Fatalf("bit in byte %d changed, and it was believed", i)
		}
	}
	for n := range newer {
		mustHear(t, l, newer[:n], Rejected)
	}
	if s, _ := l.Standing(idOf(2)); s.Advert.NAT != "true" {
		t.Fatalf("%+v", s)
	}
	if l.Len() != 1 {
		t.Fatalf("%d nodes", l.Len())
	}
}

func TestLedgerOutbidsItsOwnPast(t *testing.T) {
	l := NewLedger(idOf(1))
	first, err := l.Publish(noon, template(1), keyOf(1), 0)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := l.Own()
	if a.Seq != uint64(noon.UnixMilli()) {
		t.Fatalf("seq %d", a.Seq)
	}
	if _, err := l.Publish(noon.Add(-time.Hour), template(1), keyOf(1), 0); err != nil {
		t.Fatal(err)
	}
	if b, _ := l.Own(); b.Seq != a.Seq+1 {
		t.Fatalf("with the clock set back, %d follows %d", b.Seq, a.Seq)
	}
	mustHear(t, l, first, Stale)
	h, err := l.Hear(noon, sealAs(t, 1, message.Advert{Seq: a.Seq + 1000}))
	if err != nil || h.Verdict != OwnAhead || h.Seq != a.Seq+1000 {
		t.Fatalf("%+v %v", h, err)
	}
	if own, _ := l.Own(); own.Seq != a.Seq+1 {
		t.Fatal("an own advert from others was taken over")
	}
	if _, err := l.Publish(noon, template(1), keyOf(1), h.Seq); err != nil {
		t.Fatal(err)
	}
	if own, _ := l.Own(); own.Seq != a.Seq+1001 {
		t.Fatalf("seq %d", own.Seq)
	}
	if _, err := l.Publish(noon, template(1), keyOf(1), 1<<64-1); err == nil {
		t.Fatal("there is no number above the last")
	}
	if _, err := l.Publish(noon, message.Advert{Name: "not a name"}, keyOf(1), 0); err == nil {
		t.Fatal("an invalid advert was published")
	}
	if _, err := l.Publish(noon, template(1), keyOf(2), 0); err == nil {
		t.Fatal("signed with another node's key")
	}
}

func TestLedgerTellsAliveSuspectDeadAndLeftApart(t *testing.T) {
	l := NewLedger(idOf(1))
	id := idOf(2)
	state := func() State { s, _ := l.Standing(id); return s.State }
	expect := func(want State, what string) {
		t.Helper()
		if got := state(); got != want {
			t.Fatalf("%s: %s, want %s", what, got, want)
		}
	}
	there, gone := map[message.NodeID]bool{id: true}, map[message.NodeID]bool{}
	l.Present(noon, there)
	mustHear(t, l, sealAs(t, 2, message.Advert{Seq: 1}), Fresh)
	expect(Alive, "present before its advert came")
	l.Suspect(id)
	expect(Suspect, "a probe failed")
	if !l.Seen(noon, id) {
		t.Fatal("the end of a suspicion is news")
	}
	expect(Alive, "it answered")
	if c := l.Present(noon, gone); len(c) != 0 {
		t.Fatal("gone at once")
	}
	expect(Alive, "it may have left")
	if c := l.Present(noon.Add(lastWord), gone); len(c) != 1 || c[0] != id {
		t.Fatalf("%v", c)
	}
	expect(Dead, "not there any more")
	if l.Suspect(id) {
		t.Fatal("the dead are not suspected")
	}
	l.Present(noon, there)
	expect(Alive, "it came back with the same advert")
	mustHear(t, l, sealAs(t, 2, message.Advert{Seq: 2, Left: true}), Fresh)
	expect(Left, "it said good-bye while memberlist still has it")
	l.Present(noon, gone)
	expect(Left, "and after")
	l.Present(noon, there)
	mustHear(t, l, sealAs(t, 2, message.Advert{Seq: 3}), Fresh)
	expect(Alive, "it came back with a new advert")
}

func TestLedgerPresumesOnlyForAWhile(t *testing.T) {
	l := NewLedger(idOf(1))
	mustHear(t, l, sealAs(t, 2, message.Advert{Seq: 1}), Fresh)
	l.Presume(noon, idOf(2), noon.Add(time.Minute))
	if c := l.Present(noon.Add(59*time.Second), nil); len(c) != 0 {
		t.Fatal("too early")
	}
	if c := l.Present(noon.Add(time.Minute), nil); len(c) != 1 {
		t.Fatal("for ever")
	}
}

func TestLedgerForgetsThoseLongGoneAndStopsTellingOfThemBefore(t *testing.T) {
	l := NewLedger(idOf(1))
	mustHear(t, l, sealAs(t, 2, message.Advert{Seq: 1}), Fresh)
	mustHear(t, l, sealAs(t, 3, message.Advert{Seq: 1}), Fresh)
	l.Present(noon, map[message.NodeID]bool{idOf(3): true})
	if n := len(l.Sealed(noon.Add(passAbsent - 1))); n != 2 {
		t.Fatalf("%d", n)
	}
	if n := len(l.Sealed(noon.Add(passAbsent))); n != 1 {
		t.Fatalf("%d", n)
	}
	if got := l.Sweep(noon.Add(keepAbsent + 1)); len(got) != 1 || got[0] != idOf(2) {
		t.Fatalf("%v", got)
	}
	mustHear(t, l, sealAs(t, 2, message.Advert{Seq: 1}), Fresh) // its digest is forgotten too
}

func TestLedgerIsBoundedAndTheGoneMakeRoomForTheNew(t *testing.T) {
	l := NewLedger(idOf(1))
	there := map[message.NodeID]bool{}
	for n := range maxNodes {
		id := message.NodeID{1, byte(n), byte(n >> 8)}
		l.put(noon.Add(time.Duration(n)), message.Advert{ID: id}, nil, [32]byte{1, byte(n), byte(n >> 8)})
		there[id] = true
	}
	l.Present(noon, there)
	mustHear(t, l, sealAs(t, 2, message.Advert{Seq: 1}), Rejected)
	delete(there, message.NodeID{1, 7})
	l.Present(noon, there)
	l.Present(noon.Add(lastWord), there)
	mustHear(t, l, sealAs(t, 2, message.Advert{Seq: 1}), Fresh)
	if _, ok := l.Standing(message.NodeID{1, 7}); ok || l.Len() != maxNodes {
		t.Fatalf("%d nodes", l.Len())
	}
}

// In whatever order and however often adverts arrive, two ledgers that heard the
// same ones hold the same.
func TestLedgersThatHeardTheSameAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var all [][]byte
	for n := 2; n < 6; n++ {
		for seq := range 8 {
			all = append(all, sealAs(t, n, message.Advert{Seq: uint64(seq + 1), NAT: fmt.Sprint(seq)}))
		}
	}
	for range 50 {
		a, b := NewLedger(idOf(1)), NewLedger(idOf(1))
		for _, l := range []*Ledger{a, b} {
			for _, i := range append(rng.Perm(len(all)), rng.Perm(len(all))...) {
				l.Hear(noon, all[i])
			}
		}
		for n := 2; n < 6; n++ {
			x, _ := a.Standing(idOf(n))
			y, _ := b.Standing(idOf(n))
			if x.Advert.Seq != 8 || !sameContent(x.Advert, y.Advert) {
				t.Fatalf("%+v %+v", x, y)
			}
		}
	}
}

func FuzzLedgerHear(f *testing.F) {
	f.Add(sealAs(f, 2, template(2)))
	f.Add(sealAs(f, 1, template(1)))
	f.Add(sealAs(f, 3, message.Advert{Seq: 1, Left: true, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:9")}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := NewLedger(idOf(1))
		h, err := l.Hear(noon, data)
		if (h.Verdict == Rejected) != (err != nil) {
			t.Fatalf("%+v %v", h, err)
		}
		if h.Verdict == Fresh && l.Len() != 1 {
			t.Fatal("fresh, but not there")
		}
	})
}
