package portmap

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	ours   = Gateway{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("192.168.1.7"), "eth0", 2}
	theirs = Gateway{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.7"), "wlan0", 3}
	udp    = Port{UDP, 51820}
	tcp    = Port{TCP, 9000}
)

// router is a network with one router in memory. Its fields are changed while the
// mapper sleeps (after synctest.Wait).
type router struct {
	t        *testing.T
	gw       Gateway
	err      error // of Gateway
	speaks   []Protocol
	outside  netip.Addr
	lifetime time.Duration
	started  time.Time // of its epoch; zero: it has none
	refuse   map[Port]error
	deaf     bool // questions end with their context
	open     map[Port]uint16
	moves    uint16 // added to external ports

	handed  atomic.Bool // orders the test's changes before what the mapper reads
	heard   func(event)
	asked   []string // "map udp 51820", "find", "unmap udp 51820"
	wishes  []netip.AddrPort
	changes int
}

func newRouter(t *testing.T) *router {
	return &router{t: t, gw: ours, speaks: []Protocol{PCP}, outside: netip.MustParseAddr("203.0.113.9"),
		lifetime: 20 * time.Minute, started: time.Now(), refuse: map[Port]error{}, open: map[Port]uint16{}}
}

func (r *router) Gateway() (Gateway, error) {
	r.handed.Load()
	return r.gw, r.err
}

func (r *router) Speakers(context.Context, Gateway) iter.Seq2[speaker, error] {
	r.asked = append(r.asked, "find")
	return func(yield func(speaker, error) bool) {
		for _, p := range []Protocol{PCP, NATPMP, UPnP} {
			var found speaker
			err := fmt.Errorf("%s: %w", p, errSilent)
			for _, s := range r.speaks {
				if s == p {
					found, err = voice{r, p}, nil
				}
			}
			if !yield(found, err) {
				return
			}
		}
	}
}

func (r *router) Watch(_ context.Context, heard func(event)) (func(), error) {
	r.heard = heard
	return func() {}, nil
}

// voice is the router speaking one protocol.
type voice struct {
	*router
	protocol Protocol
}

func (v voice) Protocol() Protocol { return v.protocol }

func (v voice) Map(ctx context.Context, p Port, external netip.AddrPort) (grant, error) {
	v.asked = append(v.asked, fmt.Sprintf("map %s %d", p.Network, p.Number))
	v.wishes = append(v.wishes, external)
	if v.deaf {
		<-ctx.Done()
		return grant{}, errSilent
	}
	if err := v.refuse[p]; err != nil {
		return grant{}, err
	}
	if len(v.speaks) == 0 {
		return grant{}, errSilent
	}
	v.open[p] = external.Port() + v.moves
	g := grant{external: netip.AddrPortFrom(v.outside, v.open[p]), lifetime: v.lifetime}
	if !v.started.IsZero() {
		g.timed, g.epoch = true, uint32(time.Since(v.started)/time.Second)
	}
	return g, nil
}

func (v voice) Unmap(ctx context.Context, p Port, _ grant) error {
	v.asked = append(v.asked, fmt.Sprintf("unmap %s %d", p.Network, p.Number))
	if v.deaf {
		<-ctx.Done()
		return errSilent
	}
	delete(v.open, p)
	return nil
}

// took returns what was asked since the last call.
func (r *router) took() string {
	synctest.Wait()
	line := strings.Join(r.asked, ", ")
	r.asked = nil
	return line
}

func (r *router) expect(when, want string) {
	r.t.Helper()
	if got := r.took(); got != want {
		r.t.Fatalf("%s: asked %q, want %q", when, got, want)
	}
}

// pass lets virtual time pass. What the test changed before, the mapper sees.
func (r *router) pass(d time.Duration) {
	r.handed.Store(true)
	<-time.After(d)
	synctest.Wait()
}

// work runs a mapper for ports of the router in memory; end ends it.
func (r *router) work(published *Published, ports ...Port) (m *Mapper, end func() time.Duration) {
	r.t.Helper()
	m, err := New(Config{Ports: ports, Published: published, Changed: func() { r.changes++ }})
	if err != nil {
		r.t.Fatal(err)
	}
	m.net = r
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	synctest.Wait()
	return m, func() time.Duration {
		began := time.Now()
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("run: %v", err)
		}
		return time.Since(began)
	}
}
