package nat

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// Config is what a [Prober] needs. Its functions are called from the prober's
// goroutine and must not block, but for Resolve.
type Config struct {
	// Seal makes a datagram of kind wire.STUN of body, of at most limit bytes.
	Seal func(body []byte, limit int) []byte
	// Pather is the UDP transport, whose socket zero carries data; nil: there is
	// none. Questions of others are answered all the same, on the path they came.
	Pather packet.Pather
	// Detect: find out about the NAT. Otherwise the report has host addresses and
	// mapped ports only.
	Detect bool
	// Servers are the UDP endpoints of mesh nodes that the internet can reach, this
	// one left out. Nil: none.
	Servers func() []Server
	// Crosser is the fake TCP transport and TCPServers its endpoints of such nodes:
	// both are needed to find out about the NAT where UDP does not pass.
	Crosser    packet.Crosser
	TCPServers func() []Server
	// Public are HOST:PORT of public servers, asked if the mesh has too few.
	Public []string
	// Resolve finds the addresses of a host; it may block until ctx ends. Nil: as
	// the system does.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Hosts are the host's addresses, our own TUN left out. Nil: [HostAddresses].
	Hosts func() []netip.Addr
	// TCPPort is the port on which fake TCP is accepted; 0: none.
	TCPPort uint16
	// PortMaps are the ports that a router forwards to this node. Nil: none.
	PortMaps func() []Candidate
	// Clock is the time put into questions, as the mesh knows it. Nil: time.Now.
	Clock func() time.Time
	// OnChange is called with each report that differs from the one before.
	OnChange func(*Report)
	Log      hclog.Logger
}

// ToProber is what the mailbox of a prober takes.
type ToProber interface{ toProber() }

// Heard brings a STUN message that arrived on Path: with Mesh a sealed one that
// was opened, otherwise one in the clear.
type Heard struct {
	Message []byte
	Path    packet.Path
	Mesh    bool
}

func (Heard) toProber() {}

// Prober finds out how this node looks from outside, and tells others how they
// look. It outlives restarts of its actor. All methods may be called by any
// goroutine; none blocks. Create it with [New].
type Prober struct {
	cfg     Config
	box     *actors.Mailbox[ToProber]
	report  atomic.Pointer[Report]
	changed actors.Poke // the network changed
	look    actors.Poke // servers or port mappings changed
}

// New validates cfg and starts nothing: see [Prober.Spec].
func New(cfg Config) (*Prober, error) {
	if cfg.Seal == nil {
		return nil, errors.New("nat: config lacks Seal")
	}
	for _, s := range cfg.Public {
		if _, _, err := splitServer(s); err != nil {
			return nil, err
		}
	}
	if cfg.Servers == nil {
		cfg.Servers = func() []Server { return nil }
	}
	if cfg.TCPServers == nil {
		cfg.TCPServers = func() []Server { return nil }
	}
	if cfg.PortMaps == nil {
		cfg.PortMaps = func() []Candidate { return nil }
	}
	if cfg.Hosts == nil {
		cfg.Hosts = func() []netip.Addr {
			all, _ := HostAddresses() // what cannot be listed is no candidate
			return all
		}
	}
	if cfg.Resolve == nil {
		cfg.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.OnChange == nil {
		cfg.OnChange = func(*Report) {}
	}
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	p := &Prober{
		cfg: cfg, box: actors.NewMailbox[ToProber]("nat", 256),
		changed: actors.NewPoke(), look: actors.NewPoke(),
	}
	p.report.Store(&Report{})
	return p, nil
}

// Spec tells a supervisor how to run the prober.
func (p *Prober) Spec() actors.Spec {
	return actors.Spec{Name: "nat", Permanent: true, Mailbox: p.box, New: func() actors.Actor { return newActor(p) }}
}

// Ref is where opened datagrams of kind wire.STUN go.
func (p *Prober) Ref() actors.Ref[ToProber] { return p.box.Ref() }

// Report is the newest report, never nil. It may not be changed.
func (p *Prober) Report() *Report { return p.report.Load() }

// NetworkChanged says that addresses or routes of the host changed, or that links
// suggest that the NAT did: a new survey begins soon, however often it is said.
func (p *Prober) NetworkChanged() { p.changed.Give() }

// Look says that what Servers or PortMaps return changed. It costs packets only if
// servers were lacking.
func (p *Prober) Look() { p.look.Give() }

// TakeSTUN takes a datagram that arrived on path if it is an answer of a public
// server, and says whether it is. The message is copied.
func (p *Prober) TakeSTUN(message []byte, path packet.Path) bool {
	// Binding success 0x0101, Binding error 0x0111; questions of strangers are junk.
	if !IsMessage(message) || message[0] != 0x01 || message[1] != 0x01 && message[1] != 0x11 {
		return false
	}
	p.box.Ref().Offer(Heard{Message: bytes.Clone(message), Path: path}) // lost is as good as lost on the way
	return true
}

// Answer is what a node of the mesh said of a path.
type Answer struct {
	Mapped netip.AddrPort // the path's local end as the other side sees it
	RTT    time.Duration
	Err    error // no answer
}

// ErrSilent is the error of an [Answer] that did not come within [AskTimeout].
var ErrSilent = errors.New("no answer to STUN")

var errTooManyAsks = errors.New("too many STUN questions at a time")

// question is an Ask on its way to the actor.
type question struct {
	path packet.Path
	done func(Answer)
}

func (question) toProber() {}

// Ask asks the mesh node at the other end of path how it sees this end: of a
// punching socket's path, or of a fake TCP flow. done is called from the prober's
// goroutine, once, within AskTimeout, and must not block. False: no room, done is
// not called. After the node has stopped nothing is called.
func (p *Prober) Ask(path packet.Path, done func(Answer)) bool {
	return p.box.Ref().Offer(question{path: path, done: done})
}
