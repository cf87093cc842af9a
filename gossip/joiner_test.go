package gossip

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// fakeCrowd is a mesh as the joiner asks about it.
type fakeCrowd struct {
	here  map[message.NodeID]bool
	alive []join
	lost  []join
}

func (c fakeCrowd) present(id message.NodeID) bool { return c.here[id] }
func (c fakeCrowd) living() []join                 { return c.alive }
func (c fakeCrowd) dead() []join                   { return c.lost }
func (c fakeCrowd) pick(n int) int                 { return n - 1 }

func place(n int) netip.AddrPort {
	return netip.AddrPortFrom(template(n).Addresses[0].Addr(), DefaultPort)
}

func TestJoinerTriesSeedsFirstAndFewAtATime(t *testing.T) {
	j := newJoiner(noon)
	for n := 2; n < 8; n++ {
		j.up(noon, idOf(n), place(n), n == 6)
	}
	got := j.due(noon, fakeCrowd{})
	if len(got) != maxJoining || got[0].id != idOf(6) {
		t.Fatalf("%+v", got)
	}
	if more := j.due(noon, fakeCrowd{}); len(more) != 0 {
		t.Fatalf("%d tries at a time", len(got)+len(more))
	}
	j.done(noon, got[0], errors.New("refused"))
	if more := j.due(noon, fakeCrowd{}); len(more) != 1 || more[0].id == idOf(6) {
		t.Fatalf("%+v", more)
	}
}

func TestJoinerWaitsLongerAfterEachFailureAndEndsWhenTheNodeIsThere(t *testing.T) {
	j := newJoiner(noon)
	j.rejoin = noon.Add(time.Hour)
	j.up(noon, idOf(2), place(2), true)
	now, waits := noon, []time.Duration{}
	for range 8 {
		begin := now
		var got []join
		for got = j.due(now, fakeCrowd{}); len(got) == 0; got = j.due(now, fakeCrowd{}) {
			now = now.Add(100 * time.Millisecond)
		}
		waits = append(waits, now.Sub(begin))
		j.done(now, got[0], errors.New("refused"))
	}
	want := []time.Duration{0, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, joinRetryMax, joinRetryMax}
	for i := range want {
		if waits[i] != want[i] {
			t.Fatalf("waits %v, want %v", waits, want)
		}
	}
	there := fakeCrowd{here: map[message.NodeID]bool{idOf(2): true}}
	if got := j.due(now.Add(time.Minute), there); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	// Lost again: tried at once, with short waits again.
	if got := j.due(now.Add(time.Minute), fakeCrowd{}); len(got) != 1 {
		t.Fatalf("%+v", got)
	}
}

func TestJoinerForgetsALinkThatIsDown(t *testing.T) {
	j := newJoiner(noon)
	j.up(noon, idOf(2), place(2), true)
	got := j.due(noon, fakeCrowd{})
	j.down(idOf(2))
	j.done(noon, got[0], errors.New("link is down"))
	if got := j.due(noon.Add(time.Second), fakeCrowd{}); len(got) != 0 || j.busy != 0 {
		t.Fatalf("%+v, %d busy", got, j.busy)
	}
	// The node came back elsewhere while a try at the old place was under way.
	j.up(noon, idOf(2), place(2), true)
	old := j.due(noon, fakeCrowd{})[0]
	j.up(noon, idOf(2), place(3), true)
	if got := j.due(noon, fakeCrowd{}); len(got) != 1 || got[0].place != place(3) {
		t.Fatalf("%+v", got)
	}
	j.done(noon, old, nil)
	if !j.links[idOf(2)].busy {
		t.Fatal("the old try ended the new one")
	}
}

func TestJoinerTriesTheDeadNowAndThen(t *testing.T) {
	j := newJoiner(noon)
	mesh := fakeCrowd{lost: []join{{id: idOf(2), place: place(2)}}}
	if got := j.due(noon, mesh); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	now := noon.Add(rejoinEvery)
	if got := j.due(now, mesh); len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	if got := j.due(now.Add(time.Second), mesh); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
}

func TestJoinerAsksAMemberAgainAfterAJoin(t *testing.T) {
	j := newJoiner(noon)
	j.rejoin = noon.Add(time.Hour)
	j.up(noon, idOf(2), place(2), true)
	mesh := fakeCrowd{here: map[message.NodeID]bool{idOf(2): true}, alive: []join{{id: idOf(3), place: place(3), member: true}}}
	j.done(noon, j.due(noon, fakeCrowd{})[0], nil)
	asked := 0
	for now := noon; now.Before(noon.Add(time.Minute)); now = now.Add(100 * time.Millisecond) {
		for _, g := range j.due(now, mesh) {
			asked++
			j.done(now, g, nil)
		}
	}
	if asked != len(resyncs) {
		t.Fatalf("asked %d times", asked)
	}
}

func TestJumpsGetRarerWhileTwoOutbidEachOther(t *testing.T) {
	var j seqJump
	jumps := 0
	for now := noon; now.Before(noon.Add(time.Hour)); now = now.Add(time.Second) {
		j.ahead(uint64(jumps + 1)) // the other one answers at once
		if _, ok := j.due(now); ok {
			jumps++
		}
	}
	if jumps < 10 || jumps > 25 {
		t.Fatalf("%d jumps in an hour", jumps)
	}
	if _, ok := new(seqJump).due(noon); ok {
		t.Fatal("nothing to jump over")
	}
}

func TestOutboxOwesTheNewestOnly(t *testing.T) {
	full := true
	var got []uint64
	o := newOutbox(func(_ message.NodeID, s Standing, _ told) (told, bool) {
		if full {
			return told{}, false
		}
		got = append(got, s.Advert.Seq)
		return told{s.Advert.Seq, true}, true
	})
	seq := uint64(0)
	standing := func(message.NodeID) Standing { return Standing{Advert: message.Advert{Seq: seq}} }
	for range 3 {
		seq++
		o.owe(idOf(2))
		if o.settle(standing) {
			t.Fatal("the mailbox is full")
		}
	}
	full = false
	if !o.settle(standing) || len(got) != 1 || got[0] != 3 {
		t.Fatalf("%v", got)
	}
	o.restart([]message.NodeID{idOf(2)})
	if o.settle(standing); len(got) != 2 {
		t.Fatalf("%v", got)
	}
}

func TestMemberlistsOwnLogIsQuietAndItsSuspicionIsHeard(t *testing.T) {
	var out bytes.Buffer
	var suspects []string
	w := &memberLog{log: hclog.New(&hclog.LoggerOptions{Output: &out, Level: hclog.Info}), suspect: func(m string) { suspects = append(suspects, m) }}
	for _, line := range []string{
		"[INFO] memberlist: Suspect a@1 has failed, no acks received\n",
		"[ERR] memberlist: Failed to send UDP ping: network is unreachable\n",
		"[WARN] memberlist: Refuting a suspect message (from: x)\n",
		"[ERR] memberlist: Decrypt packet failed: no installed keys could decrypt the message from=10.0.0.9:1\n",
		"[ERR] memberlist: Decrypt packet failed: no installed keys could decrypt the message from=10.0.0.9:1\n",
		"", "[", "no level",
	} {
		if n, err := w.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatalf("%d %v", n, err)
		}
	}
	if len(suspects) != 1 || suspects[0] != "a@1" {
		t.Fatalf("%q", suspects)
	}
	if n := strings.Count(out.String(), "\n"); n != 1 || !strings.Contains(out.String(), "Decrypt packet failed") {
		t.Fatalf("%s", out.String())
	}
}
