package gossip

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

func askedWithin(a *accord, begin time.Time, limit time.Duration, mesh crowd, each func(time.Time)) (times []time.Duration) {
	for d := time.Duration(0); d <= limit; d += tick {
		if each != nil {
			each(begin.Add(d))
		}
		if _, ok := a.due(begin.Add(d), 3, mesh); ok {
			times = append(times, d)
		}
	}
	return times
}

func TestMembersAreAskedForAllUnlessOneAgreed(t *testing.T) {
	mesh := fakeCrowd{alive: []join{{id: idOf(2), member: true}, {id: idOf(3), member: true}}}
	if n := len(askedWithin(new(accord), noon, 10*askEvery, mesh, nil)); n < 10 || n > 14 {
		t.Fatalf("in %v without a word of the others, %d were asked", 10*askEvery, n)
	}
	a, last := new(accord), noon
	agree := func(now time.Time) {
		if now.Sub(last) >= 20*time.Second {
			a.heard(mesh.alive[0], true)
			last = now
		}
	}
	if asked := askedWithin(a, noon, 10*askEvery, mesh, agree); len(asked) != 0 {
		t.Fatalf("others agreed all the time, and were asked at %v", asked)
	}
}

func TestWhoKnowsOtherwiseIsAskedAtOnceButNotAllTheTime(t *testing.T) {
	mesh := fakeCrowd{alive: []join{{id: idOf(2), member: true}}}
	odd := join{id: idOf(3), place: place(3), member: true}
	a := new(accord)
	a.due(noon, 3, mesh)
	a.heard(odd, false)
	if got, ok := a.due(noon.Add(tick), 3, mesh); !ok || got != odd {
		t.Fatalf("%+v, %v", got, ok)
	}
	asked := askedWithin(a, noon.Add(tick), 10*askEvery, mesh, func(time.Time) { a.heard(odd, false) })
	if n := len(asked); n < 18 || n > 21 {
		t.Fatalf("in %v it was asked %d times", 10*askEvery, n)
	}
}

func TestWhoAgreesAfterAllIsNotAsked(t *testing.T) {
	mesh := fakeCrowd{alive: []join{{id: idOf(2), member: true}}}
	a := new(accord)
	a.due(noon, 3, mesh)
	a.heard(mesh.alive[0], false)
	a.heard(mesh.alive[0], true)
	if got, ok := a.due(noon.Add(tick), 3, mesh); ok {
		t.Fatalf("%+v", got)
	}
}

func TestLargeMeshesAskAndProbeLessOften(t *testing.T) {
	for _, c := range []struct {
		n          int
		ask, probe time.Duration
	}{
		{1, 30 * time.Second, 2 * time.Second}, {12, 30 * time.Second, 2 * time.Second},
		{32, 30 * time.Second, 5333 * time.Millisecond}, {33, time.Minute, 5500 * time.Millisecond},
		{64, time.Minute, 10666 * time.Millisecond}, {65, 90 * time.Second, 10833 * time.Millisecond},
		{1000, 3 * time.Minute, 15 * time.Second},
	} {
		if ask, probe := askInterval(c.n), pace(c.n).Truncate(time.Millisecond); ask != c.ask || probe != c.probe {
			t.Errorf("%d nodes: asks every %v, probes every %v", c.n, ask, probe)
		}
	}
}

func TestSummaryChangesWithWhoIsThereAndWithEveryAdvert(t *testing.T) {
	fill := func(order ...int) *Ledger {
		l := NewLedger(idOf(1))
		there := map[message.NodeID]bool{}
		for _, n := range order {
			if _, err := l.Hear(noon, sealAs(t, n, message.Advert{Seq: 1, Addresses: template(n).Addresses})); err != nil {
				t.Fatal(err)
			}
			there[idOf(n)] = true
		}
		l.Present(noon, there)
		return l
	}
	a, b := fill(2, 3, 4), fill(4, 2, 3)
	same := a.Summary(noon)
	if same != b.Summary(noon) || same == fill(2, 3).Summary(noon) {
		t.Fatal("not the same set, the same summary")
	}
	later := noon.Add(10 * time.Second)
	gone := map[message.NodeID]bool{idOf(2): true, idOf(3): true}
	b.Present(noon, gone)
	b.Present(later, gone)
	if b.Summary(later) != fill(2, 3).Summary(noon) {
		t.Fatal("one who died is in it")
	}
	hear := func(l *Ledger, ad message.Advert) summary {
		if _, err := l.Hear(noon, sealAs(t, 4, ad)); err != nil {
			t.Fatal(err)
		}
		return l.Summary(noon)
	}
	newer := hear(a, message.Advert{Seq: 2, Addresses: template(4).Addresses})
	left := hear(a, message.Advert{Seq: 3, Addresses: template(4).Addresses, Left: true})
	if newer == same || left == newer {
		t.Fatal("a newer advert left the summary as it was")
	}
	if a.Summary(noon.Add(sumLeft)) != fill(2, 3).Summary(noon) {
		t.Fatal("one who left long ago is still in it")
	}
}

func TestSummaryInAnAnswerToAProbe(t *testing.T) {
	s := summary{1, 2, 3, 4, 5, 6, 7, 8}
	golden := []byte{kindSummary, 1, 2, 3, 4, 5, 6, 7, 8}
	if got := s.marshal(); !bytes.Equal(got, golden) {
		t.Fatalf("%x", got)
	}
	if got, err := parseSummary(golden); err != nil || got != s {
		t.Fatalf("%x, %v", got, err)
	}
	for n := range golden {
		if _, err := parseSummary(golden[:n]); err == nil {
			t.Errorf("%d bytes were taken for a summary", n)
		}
	}
	if _, err := parseSummary(append([]byte{9}, golden[1:]...)); err == nil {
		t.Error("another kind was taken for a summary")
	}
}

func FuzzSummary(f *testing.F) {
	f.Add(summary{1, 2, 3}.marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := parseSummary(data); err == nil && !bytes.Equal(s.marshal(), data) {
			t.Fatalf("%x became %x", data, s.marshal())
		}
	})
}

func TestMeshAtRestExchangesNoStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 6)
		defer m.stop()
		m.star()
		m.allSee(settled, m.nodes...)
		<-time.After(time.Minute)
		before := 0
		m.net.set(func() { before = m.net.dials })
		<-time.After(10 * time.Minute)
		m.net.set(func() {
			if n := m.net.dials - before; n != 0 {
				t.Errorf("%d streams in ten minutes in which nothing happened", n)
			}
		})
	})
}

func TestWhatABroadcastMissedIsFoundByTheNextProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 4)
		defer m.stop()
		m.star()
		m.allSee(settled, m.nodes...)
		<-time.After(2 * time.Minute)
		m.net.set(func() { m.net.loss = 1 })
		x := m.nodes[2]
		x.publish(func(a *message.Advert) { a.NAT = "symm" })
		<-time.After(6 * time.Second)
		m.net.set(func() { m.net.loss = 0 })
		took := within(t, 25*time.Second, "the advert is everywhere", func() bool {
			for _, y := range m.nodes {
				if y != x && y.sees(x.id).NAT != "symm" {
					return false
				}
			}
			return true
		})
		t.Logf("after %v", took)
	})
}

func TestDeadNodeOfALargeMeshIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 30)
		defer m.stop()
		m.star()
		m.allSee(settled, m.nodes...)
		<-time.After(time.Minute)
		x := m.nodes[17]
		x.stop()
		took := within(t, 2*time.Minute, "all take it for dead", func() bool {
			for _, y := range m.nodes {
				if y != x && y.sees(x.id).State != Dead {
					return false
				}
			}
			return true
		})
		t.Logf("after %v", took)
	})
}
