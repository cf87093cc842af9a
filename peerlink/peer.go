package peerlink

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
	"github.com/openbmx/lightweight-tunnel/peerlink/repair"
	"github.com/openbmx/lightweight-tunnel/peerlink/wire"
)

// Peer is the handle of one remote node. It is the same for as long as the node
// is known, through restarts of its link. Any goroutine may call its methods.
type Peer struct {
	id      message.NodeID
	out     atomic.Pointer[Outbound]
	view    atomic.Pointer[Snapshot]
	name    atomic.Pointer[string]
	box     *actors.Mailbox[toLink]
	staging *actors.Mailbox[[]staged]
	room    *room       // of what is staged for all peers
	gone    atomic.Bool // it left the directory: nobody looks into staging any more
	answers *actors.Mailbox[answered]
	away    atomic.Pointer[Away]
	doubted atomic.Bool                 // the path may be dead
	direct  atomic.Pointer[packet.Path] // for a link that is restarted
	relays  atomic.Pointer[map[message.ShortID]*RelayPath]
	reaches atomic.Pointer[map[message.ShortID]reach] // what the peer said as a relay; written by its link
	onward  atomic.Pointer[onward]                    // the way to the peer through a relay; written by its link
	behind  atomic.Pointer[Peer]                      // the relay through which the peer's datagrams came; written by pumps
	mending atomic.Pointer[repair.View]
	waited  atomic.Int64 // see ShowWaiting

	claims claims // set for each new session

	rxPackets, rxBytes   atomic.Uint64
	txPackets, txBytes   atomic.Uint64
	rxDropped, txDropped atomic.Uint64
	txRelayed            atomic.Uint64 // for other nodes, through this one
	txLarge              atomic.Uint32 // bursts of large datagrams
}

// staged is one packet that waits for a key and a path. It owns its bytes.
type staged struct {
	Again
	again bool // it was sealed before; else Sealed says nothing
}

// Again is a packet that was sent and may not have arrived.
type Again struct {
	Sealed
	Kind   wire.Kind
	Packet []byte
	Repeat Repeat // nil: the packet itself was sealed, and nothing else with it
}

// Repeat appends to dst the content of a wire.Repairable datagram under counter:
// it lets the peer drop the packet if it came with what was sealed under first of
// the same session, which was more than the packet. False: the peer could not tell
// any more. The link's goroutine calls it.
type Repeat func(dst []byte, first, counter uint64, partial bool, packet []byte) (plain []byte, ok bool)

// StageAgain is Stage for several packets that were sent before, as one message:
// those that did arrive are not delivered twice, as long as the session lives.
func (p *Peer) StageAgain(packets []Again) bool {
	if len(packets) == 0 {
		return true
	}
	batch := make([]staged, 0, len(packets))
	for _, a := range packets {
		if s := (staged{Again: a, again: true}); p.roomFor(&s) {
			s.Packet = slices.Clone(a.Packet)
			batch = append(batch, s)
		}
	}
	return len(batch) == 0 || p.stage(batch)
}

func newPeer(id message.NodeID, name string, r *room) *Peer {
	p := &Peer{
		id:      id,
		room:    r,
		box:     actors.NewMailbox[toLink]("link/"+id.Brief(), 128),
		staging: actors.NewMailbox[[]staged]("staging/"+id.Brief(), 256),
		answers: actors.NewMailbox[answered]("answers/"+id.Brief(), 8),
	}
	p.name.Store(&name)
	p.view.Store(&Snapshot{ID: id, Name: name, State: Down})
	return p
}

// ID is the node's identity.
func (p *Peer) ID() message.NodeID { return p.id }

// Name is what the node calls itself, or the start of its ID before it said so.
func (p *Peer) Name() string { return *p.name.Load() }

// Outbound is the way to send to the peer now; nil if there is no key or no
// path: then [Peer.Stage].
func (p *Peer) Outbound() *Outbound { return p.out.Load() }

// Stage copies one IP packet into the link's staging queue, to be sent as soon as
// there is a key and a path; being staged is a reason to look for them. False:
// the link cannot take more now, the packet is dropped and counted. What there is no
// room for among all that is staged is dropped as well, and counted by
// [Directory.Shed].
func (p *Peer) Stage(kind wire.Kind, packet []byte) bool {
	s := staged{Again: Again{Kind: kind, Packet: packet}}
	if !p.roomFor(&s) {
		return true
	}
	s.Packet = slices.Clone(packet)
	return p.stage([]staged{s})
}

// roomFor takes the room for a packet that is to be staged, or drops it.
func (p *Peer) roomFor(s *staged) bool {
	if p.room.budget.Take(s.cost()) {
		return true
	}
	p.room.shed.Add(1)
	p.txDropped.Add(1)
	return false
}

// stage offers packets, for which there is room, to the link.
func (p *Peer) stage(batch []staged) bool {
	took := p.staging.Ref().Offer(batch)
	if !took {
		p.txDropped.Add(uint64(len(batch)))
		for i := range batch {
			p.room.budget.Give(batch[i].cost())
		}
	}
	if p.gone.Load() {
		p.forget()
	}
	return took
}

// PathLost tells the link that a path answered [net.ErrClosed], or may have, so
// that it need not find out by itself.
func (p *Peer) PathLost(path packet.Path) { p.box.Ref().Offer(lost{path: path}) }

// Away says that the peer was out of reach: what was sent after Since may not
// have arrived. Every absence has an Away of its own, so pointers can be compared.
type Away struct{ Since time.Time }

// Away is the newest absence; nil: none yet. Any goroutine may call it.
func (p *Peer) Away() *Away { return p.away.Load() }

// wantsPath says whether a direct path to the peer would be of use.
func (p *Peer) wantsPath() bool { return !p.directlyUp() || p.doubted.Load() }

// directlyUp says whether the peer is connected by a path of its own that lives.
func (p *Peer) directlyUp() bool {
	out := p.out.Load()
	return out != nil && out.path.Kind() != packet.Relay && out.path.Alive()
}

// Sent accounts for a burst that a pump has sent: datagrams and their bytes.
func (p *Peer) Sent(packets, bytes int) {
	p.txPackets.Add(uint64(packets))
	p.txBytes.Add(uint64(bytes))
	if bytes > packets*largeDatagram {
		p.txLarge.Add(1)
	}
}

// DroppedTx and DroppedRx account for packets that a pump had to drop.
func (p *Peer) DroppedTx(packets int) { p.txDropped.Add(uint64(packets)) }

// DroppedRx see DroppedTx.
func (p *Peer) DroppedRx(packets int) { p.rxDropped.Add(uint64(packets)) }

// Snapshot is what `node peers` shows of a link.
func (p *Peer) Snapshot() Snapshot {
	s := *p.view.Load()
	s.Name = p.Name()
	s.RxPackets, s.RxBytes = p.rxPackets.Load(), p.rxBytes.Load()
	s.TxPackets, s.TxBytes = p.txPackets.Load(), p.txBytes.Load()
	s.RxDropped, s.TxDropped = p.rxDropped.Load(), p.txDropped.Load()
	s.Repair, s.Waited = p.repair(), int(p.waited.Load())
	return s
}

// ShowRepair publishes how losses on the way to the peer are met. The outbound
// pump calls it, now and then.
func (p *Peer) ShowRepair(v repair.View) { p.mending.Store(&v) }

// ShowWaiting publishes how many of the peer's packets waited at most to be put in
// order. The inbound pump calls it, now and then.
func (p *Peer) ShowWaiting(most int) { p.waited.Store(int64(most)) }

func (p *Peer) repair() repair.View {
	if v := p.mending.Load(); v != nil {
		return *v
	}
	return repair.View{}
}

// Snapshot describes a link at one moment. It belongs to the caller.
type Snapshot struct {
	ID           message.NodeID
	Name         string
	Hello        message.Hello // what the peer said in the last handshake; zero before the first
	State        State
	Seed         bool
	Path         string // rawtcp, udp, relay, or empty
	Endpoint     string // ADDR:PORT of the path; of a relayed one that of the relay
	Via          string // the relay's name
	MTU          int    // largest inner packet, bytes; 0 without a path
	RTT          time.Duration
	MinRTT       time.Duration
	Loss         float64     // 0 to 1, the worse of both directions
	Repair       repair.View // how losses on the way to the peer are met
	Waited       int         // most packets of the peer that waited to be put in order
	Handshake    time.Time   // of the current session; zero without one
	LastReceived time.Time
	WhyNotDirect string
	Problem      string // the last refusal or error, a sentence

	RxPackets, RxBytes, TxPackets, TxBytes, RxDropped, TxDropped uint64
}

// State is that of a link.
type State uint8

// The states of a link.
const (
	Down State = iota
	Connecting
	Up
)

func (s State) String() string {
	switch s {
	case Connecting:
		return "connecting"
	case Up:
		return "up"
	}
	return "down"
}
