package rawtcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// Config says how a [Transport] works. The zero value dials only.
type Config struct {
	// Listen are the addresses to accept on; port 0 is refused.
	Listen []netip.AddrPort
	Log    hclog.Logger // nil: none
	// DisableBPF forbids eBPF programs; the kernel's TCP is then kept away by nft
	// or iptables.
	DisableBPF bool
	// ExcludeInterfaces are never sent through nor listened to: our own TUN
	// devices. They need not exist yet.
	ExcludeInterfaces []string
	// Owner names this node's rules in the kernel apart from other nodes'.
	Owner string
	// MaxFlows bounds established flows; 0: 4096.
	MaxFlows int
	// MaxHalfOpen bounds the connections whose SYN-ACK is repeated; 0: 256.
	MaxHalfOpen int
	// ReceiveBuffer, ReceiveRing and SendBuffer are the sizes of what lies between the
	// kernel and this program, in bytes; 0: see [link.TapOptions] and [link.Options].
	ReceiveBuffer, ReceiveRing, SendBuffer int
	// DialTimeout is how long Dial waits for an answer; 0: 10 s.
	DialTimeout time.Duration
}

// Transport carries datagrams in fake TCP connections. It implements
// [packet.Crosser] and [packet.Receiver]. [New] makes one; Run and Receive must
// both be running for it to work; Close ends it.
type Transport struct {
	cfg     Config
	log     hclog.Logger
	wire    wire
	profile *profile
	secrets *secrets
	start   time.Time

	inbox  *actors.Mailbox[message]
	poke   actors.Poke
	table  atomic.Pointer[table]
	drops  drops
	rx     rx
	armed  atomic.Bool // the actor looks at all timers within ackDelay
	halves atomic.Int32
	// The pump has kept something for a connection that is not established yet.
	waiting atomic.Bool

	owner   chan struct{} // one token: whoever has it owns state
	state   control
	closing chan struct{} // closed by Close
	ended   atomic.Bool   // Close is through
	once    chan struct{} // one token: the right to close
}

// message is what the pumps and callers of a Transport say to its actor. One
// field is set: a segment (with the flow that it belongs to, or nil), a flow
// that the pump accepted, a dial, a port to be held, or a crossing.
type message struct {
	seg      segment
	flow     *Flow
	accepted *Flow
	dial     *dial
	hold     *holding
	cross    *crossing
}

// refuse tells whoever waits for the answer to m that the Transport is closed.
func (m *message) refuse() {
	switch {
	case m.dial != nil:
		m.dial.answer(nil, net.ErrClosed)
	case m.cross != nil:
		m.cross.answer(nil, net.ErrClosed)
	case m.hold != nil:
		_ = m.hold.Close()
	}
}

// mailboxSize holds a burst of handshakes without letting a SYN flood queue up
// for long.
const mailboxSize = 512

// New opens the sockets, installs the guard that keeps the kernel's TCP away,
// and takes the listening ports, all in the network namespace of the calling
// thread. Errors say which address or right is missing.
func New(cfg Config) (*Transport, error) {
	for _, a := range cfg.Listen {
		if !a.IsValid() || a.Port() == 0 {
			return nil, fmt.Errorf("listen %v: an address and a port are needed, such as 0.0.0.0:9000", a)
		}
	}
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	w, err := newKernelWire(cfg)
	if err != nil {
		return nil, err
	}
	return newTransport(cfg, w, hostProfile())
}

// newTransport builds a Transport on w, which it closes on failure.
func newTransport(cfg Config, w wire, p *profile) (*Transport, error) {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	if cfg.MaxFlows == 0 {
		cfg.MaxFlows = 4096
	}
	if cfg.MaxHalfOpen == 0 {
		cfg.MaxHalfOpen = 256
	}
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 10 * time.Second
	}
	t := &Transport{
		cfg: cfg, log: cfg.Log, wire: w, profile: p, secrets: newSecrets(),
		// The clock starts at a day, so that subtracting from it never wraps.
		start:   time.Now().Add(-24 * time.Hour),
		inbox:   actors.NewMailbox[message]("rawtcp", mailboxSize),
		poke:    actors.NewPoke(),
		owner:   make(chan struct{}, 1),
		closing: make(chan struct{}),
		once:    make(chan struct{}, 1),
	}
	t.owner <- struct{}{}
	t.once <- struct{}{}
	t.state.init(t)
	t.rx.init(t)
	if err := t.state.listen(cfg.Listen); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return t, nil
}

// now is the Transport's monotonic clock.
func (t *Transport) now() time.Duration { return time.Since(t.start) }

// wakeForTimers makes sure that the actor looks at the timers within ackDelay.
func (t *Transport) wakeForTimers() {
	if !t.armed.Load() {
		t.poke.Give()
	}
}

// Status is what `node status` shows of a Transport.
type Status struct {
	Guard    string // how the kernel's TCP is kept away
	Send     string // how packets leave, e.g. "af_packet gso"; empty before the first flow
	Receive  string
	Flows    int
	HalfOpen int
	Listen   []netip.AddrPort
	Reasons  []string // why better ways are not in use
}

// Status may be called by any goroutine.
func (t *Transport) Status() Status {
	s := Status{HalfOpen: int(t.halves.Load()), Listen: t.cfg.Listen}
	s.Guard, s.Receive, s.Reasons = t.wire.describe()
	modes := make(map[string]bool)
	for _, f := range t.table.Load().flows {
		if f.phase.Load() != phaseOpen {
			continue
		}
		s.Flows++
		if m := f.hop.Mode(); !modes[m] {
			modes[m] = true
			s.Send = strings.TrimPrefix(s.Send+", "+m, ", ")
		}
	}
	return s
}

// Drops counts what was dropped, by reason: packets on the way in, datagrams on
// the way out.
func (t *Transport) Drops() map[string]uint64 {
	m := t.drops.snapshot()
	if n := t.inbox.Dropped(); n != 0 {
		m[reasonNames[dropControl]] = n
	}
	return m
}

// Mailbox lets the actor's queue be observed.
func (t *Transport) Mailbox() (name string, depth, capacity int, dropped uint64) {
	return t.inbox.Name(), t.inbox.Depth(), t.inbox.Capacity(), t.inbox.Dropped()
}

// closeTime is how long Close waits for the other sides' FINs.
const closeTime = 200 * time.Millisecond

// Close ends all flows with a FIN, waits a moment for the answers (which the
// pump must still be receiving; it may do so until Receive returns
// net.ErrClosed), and releases ports, rules and sockets. Run returns. A second
// Close does nothing.
func (t *Transport) Close() error {
	select {
	case <-t.once:
	default:
		return nil
	}
	close(t.closing)
	<-t.owner // Run has returned, or never ran
	t.state.drain(closeTime)
	err := t.state.release()
	t.ended.Store(true)
	t.state.refuseDials()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing the fake TCP transport: %w", err)
	}
	return nil
}

// dial is one call of Dial on its way.
type dial struct {
	remote    netip.AddrPort
	done      func(packet.Path, error)
	from      *holding // nil: a fresh port
	answered  atomic.Bool
	cancelled atomic.Bool
}

func (d *dial) answer(p packet.Path, err error) bool {
	if d.answered.Swap(true) {
		return false
	}
	d.done(p, err)
	return true
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

var errBusy = errors.New("too many connections are being opened at once")

// Dial implements [packet.Dialer]. Every call takes a fresh random local port,
// so there may be several flows to one remote.
func (t *Transport) Dial(remote netip.AddrPort, done func(packet.Path, error)) (cancel func()) {
	cancel, _ = t.ask(message{dial: &dial{remote: unmapped(remote), done: done}})
	return cancel
}

// ask gives the actor a message that it must answer; ok is false if it cannot
// and the answer is that.
func (t *Transport) ask(m message) (cancel func(), ok bool) {
	d := m.dial
	if m.cross != nil {
		d = &m.cross.dial
	}
	if ok = t.inbox.Ref().Offer(m); !ok {
		go d.answer(nil, fmt.Errorf("opening a connection: %w", errBusy))
	} else if t.ended.Load() {
		go d.answer(nil, net.ErrClosed)
	}
	return func() {
		d.cancelled.Store(true)
		t.poke.Give()
	}, ok
}
