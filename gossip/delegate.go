package gossip

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/openbmx/lightweight-tunnel/actors"
)

// delegate is what memberlist calls, on its own goroutines and partly under its
// own locks. It decides nothing: it copies, offers to the actor, and never
// waits. What is lost here is repaired by the next push/pull or re-read. One
// delegate serves one run of the actor; a memberlist that was shut down and
// calls late reaches mailboxes that nobody reads any more.
type delegate struct {
	self    memberName
	meta    []byte
	board   *Board
	queue   *memberlist.TransmitLimitedQueue
	inbox   actors.Ref[event]
	bundles actors.Ref[event]
	members actors.Poke  // memberlist's members changed: read them again
	count   atomic.Int64 // of living members, this one included

	// verified holds the meta last found to be signed, by member name.
	// memberlist calls NotifyAlive under its node lock, which guards it.
	verified map[string]string

	done chan struct{} // closed when this run ends
}

// maxVerified bounds delegate.verified: a node at several places counts often.
const maxVerified = 2 * maxNodes

// event is what the delegate tells the actor.
type event interface{ event() }

type (
	noteHeard   struct{ data []byte } // a user message
	bundleHeard struct{ data []byte } // the state in a push/pull
	memberSeen  struct {
		name  string
		knows *summary
	} // it answered a probe; nil: it did not say what it knows
	memberMute struct{ name string } // it did not, nor did others reach it
)

func (noteHeard) event()   {}
func (bundleHeard) event() {}
func (memberSeen) event()  {}
func (memberMute) event()  {}

func (d *delegate) NodeMeta(int) []byte { return d.meta }

func (d *delegate) NotifyMsg(data []byte) {
	if _, err := parseNote(data); err == nil {
		d.inbox.Offer(noteHeard{slices.Clone(data)}) // memberlist uses the buffer again
	}
}

func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.queue.GetBroadcasts(overhead, limit)
}

func (d *delegate) LocalState(bool) []byte {
	sealed := d.board.memory.Load().sealed
	if len(sealed) == 0 {
		return nil
	}
	return appendBundle(nil, sealed, rand.IntN(len(sealed)))
}

func (d *delegate) MergeRemoteState(data []byte, _ bool) {
	if len(data) <= maxBundle {
		d.bundles.Offer(bundleHeard{data}) // made for this call, so it is ours
	}
}

func (d *delegate) NotifyJoin(*memberlist.Node)   { d.members.Give() }
func (d *delegate) NotifyLeave(*memberlist.Node)  { d.members.Give() }
func (d *delegate) NotifyUpdate(*memberlist.Node) { d.members.Give() }

// NotifyAlive refuses members whose name, place and signature do not agree.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	name, err := parseMemberName(n.Name)
	if err != nil {
		return err
	}
	if name.node().Address() != n.Address() {
		return fmt.Errorf("member is at %s, its name says %s", n.Address(), name.place)
	}
	if len(n.Meta) > 0 && d.verified[n.Name] == string(n.Meta) {
		return nil // each push/pull brings every member, and signatures are dear
	}
	if _, err := openMemberMeta(n.Meta, name); err != nil {
		return err
	}
	if len(d.verified) >= maxVerified {
		clear(d.verified)
	}
	d.verified[n.Name] = string(n.Meta)
	return nil
}

func (d *delegate) AckPayload() []byte {
	m := d.board.memory.Load()
	if !m.steady(time.Now()) {
		return nil
	}
	return m.summary.marshal()
}

// NotifyPingComplete is called between two probes, by the goroutine that sends
// them all.
func (d *delegate) NotifyPingComplete(n *memberlist.Node, _ time.Duration, payload []byte) {
	seen := memberSeen{name: n.Name}
	if s, err := parseSummary(payload); err == nil {
		seen.knows = &s
	}
	d.inbox.Offer(seen)
	d.rest()
}

// rest holds the next probe back in a large mesh. memberlist's interval cannot be
// changed while it runs; but ticks that nobody waits for are skipped, and this
// is not called when a probe failed, so that then the next one is not late.
func (d *delegate) rest() {
	wait := pace(int(d.count.Load()))
	if wait <= probeInterval {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-d.done:
	}
}

// advertBroadcast is one advert in memberlist's queue: a newer one of the same
// node takes its place.
type advertBroadcast struct {
	node string
	note []byte
}

func (b *advertBroadcast) Name() string    { return b.node }
func (b *advertBroadcast) Message() []byte { return b.note }
func (b *advertBroadcast) Finished()       {}
func (b *advertBroadcast) Invalidates(o memberlist.Broadcast) bool {
	other, ok := o.(*advertBroadcast)
	return ok && other.node == b.node
}
