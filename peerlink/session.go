package peerlink

import (
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/noise"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// Times of a session's life.
const (
	rekeyGrace   = 20 * time.Second // later by the other side, if the first did not
	rekeyPackets = 1 << 48
	openFor      = 180 * time.Second // how long replaced keys still open datagrams
	expireAfter  = 600 * time.Second // without a rekey a session ends, for forward secrecy
	maxSessions  = 4                 // per peer
)

// session is one pair of keys with a peer. It belongs to the peer's link; its
// halves are shared with the pumps.
type session struct {
	in        *Inbound
	sealer    *sealer
	hello     message.Hello
	initiator bool      // this node began the handshake
	epoch     time.Time // what in.last counts from
	created   time.Time
	retired   time.Time // when another took over; zero before
	path      packet.Path
	fromSeed  bool      // came of a configured seed's handshake
	txLoss    lossMeter // of our datagrams, as the peer reports
	rxLoss    lossMeter // of the peer's, as seen here

	// Of a session that this node initiated, until the peer has used it.
	confirmed bool
	final     []byte // body of the third message, sent again until confirmed
	finals    int
	nextFinal time.Time
	fate      actors.Ref[fate]
}

// newSession makes a session of the result of a handshake whose peer may be here. mine and theirs are the
// two names for it.
func (d *Directory) newSession(peer *Peer, r noise.Result, mine, theirs uint32, path packet.Path, now time.Time) *session {
	peer.claims.set(r.Hello.Addresses)
	return &session{
		in:      &Inbound{peer: peer, index: mine, aead: wire.NewAEAD(r.Receive), clock: d.now},
		sealer:  &sealer{masker: d.masker, aead: wire.NewAEAD(r.Send), index: theirs},
		hello:   r.Hello,
		epoch:   d.epoch,
		created: now,
		path:    path,
	}
}

// lastUse is when the session sealed for the last time, as far as is known, or
// opened something: sides that began at once may each seal with another one.
func (s *session) lastUse() time.Time {
	used := latest(s.retired, s.created)
	if at := s.in.last.Load(); at > 0 {
		used = latest(used, s.epoch.Add(time.Duration(at)))
	}
	return used
}

// rekeyDue says whether a fresh handshake is due for the current session, if the
// initiator wants one after so long.
func (s *session) rekeyDue(now time.Time, after, jitter time.Duration) bool {
	if !s.initiator {
		after += rekeyGrace + jitter
	}
	return now.Sub(s.created) >= after || s.sealer.counter.Load() >= rekeyPackets
}

// lossMeter turns the counts of one direction's datagrams into a smoothed share
// of those lost. Its zero value has seen nothing.
type lossMeter struct {
	highest, received uint64
	smooth            float64 // below zero while what was late catches up
}

// share is the part that is lost, 0 to 1.
func (l *lossMeter) share() float64 { return max(l.smooth, 0) }

// expect takes the share that the keys before these have seen, until there is one
// of these: the line is the same.
func (l *lossMeter) expect(before lossMeter) {
	if l.highest == 0 {
		l.smooth = before.smooth
	}
}

// minSample is how many datagrams an update of the share is made of at least.
const minSample = 20

// update takes the counts since the session began: the highest counter plus
// one, and how many arrived.
func (l *lossMeter) update(highest, received uint64) {
	if highest < l.highest || received < l.received {
		return // an older report
	}
	sent, got := highest-l.highest, received-l.received
	if sent < minSample {
		return
	}
	lost := 1 - float64(got)/float64(sent)
	if l.highest == 0 {
		l.smooth = lost
	} else {
		l.smooth += (lost - l.smooth) / 4
	}
	l.highest, l.received = highest, received
}

// fate tells the actor that began a handshake what became of it.
type fate struct {
	peer    *Peer       // who answered, if it is known
	up      bool        // the peer uses the session
	refusal string      // the sentence with which either side refused the other
	self    bool        // the answer came from this very node
	spare   bool        // the peer is connected directly already, the path is not needed
	unused  bool        // the peer never used the session
	unknown bool        // the peer does not answer under the keys that there are
	doubt   bool        // the path may be dead: another one is wanted, just in case
	lost    bool        // the link had the path and gave it up, or waits for a sign of life on it
	path    packet.Path // of doubt and lost
}
