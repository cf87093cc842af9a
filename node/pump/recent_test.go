package pump

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// numbered is a packet of n bytes that begins with its number.
func numbered(i, n int) []byte {
	p := bytes.Repeat([]byte{byte(i)}, n)
	binary.BigEndian.PutUint32(p, uint32(i))
	return p
}

func TestOfThePacketsSentTheNewestAreKeptInOrder(t *testing.T) {
	var r recent
	now := time.Unix(1_700_000_000, 0)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 20000 {
		now = now.Add(time.Duration(rng.IntN(int(2 * time.Millisecond))))
		r.keep(now, peerlink.Sealed{}, false, wire.Data, numbered(i, 4+rng.IntN(1400)))
	}
	if len(r.buf) > mostRecent || r.n == 0 {
		t.Fatalf("%d packets in %d bytes", r.n, len(r.buf))
	}
	next, got, size := 0, 0, 0
	r.since(time.Time{}, func(e *keptPacket, p []byte) {
		i := int(binary.BigEndian.Uint32(p))
		if got > 0 && i != next || !bytes.Equal(p[4:], numbered(i, len(p))[4:]) {
			t.Fatalf("packet %d of %d bytes is damaged or out of order, want %d", i, len(p), next)
		}
		next, got, size = i+1, got+1, size+len(p)
	})
	if next != 20000 || size < mostRecent*3/4 {
		t.Errorf("the last one is %d, %d packets of %d bytes in all", next-1, got, size)
	}
}

func TestWhatWentAgainIsKeptUntilItIsKnownToHaveArrived(t *testing.T) {
	var r recent
	start := time.Unix(1_700_000_000, 0)
	for i := range 10 {
		r.keep(start.Add(time.Duration(i)*time.Second), peerlink.Sealed{Session: 1, Counter: uint64(i)}, false, wire.Data, numbered(i, 200))
	}
	again := func(then time.Time, session uint32) (first, n int) {
		first = -1
		r.since(then, func(e *keptPacket, p []byte) {
			i := int(binary.BigEndian.Uint32(p))
			if first < 0 {
				first = i
			}
			if n++; e.was != (peerlink.Sealed{Session: session, Counter: uint64(i)}) {
				t.Errorf("packet %d was sealed as %+v", i, e.was)
			}
			e.was.Session++
		})
		return first, n
	}
	if first, n := again(start.Add(4*time.Second), 1); first != 4 || n != 6 {
		t.Errorf("%d packets from %d on", n, first)
	}
	if first, n := again(start, 2); first != 4 || n != 6 {
		t.Errorf("the second time %d packets from %d on", n, first)
	}
	if first, n := again(start.Add(8*time.Second), 3); first != 8 || n != 2 {
		t.Errorf("the third time %d packets from %d on", n, first)
	}
	if r.Forget(); r.n != 0 {
		t.Error("nothing is forgotten")
	}
}

func TestOnlyWhatWasSentSinceTheAbsenceBeganGoesAgain(t *testing.T) {
	var r recent
	start := time.Unix(1_700_000_000, 0)
	for i := range 500 { // ten seconds of 50 packets a second
		r.keep(start.Add(time.Duration(i)*20*time.Millisecond), peerlink.Sealed{Counter: uint64(i)}, false, wire.DataPartial, numbered(i, 200))
	}
	var got []int
	r.since(start.Add(7*time.Second), func(e *keptPacket, p []byte) {
		if e.kind != wire.DataPartial || e.was.Counter != uint64(binary.BigEndian.Uint32(p)) {
			t.Errorf("kind %v, counter %d", e.kind, e.was.Counter)
		}
		got = append(got, int(binary.BigEndian.Uint32(p)))
	})
	if len(got) != 150 || got[0] != 350 || got[149] != 499 {
		t.Errorf("%d packets, %v", len(got), got)
	}
	if len(r.buf) > 64<<10 {
		t.Errorf("%d bytes are held for a slow stream", len(r.buf))
	}
}

func TestKeepingAllocatesNothingOnceItsSizeIsFound(t *testing.T) {
	var r recent
	now, p := time.Unix(1_700_000_000, 0), numbered(1, 1300)
	keep := func() {
		now = now.Add(time.Millisecond)
		r.keep(now, peerlink.Sealed{}, false, wire.Data, p)
	}
	for range 2000 {
		keep()
	}
	if n := testing.AllocsPerRun(1000, keep); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWhatIsKeptFitsTheBudgetAndTheNewestStays(t *testing.T) {
	budget := packet.NewBudget(100 << 10)
	var busy [4]recent
	for i := range busy {
		busy[i].budget = budget
	}
	now := time.Unix(1_700_000_000, 0)
	for i := range 4000 {
		now = now.Add(time.Millisecond)
		if r := &busy[i%len(busy)]; !r.keep(now, peerlink.Sealed{}, false, wire.Data, numbered(i, 1000)) || budget.Held() > budget.Most() {
			t.Fatalf("packet %d: %d of %d bytes are taken", i, budget.Held(), budget.Most())
		}
	}
	for i := range busy {
		if r := &busy[i]; r.n < 5 || r.entry(r.n-1).at != now.Add(time.Duration(i+1-len(busy))*time.Millisecond) {
			t.Errorf("of peer %d %d packets are kept", i, r.n)
		}
		busy[i].Forget()
	}
	if budget.Held() != 0 {
		t.Errorf("%d bytes are taken for what is forgotten", budget.Held())
	}
	budget.Take(100 << 10)
	var late recent
	late.budget = budget
	if late.keep(now, peerlink.Sealed{}, false, wire.Data, numbered(1, 1000)) || late.n > 0 {
		t.Error("a packet is kept for which there is no room")
	}
}

func TestWayIsMadeByThoseWhoNeedNoRoom(t *testing.T) {
	budget := packet.NewBudget(1 << 20)
	now := time.Unix(1_700_000_000, 0)
	kept := func(ago time.Duration) *recent {
		r := &recent{budget: budget}
		r.keep(now.Add(-ago), peerlink.Sealed{}, false, wire.Data, numbered(1, 100))
		return r
	}
	busy, quiet, empty := kept(recentFor/2), kept(2*recentFor), kept(recentFor/2)
	empty.since(now, func(*keptPacket, []byte) { t.Error("a packet is younger than now") })
	each := budget.Held() / 3
	o := &Outbound{began: now, kept: map[*peerlink.Peer]*recent{new(peerlink.Peer): busy, new(peerlink.Peer): quiet, new(peerlink.Peer): empty}}
	o.makeWay()
	if busy.n != 1 || quiet.buf != nil || empty.buf != nil || budget.Held() != each {
		t.Errorf("%d packets of the busy peer are kept, %d bytes are taken, want %d", busy.n, budget.Held(), each)
	}
}

func FuzzRecentKeepsWhatItWasGiven(f *testing.F) {
	f.Add([]byte{1, 200, 30, 255, 0, 9}, uint16(3))
	f.Add(bytes.Repeat([]byte{255}, 600), uint16(1))
	f.Fuzz(func(t *testing.T, sizes []byte, factor uint16) {
		var r recent
		now := time.Unix(1_700_000_000, 0)
		for i, s := range sizes {
			now = now.Add(time.Duration(s) * time.Millisecond)
			r.keep(now, peerlink.Sealed{}, false, wire.Data, numbered(i, 4+int(s)*int(factor%260)))
		}
		next := -1
		r.since(time.Time{}, func(e *keptPacket, p []byte) {
			i := int(binary.BigEndian.Uint32(p))
			if next >= 0 && i != next || len(p) != 4+int(sizes[i])*int(factor%260) {
				t.Fatalf("packet %d of %d bytes, want %d", i, len(p), next)
			}
			next = i + 1
		})
		if len(sizes) > 0 && next != len(sizes) {
			t.Fatalf("the newest is missing: %d of %d", next, len(sizes))
		}
	})
}
