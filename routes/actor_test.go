package routes

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// machine is a Host in memory. The test may touch it while the actor is idle.
type machine struct {
	routes    map[netip.Prefix]bool
	foreign   map[netip.Prefix]string
	connected []netip.Prefix
	changed   actors.Poke
	broken    error
	syncs     int
	fib       func() int // entries of the FIB at the time of the last Sync
	seen      int
}

func newMachine() *machine {
	return &machine{routes: map[netip.Prefix]bool{}, foreign: map[netip.Prefix]string{}, changed: actors.NewPoke()}
}

func (m *machine) Sync(want []netip.Prefix) (map[netip.Prefix]string, error) {
	m.syncs++
	if m.fib != nil {
		m.seen = m.fib()
	}
	if m.broken != nil {
		return nil, m.broken
	}
	refused := map[netip.Prefix]string{}
	clear(m.routes)
	for _, p := range want {
		if why := m.foreign[p]; why != "" {
			refused[p] = why
		} else {
			m.routes[p] = true
		}
	}
	return refused, nil
}

func (m *machine) Connected() ([]netip.Prefix, error) { return m.connected, m.broken }
func (m *machine) Changes() <-chan struct{}           { return m.changed.C() }
func (m *machine) Clear() error                       { _, err := m.Sync(nil); return err }

func (m *machine) has(t *testing.T, want ...string) {
	t.Helper()
	got := slices.SortedFunc(maps.Keys(m.routes), netip.Prefix.Compare)
	if !slices.Equal(got, pfxs(want...)) {
		t.Fatalf("the kernel has %v, want %v", got, want)
	}
}

// stage is one actor at work in a bubble.
type stage struct {
	t      *testing.T
	cfg    Config
	host   *machine
	cancel context.CancelCauseFunc
	ended  chan error
	log    *bytes.Buffer
}

func newStage(t *testing.T, o Own) *stage {
	s := &stage{t: t, host: newMachine(), log: new(bytes.Buffer)}
	s.cfg = Config{Own: o, Mailbox: actors.NewMailbox[message.ToRoutes]("routes", 64), Published: new(Published), Host: s.host,
		Log: hclog.New(&hclog.LoggerOptions{Output: s.log, DisableTime: true})}
	s.start()
	return s
}

func (s *stage) start() {
	a, err := New(s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(s.t.Context())
	s.cancel, s.ended = cancel, make(chan error, 1)
	go func() { s.ended <- a.Run(ctx) }()
	synctest.Wait()
}

func (s *stage) stop(cause error) error {
	s.cancel(cause)
	return <-s.ended
}

func (s *stage) tell(all ...message.ToRoutes) {
	s.t.Helper()
	for _, m := range all {
		if !s.cfg.Mailbox.Ref().Offer(m) {
			s.t.Fatal("mailbox is full")
		}
	}
	synctest.Wait()
}

func (s *stage) wait(d time.Duration) {
	s.t.Helper()
	s.tell(message.Protect{}) // says nothing new, but orders what the test did before what time brings
	done := time.After(d)
	<-done
	synctest.Wait()
}

func (s *stage) row(prefix string, n byte) Row {
	s.t.Helper()
	for _, r := range s.cfg.Published.View().Routes {
		if r.Prefix == prefix && r.ID == node(n).String() {
			return r
		}
	}
	s.t.Fatalf("no row of %s from node %d in %+v", prefix, n, s.cfg.Published.View())
	return Row{}
}

func TestAdvertBecomesFIBAndKernelRouteAndGoesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, own("all", "192.168.1.0/24"))
		s.host.fib = func() int { return s.cfg.Published.FIB().Size() }
		s.tell(advert(2, 1, "10.0.0.2/24", "192.168.2.0/24", "0.0.0.0/0"), link(2, true, 12))
		s.host.has(t, "192.168.2.0/24")
		if s.host.seen != 2 {
			t.Fatalf("the kernel was told before the FIB knew: %d entries", s.host.seen)
		}
		if n, ok := s.cfg.Published.FIB().Lookup(addr("192.168.2.9")); !ok || n != node(2) {
			t.Fatal("the FIB does not know the network")
		}
		for _, want := range []Row{
			{"10.0.0.2/32", "office", node(2).String(), true, 12000, "12.0 ms"},
			{"192.168.2.0/24", "office", node(2).String(), true, 12000, "12.0 ms"},
			{"0.0.0.0/0", "office", node(2).String(), false, 12000, "a default route; name 0.0.0.0/0 in -accept-routes to allow it"},
			{"192.168.1.0/24", "self", node(1).String(), false, 0, "announced by this node"},
		} {
			n := byte(2)
			if want.Node == "self" {
				n = 1
			}
			if got := s.row(want.Prefix, n); got != want {
				t.Errorf("row %+v, want %+v", got, want)
			}
		}
		s.tell(message.Withdrawn{Node: node(2), Reason: "dead"}, link(2, false, 0))
		s.host.has(t)
		if s.cfg.Published.FIB().Size() != 0 {
			t.Fatal("the FIB kept a dead node")
		}
		if err := s.stop(actors.ErrStopped); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"route installed: prefix=192.168.2.0/24 peer=office", "route removed: prefix=192.168.2.0/24 peer=office reason=dead",
			"route not used: prefix=0.0.0.0/0 peer=office"} {
			if strings.Count(s.log.String(), want) != 1 {
				t.Errorf("the log does not say once %q:\n%s", want, s.log)
			}
		}
	})
}

func TestRouteMovesToTheSecondNodeWhenTheFirstDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, own("all"))
		s.tell(advert(2, 1, "10.0.0.2/24", "192.168.7.0/24"), link(2, true, 10))
		s.tell(advert(3, 1, "10.0.0.3/24", "192.168.7.0/24"), link(3, true, 20))
		leadsTo := func() message.NodeID { n, _ := s.cfg.Published.FIB().Lookup(addr("192.168.7.1")); return n }
		if leadsTo() != node(2) || s.row("192.168.7.0/24", 3).Installed {
			t.Fatal("the nearer node has not got it")
		}
		syncs := s.host.syncs
		s.tell(link(2, false, 0), message.Withdrawn{Node: node(2)})
		if leadsTo() != node(3) || !s.row("192.168.7.0/24", 3).Installed {
			t.Fatal("the second node did not take over")
		}
		s.host.has(t, "192.168.7.0/24")
		if s.host.syncs != syncs {
			t.Fatal("the kernel's route was touched although it stays the same")
		}
		_ = s.stop(actors.ErrStopped)
	})
}

func TestRouteComesBackWhenSomebodyFlushedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, own("all"))
		s.tell(advert(2, 1, "", "192.168.2.0/24"))
		clear(s.host.routes)
		s.host.changed.Give()
		s.wait(settleTime)
		s.host.has(t, "192.168.2.0/24")
		clear(s.host.routes) // and without a notification
		s.wait(defaultInterval)
		s.host.has(t, "192.168.2.0/24")
		_ = s.stop(actors.ErrStopped)
	})
}

func TestRouteGivesWayToWhatTheHostGotMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, own("all"))
		s.tell(advert(2, 1, "", "192.168.2.0/24", "192.168.3.0/24"))
		s.host.connected = pfxs("192.168.2.0/24")
		s.host.foreign[pfx("192.168.3.0/24")] = "there is a route of somebody else"
		s.host.changed.Give()
		s.wait(settleTime)
		s.host.has(t)
		if r := s.row("192.168.2.0/24", 2); r.Installed || r.Why != "this host is in that network itself" {
			t.Fatalf("%+v", r)
		}
		if r := s.row("192.168.3.0/24", 2); r.Installed || r.Why != "there is a route of somebody else" {
			t.Fatalf("%+v", r)
		}
		if n, _ := s.cfg.Published.FIB().Lookup(addr("192.168.2.9")); !n.IsZero() {
			t.Fatal("the FIB still leads there")
		}
		s.host.connected, s.host.foreign = nil, nil
		s.host.changed.Give()
		s.wait(settleTime)
		s.host.has(t, "192.168.2.0/24", "192.168.3.0/24")
		_ = s.stop(actors.ErrStopped)
	})
}

func TestActorTriesAgainWhenTheKernelFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, own("all"))
		s.host.broken = errors.New("netlink is out of order")
		s.tell(advert(2, 1, "", "192.168.2.0/24"))
		s.wait(5 * retryTime)
		if n := strings.Count(s.log.String(), "out of order"); n != 1 {
			t.Fatalf("logged %d times:\n%s", n, s.log)
		}
		s.host.broken = nil
		s.wait(retryTime)
		s.host.has(t, "192.168.2.0/24")
		_ = s.stop(actors.ErrStopped)
	})
}

func TestFailedActorLeavesEverythingInPlaceForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, own("all"))
		s.tell(advert(2, 1, "10.0.0.2/24", "192.168.2.0/24"), link(2, true, 7))
		failure := errors.New("made to fail")
		if err := s.stop(failure); !errors.Is(err, failure) {
			t.Fatalf("ended with %v", err)
		}
		s.host.has(t, "192.168.2.0/24")
		if s.cfg.Published.FIB().Size() != 2 {
			t.Fatal("the FIB went with the actor")
		}
		s.start() // nobody repeats the advert
		s.host.has(t, "192.168.2.0/24")
		if r := s.row("192.168.2.0/24", 2); !r.Installed || r.Metric != 7000 {
			t.Fatalf("%+v", r)
		}
		if err := s.stop(actors.ErrStopped); err != nil {
			t.Fatal(err)
		}
		s.host.has(t)
	})
}

func TestActorWithForwardingPutsItBackWhenItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := host()
		s := newStage(t, own("all"))
		_ = s.stop(actors.ErrStopped)
		s.cfg.Local, s.cfg.Forwarding = pfxs("192.168.1.0/24"), forwarder(t, k, t.TempDir(), true)
		s.start()
		if k[forward4] != "1" {
			t.Fatal("forwarding is off")
		}
		k[forward4] = "0" // another node of this host put it back
		s.wait(defaultInterval)
		if k[forward4] != "1" {
			t.Fatal("forwarding stays off")
		}
		_ = s.stop(actors.ErrStopped)
		if k[forward4] != "0" {
			t.Fatal("forwarding is left on")
		}
		s.cfg.Forwarding = forwarder(t, k, t.TempDir(), false)
		s.start()
		if p := s.cfg.Published.View().Problems; len(p) != 1 || !strings.Contains(p[0], "net.ipv4.ip_forward=1") {
			t.Fatalf("problems %q", p)
		}
		_ = s.stop(actors.ErrStopped)
	})
}

func TestActorRefusesAnIncompleteConfig(t *testing.T) {
	box, out := actors.NewMailbox[message.ToRoutes]("routes", 1), new(Published)
	for _, cfg := range []Config{
		{Mailbox: box, Published: out},
		{Own: own("all"), Published: out},
		{Own: own("all"), Mailbox: box},
		{Own: own("all"), Mailbox: box, Published: out, Interval: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	if v := out.View(); v.Routes == nil || v.Problems == nil {
		t.Error("an empty view must show as empty lists")
	}
}
