package gossip

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors/message"
)

const (
	maxNodes   = 4096            // nodes in a ledger
	keepAbsent = 24 * time.Hour  // a node that is gone is shown for so long
	passAbsent = time.Hour       // and told to others for so long, or it would never end
	sumLeft    = 5 * time.Minute // that it left is what others are to know as well for so long

	// lastWord is how long a node that memberlist does not know any more counts
	// as present: its signed good-bye may be a packet behind memberlist's own.
	lastWord = time.Second
)

// Ledger keeps the newest verified advert of every node and whether the node is
// there. It is pure: no clock, no goroutine, no socket. Make it with
// [NewLedger]; it belongs to one goroutine.
type Ledger struct {
	self   message.NodeID
	nodes  map[message.NodeID]*record
	digest map[[sha256.Size]byte]message.NodeID // of the adverts in nodes
	there  map[message.NodeID]bool              // as Present was told last
}

// record is what the ledger knows of one node.
type record struct {
	advert  message.Advert
	sealed  []byte // never changed, so it may be passed on
	digest  [sha256.Size]byte
	present bool      // memberlist says that it answers
	presume time.Time // taken to be present until then, whatever memberlist says
	suspect bool
	changed time.Time // when it came or went
	seen    time.Time // last proof of life
}

// NewLedger returns a ledger for the node named self that knows nobody.
func NewLedger(self message.NodeID) *Ledger {
	return &Ledger{self: self, nodes: make(map[message.NodeID]*record), digest: make(map[[sha256.Size]byte]message.NodeID)}
}

// Verdict is what became of an advert that was heard.
type Verdict uint8

// The verdicts.
const (
	Rejected Verdict = iota // not decodable, not signed, or no room: see the error
	Known                   // this very advert was there already
	Stale                   // a newer one was there already
	Fresh                   // it is the newest of its node now
	OwnAhead                // signed by this node's own key and newer than what it published
)

// Heard is the outcome of [Ledger.Hear].
type Heard struct {
	Verdict Verdict
	Node    message.NodeID // of Fresh, Stale and OwnAhead
	Seq     uint64         // of OwnAhead
}

// Hear takes a sealed advert from anywhere. It keeps a copy of data if the
// advert is Fresh. One that was there already costs a hash and no signature.
func (l *Ledger) Hear(now time.Time, data []byte) (Heard, error) {
	digest := sha256.Sum256(data)
	if id, ok := l.digest[digest]; ok {
		return Heard{Verdict: Known, Node: id}, nil
	}
	a, err := message.OpenAdvert(data)
	if err != nil {
		return Heard{}, err
	}
	old := l.nodes[a.ID]
	switch {
	case a.ID == l.self:
		// A replay of our own past, or our clock went back since.
		if old == nil || a.Seq > old.advert.Seq {
			return Heard{Verdict: OwnAhead, Node: a.ID, Seq: a.Seq}, nil
		}
		return Heard{Verdict: Stale, Node: a.ID}, nil
	case old != nil && a.Seq <= old.advert.Seq:
		return Heard{Verdict: Stale, Node: a.ID}, nil
	case old == nil && len(l.nodes) >= maxNodes && !l.evict():
		return Heard{}, fmt.Errorf("advert of %s: no room for more than %d nodes", a.ID.Brief(), maxNodes)
	}
	l.put(now, a, slices.Clone(data), digest)
	return Heard{Verdict: Fresh, Node: a.ID}, nil
}

func (l *Ledger) put(now time.Time, a message.Advert, sealed []byte, digest [sha256.Size]byte) *record {
	r := l.nodes[a.ID]
	if r == nil {
		r = &record{changed: now, present: l.there[a.ID]}
		l.nodes[a.ID] = r
	} else if r.advert.Left != a.Left {
		r.changed = now
	}
	delete(l.digest, r.digest)
	r.advert, r.sealed, r.digest, r.seen = a, sealed, digest, now
	l.digest[digest] = a.ID
	return r
}

// evict makes room by dropping the node that is gone for longest.
func (l *Ledger) evict() bool {
	var oldest *record
	for _, r := range l.nodes {
		if r.gone() && r.advert.ID != l.self && (oldest == nil || r.changed.Before(oldest.changed)) {
			oldest = r
		}
	}
	if oldest != nil {
		l.drop(oldest)
	}
	return oldest != nil
}

func (l *Ledger) drop(r *record) {
	delete(l.nodes, r.advert.ID)
	delete(l.digest, r.digest)
}

// Publish seals a as the next advert of this node and returns it. Its Seq is the
// clock in milliseconds, or one more than the last if that is higher; floor, if
// not 0, is a Seq to be above.
func (l *Ledger) Publish(now time.Time, a message.Advert, key ed25519.PrivateKey, floor uint64) ([]byte, error) {
	a = cloneAdvert(a)
	a.ID = l.self
	if r := l.nodes[l.self]; r != nil {
		floor = max(floor, r.advert.Seq)
	}
	if floor == math.MaxUint64 {
		return nil, errors.New("publish advert: an advert with the last possible number was signed with this node's key: remove its identity to start as a new node")
	}
	a.Seq = max(uint64(max(now.UnixMilli(), 1)), floor+1)
	sealed, err := a.Seal(key)
	if err != nil {
		return nil, err
	}
	l.put(now, a, sealed, sha256.Sum256(sealed)).present = true
	return sealed, nil
}

// Own is the advert that this node published last; ok is false before the first.
func (l *Ledger) Own() (a message.Advert, ok bool) {
	if r := l.nodes[l.self]; r != nil {
		return r.advert, true
	}
	return message.Advert{}, false
}

// Presume says that the node named id is present until the given time even if
// memberlist does not know it: what held before a restart holds on for a while.
func (l *Ledger) Presume(now time.Time, id message.NodeID, until time.Time) {
	if r := l.nodes[id]; r != nil {
		r.presume = until
		l.mark(now, r, true)
	}
}

// Present replaces the set of nodes that memberlist says are there, and returns
// those that came or went. Who is missing counts as gone a second later, so it is
// to be called again by then. It keeps the map.
func (l *Ledger) Present(now time.Time, there map[message.NodeID]bool) (changed []message.NodeID) {
	l.there = there
	for id, r := range l.nodes {
		if id == l.self {
			continue
		}
		switch {
		case there[id]:
			r.presume = time.Time{}
		case r.present && r.presume.IsZero():
			r.presume = now.Add(lastWord)
		}
		if l.mark(now, r, there[id] || now.Before(r.presume)) {
			changed = append(changed, id)
		}
	}
	return changed
}

func (l *Ledger) mark(now time.Time, r *record, present bool) bool {
	if r.present == present {
		return false
	}
	r.present, r.suspect, r.changed = present, false, now
	if present {
		r.seen = now
	}
	return true
}

// Seen notes a proof of life. It reports whether a suspicion ended by it.
func (l *Ledger) Seen(now time.Time, id message.NodeID) bool {
	r := l.nodes[id]
	if r == nil {
		return false
	}
	was := r.suspect
	r.seen, r.suspect = now, false
	return was
}

// Suspect notes that a node that is present does not answer.
func (l *Ledger) Suspect(id message.NodeID) bool {
	r := l.nodes[id]
	if r == nil || !r.present || r.suspect || id == l.self {
		return false
	}
	r.suspect = true
	return true
}

// Sweep drops nodes that are gone for long, and returns them.
func (l *Ledger) Sweep(now time.Time) (dropped []message.NodeID) {
	for id, r := range l.nodes {
		if id != l.self && r.gone() && now.Sub(r.changed) > keepAbsent {
			l.drop(r)
			dropped = append(dropped, id)
		}
	}
	return dropped
}

// Sealed are the adverts to be told to others: of all nodes that are there, and
// of those that went lately. The byte strings are shared and never changed.
func (l *Ledger) Sealed(now time.Time) [][]byte {
	out := make([][]byte, 0, len(l.nodes))
	for _, r := range l.nodes {
		if !r.gone() || now.Sub(r.changed) < passAbsent {
			out = append(out, r.sealed)
		}
	}
	return out
}

// Summary sums up what every node of the mesh is to know: the adverts of all that
// are there, and of those that left lately.
func (l *Ledger) Summary(now time.Time) (s summary) {
	for _, r := range l.nodes {
		if !r.gone() || r.advert.Left && now.Sub(r.changed) < sumLeft {
			s.add(r.digest[:])
		}
	}
	return s
}

// Len is the number of nodes, this one included.
func (l *Ledger) Len() int { return len(l.nodes) }

// sealed is the newest advert of a node as it was signed; nil if there is none.
func (l *Ledger) sealed(id message.NodeID) []byte {
	if r := l.nodes[id]; r != nil {
		return r.sealed
	}
	return nil
}

// There says whether memberlist counts the node as a living member.
func (l *Ledger) There(id message.NodeID) bool { return l.there[id] }

// IDs are all nodes but this one, in order.
func (l *Ledger) IDs() []message.NodeID {
	ids := slices.SortedFunc(maps.Keys(l.nodes), func(a, b message.NodeID) int { return slices.Compare(a[:], b[:]) })
	return slices.DeleteFunc(ids, func(id message.NodeID) bool { return id == l.self })
}

// Standing is how the node named id stands now. Its advert shares memory with the ledger.
func (l *Ledger) Standing(id message.NodeID) (Standing, bool) {
	r := l.nodes[id]
	if r == nil {
		return Standing{}, false
	}
	s := Standing{Advert: r.advert, State: Alive, Changed: r.changed, Seen: r.seen}
	switch {
	case r.advert.Left:
		s.State = Left
	case !r.present:
		s.State = Dead
	case r.suspect:
		s.State = Suspect
	}
	return s, true
}

func (r *record) gone() bool { return !r.present || r.advert.Left }

// Standing is a node's newest advert and what is known of its life.
type Standing struct {
	Advert  message.Advert
	State   State
	Changed time.Time // when it came or went
	Seen    time.Time // last proof of life

	withheld string // why others are not to know of it
}

// here says whether others are to know of the node.
func (s Standing) here() bool { return s.State.Here() && s.withheld == "" }

// State is how a node stands, as `node peers` prints it.
type State string

// The states.
const (
	Alive   State = "alive"
	Suspect State = "suspect" // does not answer, not yet given up
	Dead    State = "dead"    // given up
	Left    State = "left"    // said good-bye
)

// Here says whether the node counts as a member of the mesh.
func (s State) Here() bool { return s == Alive || s == Suspect }

// cloneAdvert copies everything that a points to, as messages belong to their
// receivers.
func cloneAdvert(a message.Advert) message.Advert {
	a.Addresses = slices.Clone(a.Addresses)
	a.Routes = slices.Clone(a.Routes)
	a.Endpoints = slices.Clone(a.Endpoints)
	a.Candidates = slices.Clone(a.Candidates)
	return a
}

// sameContent says whether two adverts of one node say the same.
func sameContent(a, b message.Advert) bool {
	return a.Name == b.Name && a.Version == b.Version && a.NAT == b.NAT && a.Relay == b.Relay && a.Left == b.Left &&
		slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.Routes, b.Routes) &&
		slices.Equal(a.Endpoints, b.Endpoints) && slices.Equal(a.Candidates, b.Candidates)
}
