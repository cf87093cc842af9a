package peerlink

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/nat"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// Directory is what the node knows of its peers and sessions. Its lookups read
// immutable snapshots: any goroutine may call them, none waits. Its zero value
// is not usable: see [New].
type Directory struct {
	cfg    Config
	keys   wire.Keys
	masker *wire.Masker
	outer  wire.Outer
	self   message.ShortID
	epoch  time.Time // what the int64 times of hot counters count from

	peers    atomic.Pointer[peerSet] // written by the peers actor only
	sessions table
	box      *actors.Mailbox[message.ToPeers]
	room     room // for what is staged
	strange  strangers
	troubles seedTroubles
	joined   atomic.Pointer[[]string] // seeds added while running; written by the peers actor only
	sup      atomic.Pointer[actors.Supervisor]
	fullSaid atomic.Int64 // Directory.now of the last warning about a full queue
}

// peerSet is one snapshot of all peers.
type peerSet struct {
	byID    map[message.NodeID]*Peer
	byShort map[message.ShortID]*Peer
	sorted  []*Peer // by ID
}

// New validates cfg and returns a directory without peers. It starts nothing:
// see [Directory.Spec].
func New(cfg Config) (*Directory, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkStatic(cfg.ID, cfg.Static); err != nil {
		return nil, fmt.Errorf("peerlink: %w", err)
	}
	d := &Directory{
		cfg:   cfg,
		keys:  wire.DeriveKeys(cfg.MeshKey),
		self:  cfg.ID.Short(),
		epoch: time.Now(),
		box:   actors.NewMailbox[message.ToPeers]("peers", 512),
	}
	d.room.budget = cfg.Staged
	d.masker = wire.NewMasker(d.keys.Mask)
	d.outer = wire.NewOuter(d.keys.Outer, d.masker)
	d.peers.Store(&peerSet{})
	return d, nil
}

// Ref is where other actors send [message.ToPeers].
func (d *Directory) Ref() actors.Ref[message.ToPeers] { return d.box.Ref() }

// Self is this node's own short name, to be compared with a relay's destination.
func (d *Directory) Self() message.ShortID { return d.self }

// Peer returns the handle of a node, nil if it is not known.
func (d *Directory) Peer(id message.NodeID) *Peer { return d.peers.Load().byID[id] }

// PeerShort is Peer by the name that relays use.
func (d *Directory) PeerShort(id message.ShortID) *Peer { return d.peers.Load().byShort[id] }

// Peers returns all peers, ordered by ID. The slice may not be changed.
func (d *Directory) Peers() []*Peer { return d.peers.Load().sorted }

// Session returns the session that this node named index, nil if there is none.
func (d *Directory) Session(index uint32) *Inbound { return d.sessions.load(index).inbound }

// Unmask shows and reads the header of a received datagram, in place.
func (d *Directory) Unmask(datagram []byte) (wire.Header, error) { return d.masker.Unmask(datagram) }

// Handshake takes every received and unmasked datagram that belongs to no
// session: handshake kinds and all that [Directory.Session] did not know. It is
// opened in place (so that only holders of the mesh key ever reach an actor),
// copied and offered to whom it is for. False: junk, or no room; the caller
// counts it as dropped. path is where an answer goes.
func (d *Directory) Handshake(data []byte, path packet.Path) bool {
	h, err := wire.ParseHeader(data)
	if err != nil {
		return false
	}
	if !h.Kind.IsHandshake() {
		if !h.Kind.Valid() {
			d.undecipherable(path)
		}
		return false
	}
	m, err := d.outer.Open(h, data)
	if errors.Is(err, wire.ErrOpen) {
		d.undecipherable(path)
	}
	if err != nil {
		return false
	}
	m.Body = slices.Clone(m.Body)
	switch m.Kind {
	case wire.STUN:
		return d.cfg.STUN.Offer(nat.Heard{Message: m.Body, Path: path, Mesh: true})
	case wire.HandshakeResponse, wire.Refusal:
		return d.sessions.load(m.Receiver).waiter.Offer(answered{message: m, path: path})
	default:
		return d.box.Ref().Offer(arrived{message: m, path: path})
	}
}

// SealSTUN makes a datagram of kind wire.STUN of a STUN message, of at most limit
// bytes or its least length if that is more. Any goroutine may call it.
func (d *Directory) SealSTUN(message []byte, limit int) []byte {
	return d.outer.Append(nil, wire.Handshake{Kind: wire.STUN, Body: message}, limit)
}

// now is the time of hot counters: nanoseconds since the directory was made.
func (d *Directory) now() int64 { return int64(time.Since(d.epoch)) }

// addPeer and removePeer are for the peers actor, the only writer.
func (d *Directory) addPeer(p *Peer) {
	old := d.peers.Load()
	byID := maps.Clone(old.byID)
	if byID == nil {
		byID = map[message.NodeID]*Peer{}
	}
	byID[p.id] = p
	d.publish(byID)
}

func (d *Directory) removePeer(id message.NodeID) {
	byID := maps.Clone(d.peers.Load().byID)
	delete(byID, id)
	d.publish(byID)
}

func (d *Directory) publish(byID map[message.NodeID]*Peer) {
	set := &peerSet{byID: byID, byShort: make(map[message.ShortID]*Peer, len(byID))}
	for id, p := range byID {
		set.byShort[id.Short()] = p
		set.sorted = append(set.sorted, p)
	}
	slices.SortFunc(set.sorted, func(a, b *Peer) int { return slices.Compare(a.id[:], b.id[:]) })
	d.peers.Store(set)
}
