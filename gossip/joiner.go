package gossip

import (
	"net/netip"
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

const (
	joinRetry    = 500 * time.Millisecond // after the first try that failed; doubled each time
	joinRetryMax = 15 * time.Second
	rejoinEvery  = 30 * time.Second // one node that is dead is tried in this time
	maxJoining   = 3                // tries at a time
)

// resyncs are when, after a join that worked, a random member is asked for all
// that it knows once more. Many nodes that join at the same time learn of each
// other by broadcasts, of which each node sends only a few, at random.
var resyncs = []time.Duration{2 * time.Second, 6 * time.Second, 14 * time.Second}

// joiner decides through whom to join the mesh, and when. The rule is: a node
// that we have a link to but that is no living member is to be joined through,
// until it is one. That covers the first start, a restarted node, a partition
// that healed and the loss of all members alike. Besides, now and then a dead
// node is tried without a link, as nobody else may remember it.
//
// It is pure and belongs to one goroutine; use [newJoiner].
type joiner struct {
	links  map[message.NodeID]*attempt
	busy   int
	rejoin time.Time // when a dead node is tried next
	resync []time.Time
}

// attempt is the state of joining through one linked node.
type attempt struct {
	place netip.AddrPort
	seed  bool
	busy  bool
	tries int
	next  time.Time
}

// join is one try that the caller is to make and to report by [joiner.done].
type join struct {
	id     message.NodeID
	place  netip.AddrPort
	member bool // it is a living member already
}

func newJoiner(now time.Time) *joiner {
	return &joiner{links: make(map[message.NodeID]*attempt), rejoin: now.Add(rejoinEvery)}
}

// up notes a link to the node named id, whose gossip listens at place. A link
// that was up already is tried at once again only if its place is another.
func (j *joiner) up(now time.Time, id message.NodeID, place netip.AddrPort, seed bool) {
	a := j.links[id]
	if a == nil || a.place != place {
		a = &attempt{place: place, next: now}
		j.links[id] = a
	}
	a.seed = seed
}

// down notes that there is no link to the node any more.
func (j *joiner) down(id message.NodeID) { delete(j.links, id) }

// crowd is what the joiner asks about the mesh. Lists are in any order, and
// asked for only when a node from them is wanted.
type crowd interface {
	present(message.NodeID) bool // is it a living member?
	living() []join              // all others that are
	dead() []join                // all that died, not those that left
	pick(n int) int              // chooses one of n
}

// due returns the tries to be made now.
func (j *joiner) due(now time.Time, mesh crowd) (out []join) {
	for id, a := range j.links {
		if mesh.present(id) {
			a.tries, a.next = 0, now // the day it is lost, it is tried at once
			continue
		}
		if !a.busy && !now.Before(a.next) {
			out = append(out, join{id: id, place: a.place})
		}
	}
	// Seeds first: they know the most members and are surest to be reached.
	slices.SortFunc(out, func(a, b join) int {
		if s, t := j.links[a.id].seed, j.links[b.id].seed; s != t {
			if s {
				return -1
			}
			return 1
		}
		return slices.Compare(a.id[:], b.id[:])
	})
	out = out[:min(len(out), max(maxJoining-j.busy, 0))]
	for _, t := range out {
		j.links[t.id].busy = true
	}
	if !now.Before(j.rejoin) && j.busy+len(out) < maxJoining {
		j.rejoin = now.Add(rejoinEvery)
		if lost := mesh.dead(); len(lost) > 0 {
			out = append(out, lost[mesh.pick(len(lost))])
		}
	}
	if len(j.resync) > 0 && !now.Before(j.resync[0]) && j.busy+len(out) < maxJoining {
		j.resync = j.resync[1:]
		if all := mesh.living(); len(all) > 0 {
			out = append(out, all[mesh.pick(len(all))])
		}
	}
	j.busy += len(out)
	return out
}

// room says whether one more try may be made.
func (j *joiner) room() bool { return j.busy < maxJoining }

// done reports how a try ended.
func (j *joiner) done(now time.Time, t join, err error) {
	j.busy--
	if err == nil && !t.member {
		j.resync = j.resync[:0]
		for _, d := range resyncs {
			j.resync = append(j.resync, now.Add(d))
		}
	}
	a := j.links[t.id]
	if a == nil || a.place != t.place {
		return
	}
	a.busy = false
	// Also after success, as the member may be lost again before anybody
	// looked: a try that helped ends the series by making the node present.
	a.next = now.Add(min(joinRetry<<min(a.tries, 10), joinRetryMax))
	if a.tries++; err == nil {
		a.tries = 1
	}
}
