package peerlink

import (
	"testing"
	"testing/synctest"

	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// arrive puts a packet of n bytes into the queue as a pump does; false: no room.
func (q *staging) arrive(n int) bool {
	p := staged{Again: Again{Packet: make([]byte, n)}}
	if !q.room.budget.Take(p.cost()) {
		return false
	}
	q.add([]staged{p})
	q.shed()
	return true
}

func TestWhoStagesMuchLeavesRoomForOthers(t *testing.T) {
	const most = 64 << 10
	all := &room{budget: packet.NewBudget(most)}
	queue := func() *staging { return &staging{maxPackets: 5000, maxBytes: 4 << 20, room: all} }
	greedy, late := queue(), queue()
	for range 1000 {
		if !greedy.arrive(1000) {
			t.Fatal("a queue alone is refused, and should let its oldest go")
		}
	}
	if n := greedy.cost(); n < most*3/4 || n > most*7/8 {
		t.Errorf("a queue alone keeps %d of %d bytes", n, most)
	}
	for range 20 {
		late.arrive(100) // small ones, of which all fit its share
	}
	if late.len() != 20 {
		t.Errorf("%d of 20 packets wait for the other peer", late.len())
	}
	for range 1000 {
		late.arrive(1000)
		greedy.shed() // as its link does twice a second
		if n := all.budget.Held(); n > most {
			t.Fatalf("%d of %d bytes are taken", n, most)
		}
	}
	for name, q := range map[string]*staging{"first": greedy, "other": late} {
		if n := q.cost(); n < most/3 || n > most/2 {
			t.Errorf("of %d bytes the %s queue has %d", most, name, n)
		}
	}
	late.discard()
	for greedy.len() > 0 {
		greedy.pop()
	}
	if all.budget.Held() != 0 || all.links.Load() != 0 {
		t.Errorf("%d bytes of %d links are taken when nothing waits", all.budget.Held(), all.links.Load())
	}
}

func TestWhatAPeerThatLeftHadStagedIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newInternet(t)
		budget := packet.NewBudget(1 << 20)
		site := n.start("office", "192.0.2.2:1", nil, func(c *Config) { c.Staged = budget })
		gone := message.NodeID{7}
		for _, way := range []string{"before it left", "by a pump that still knows it"} {
			site.d.Ref().Offer(message.Known{Advert: message.Advert{ID: gone, Name: "gone"}})
			synctest.Wait()
			peer := site.d.Peer(gone)
			if way == "before it left" {
				peer.Stage(wire.Data, make([]byte, 1000))
				synctest.Wait()
				if budget.Held() == 0 {
					t.Error("what waits takes no room")
				}
			}
			site.d.Ref().Offer(message.Forgotten{Node: gone})
			synctest.Wait()
			if way != "before it left" {
				peer.Stage(wire.Data, make([]byte, 1000))
				peer.StageAgain([]Again{{Packet: make([]byte, 1000)}})
			}
			synctest.Wait()
			if held := budget.Held(); held != 0 || site.d.room.links.Load() != 0 {
				t.Errorf("%s: %d bytes are taken for a peer that is gone", way, held)
			}
		}
	})
}

func TestWhatThereIsNoRoomForIsCounted(t *testing.T) {
	d, out := bare(t)
	d.room.budget = packet.NewBudget(10 * (1000 + stagedOverhead))
	peer := out.Peer()
	for range 12 {
		if !peer.Stage(wire.Data, make([]byte, 1000)) {
			t.Fatal("the mailbox is full")
		}
	}
	peer.StageAgain([]Again{{Packet: make([]byte, 1000)}, {Packet: make([]byte, 1000)}})
	if n := peer.staging.Depth(); n != 10 {
		t.Errorf("%d packets were taken, there is room for 10", n)
	}
	if d.Shed() != 4 || peer.Snapshot().TxDropped != 4 {
		t.Errorf("%d and %d are counted as dropped, 4 were", d.Shed(), peer.Snapshot().TxDropped)
	}
}
