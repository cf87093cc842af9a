package udp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/packet"
)

// Transport carries datagrams over UDP. [New] makes one, which can send and
// receive at once; [Transport.Run] must run for it to follow the host's routes
// and to forget idle paths; Close ends it. Receive and Poll belong to one
// goroutine, the other methods may be called by any.
type Transport struct {
	cfg   Config
	log   hclog.Logger
	start time.Time

	router  router
	file    *os.File // the epoll instance
	raw     syscall.RawConn
	bell    *bell
	sockets atomic.Pointer[sockets]
	numbers atomic.Uint32

	paths    sync.Map      // key -> *Path: all that are alive
	asked    atomic.Int32  // those that we asked for and nobody adopted
	removals atomic.Uint32 // paths that ended
	beat     atomic.Uint32 // of Run
	lookups  limiter
	poke     actors.Poke
	rerouted atomic.Bool // routes have changed, which Run has not looked at

	gso     bool
	gro     bool
	batches atomic.Bool // sendmmsg works
	spares  spares
	drops   drops

	rx     rx
	woken  atomic.Bool
	closed atomic.Bool

	owner   chan struct{} // one token: the right to Run
	closing chan struct{} // closed by Close
}

var (
	_ packet.Pather = (*Transport)(nil)
	_ packet.Poller = (*Transport)(nil)
)

// lookupsPerSecond bounds the questions to the kernel on behalf of strangers.
const lookupsPerSecond = 500

// New opens socket zero, in the network namespace of the calling thread. Errors
// say which address or port cannot be had.
func New(cfg Config) (_ *Transport, err error) {
	cfg.Listen = append(cfg.Listen[:0:0], cfg.Listen...)
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	t := &Transport{
		cfg: cfg, log: cfg.Log, start: time.Now(), poke: actors.NewPoke(),
		owner: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	t.lookups.perSecond = lookupsPerSecond
	t.batches.Store(!cfg.NoBatch)
	t.owner <- struct{}{}
	t.sockets.Store(new(sockets))
	defer func() {
		if err != nil {
			_ = t.Close()
		}
	}()
	if err := t.router.open(&cfg); err != nil {
		return nil, err
	}
	t.router.resolver.OnRoutes(t.routesChanged)
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(epoll, true) // for Go's poller, which shall wait for it
	}
	if err != nil {
		return nil, fmt.Errorf("open epoll instance: %w", err)
	}
	t.file = os.NewFile(uintptr(epoll), "epoll")
	if t.raw, err = t.file.SyscallConn(); err != nil {
		return nil, fmt.Errorf("epoll instance: %w", err)
	}
	if t.bell, err = newBell(); err != nil {
		return nil, err
	}
	if err := t.listen(&t.bell.socket, bellData); err != nil {
		return nil, err
	}
	zero, err := openZero(&cfg)
	if err != nil {
		return nil, err
	}
	t.gso, t.gro = !cfg.NoGSO, true
	for _, s := range zero {
		t.gso = t.gso && s.segments()
		t.gro = t.gro && s.merges()
	}
	t.rx.init(t)
	return t, t.admit(zero...)
}

// now is the Transport's monotonic clock.
func (t *Transport) now() time.Duration { return time.Since(t.start) }

// Status is what `node status` shows of a Transport.
type Status struct {
	Port4, Port6 uint16 // of socket zero; 0: that family is not served
	Send         string // how bursts leave, e.g. "udp gso"
	Receive      string // how they arrive, e.g. "udp gro"
	Sockets      int    // descriptors, socket zero included
	Paths        int    // known
	Adopted      int    // of those
}

// The names that Send and Receive of [Status] use.
const (
	ModeGSO        = "udp gso"
	ModeBatch      = "sendmmsg"
	ModeSingle     = "sendmsg"
	ModeGRO        = "udp gro"
	ModeReceive    = "recvmmsg"
	ModeReceiveOne = "recvmsg"
)

// Status may be called by any goroutine.
func (t *Transport) Status() Status {
	s := Status{Port4: t.Port(false), Port6: t.Port(true), Sockets: len(*t.sockets.Load())}
	modes := make(map[string]bool)
	for _, v := range t.paths.Range {
		p := v.(*Path)
		s.Paths++
		if p.state.Load() != adopted {
			continue
		}
		s.Adopted++
		if m := p.Mode(); !modes[m] {
			modes[m] = true
			s.Send = strings.TrimPrefix(s.Send+", "+m, ", ")
		}
	}
	if s.Adopted == 0 {
		s.Send = t.mode(t.gso)
	}
	switch {
	case t.gro:
		s.Receive = ModeGRO
	case t.rx.batches.Load():
		s.Receive = ModeReceive
	default:
		s.Receive = ModeReceiveOne
	}
	return s
}

// Mode says how bursts of more than one datagram leave at present.
func (p *Path) Mode() string {
	t := p.transport
	var generation uint64
	if w := p.way.Load(); w != nil {
		generation = w.generation()
	}
	return t.mode(t.gso && p.refused.Load() != generation+1)
}

func (t *Transport) mode(gso bool) string {
	switch {
	case gso:
		return ModeGSO
	case t.batches.Load():
		return ModeBatch
	}
	return ModeSingle
}

// Drops counts datagrams that were dropped, by reason.
func (t *Transport) Drops() map[string]uint64 {
	m := t.drops.snapshot()
	var late uint64
	for _, s := range *t.sockets.Load() {
		late += s.overruns()
	}
	if late != 0 {
		m[dropOverrun] = late
	}
	return m
}

// Close ends all paths, releases all sockets and makes Receive return
// net.ErrClosed; Run returns. A second Close does nothing.
func (t *Transport) Close() error {
	if t.closed.Swap(true) {
		return nil
	}
	close(t.closing)
	<-t.owner // Run has returned, or never ran
	t.release(func(*socket) bool { return true })
	for _, v := range t.paths.Range {
		v.(*Path).Close()
	}
	var err error
	if t.file != nil {
		err = t.file.Close()
	}
	if t.bell != nil {
		t.bell.close()
	}
	err = errors.Join(err, t.router.close())
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing the UDP transport: %w", err)
	}
	return nil
}
