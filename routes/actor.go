package routes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/openbmx/lightweight-tunnel/actors"
	"github.com/openbmx/lightweight-tunnel/actors/message"
)

// Actor is the owner of the route table. What it learns from its mailbox and
// from the host it turns into a FIB for the pumps and routes in the kernel. When
// its context ends it removes what it put into the kernel.
type Actor struct {
	cfg     Config
	table   *Table
	decided []Decision
	want    []netip.Prefix          // what the kernel was last told to have
	refused map[netip.Prefix]string // of these, what it did not take
	trouble []string                // see View.Problems
	told    map[announcement]outcome
	left    map[message.NodeID]string // why nodes were withdrawn since the last report
	failing string                    // the last error from the host, logged once
}

// Config is what an Actor needs.
type Config struct {
	Own
	Mailbox    *actors.Mailbox[message.ToRoutes]
	Published  *Published
	Host       Host          // nil: there is no kernel to tell, as on a simulated network
	Forwarding *Forwarding   // nil: this host need not forward
	Interval   time.Duration // between full comparisons with the kernel; 0: 30 s
	Log        hclog.Logger  // nil: silent
}

// Host is the routing table of the machine: [Kernel], whose methods say what is
// expected. One running actor at a time uses it.
type Host interface {
	Sync(want []netip.Prefix) (refused map[netip.Prefix]string, err error)
	Connected() ([]netip.Prefix, error)
	Changes() <-chan struct{}
	Clear() error
}

const (
	defaultInterval = 30 * time.Second
	settleTime      = 100 * time.Millisecond // a change of the host comes as a burst of notifications
	retryTime       = time.Second
	maxDrain        = 256 // messages taken before a decision
)

// New checks cfg. The actor starts with what the last one left in cfg.Published.
func New(cfg Config) (*Actor, error) {
	switch {
	case cfg.ID.IsZero():
		return nil, errors.New("routes: no node id")
	case cfg.Mailbox == nil || cfg.Published == nil:
		return nil, errors.New("routes: no mailbox or nowhere to publish")
	case cfg.Interval < 0:
		return nil, fmt.Errorf("routes: interval %s is negative", cfg.Interval)
	}
	if cfg.Interval == 0 {
		cfg.Interval = defaultInterval
	}
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	return &Actor{cfg: cfg, table: NewTable(cfg.Own), told: map[announcement]outcome{}, left: map[message.NodeID]string{}}, nil
}

// Run decides anew whenever a message, the host or time gives a reason.
func (a *Actor) Run(ctx context.Context) error {
	a.table.Recall(a.cfg.Published.memory.Load())
	tick := time.NewTicker(a.cfg.Interval)
	defer tick.Stop()
	again := time.NewTimer(a.cfg.Interval) // to look at the host again
	defer again.Stop()
	var changes <-chan struct{}
	pause := settleTime
	if a.cfg.Host != nil {
		changes = a.cfg.Host.Changes()
	}
	a.settle(true, again)
	for {
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, actors.ErrStopped) && !errors.Is(cause, context.Canceled) {
				return cause // made to fail: the next actor finds all in place
			}
			return a.leave()
		case m := <-a.cfg.Mailbox.C():
			if a.drain(m) {
				a.settle(false, again)
			}
		case <-changes:
			again.Reset(pause)
			changes = nil // until then they all mean the same
		case <-again.C:
			if a.cfg.Host != nil {
				changes = a.cfg.Host.Changes()
			}
			began := time.Now()
			a.settle(true, again)
			// Where the table is huge and never still, reading it must not
			// become all that we do.
			pause = max(settleTime, 20*time.Since(began))
		case <-tick.C:
			a.settle(true, again)
		}
	}
}

// drain applies m and what waits behind it, and says whether to decide anew.
func (a *Actor) drain(m message.ToRoutes) bool {
	changed := a.apply(m)
	for range maxDrain {
		select {
		case m := <-a.cfg.Mailbox.C():
			changed = a.apply(m) || changed
		default:
			return changed
		}
	}
	return changed
}

func (a *Actor) apply(m message.ToRoutes) bool {
	if w, ok := m.(message.Withdrawn); ok {
		a.left[w.Node] = w.Reason
	}
	return a.table.Apply(m)
}

// settle decides and makes it so. With look it reads the state of the host
// first; without, the kernel is told only what is new.
func (a *Actor) settle(look bool, again *time.Timer) {
	failed := false
	if look && a.cfg.Host != nil {
		networks, err := a.cfg.Host.Connected()
		if failed = a.failure(err); !failed {
			a.table.Connected(networks)
		}
	}
	decided := a.table.Decide(time.Now())
	if a.cfg.Published.fib.Load() == nil || !slices.EqualFunc(decided, a.decided, sameInFIB) {
		// Before the kernel: a packet that it sends us finds its way at once.
		a.cfg.Published.fib.Store(newFIB(a.cfg.Own, decided))
	}
	a.decided = decided
	var want []netip.Prefix
	for _, d := range decided {
		if d.Best && d.Install {
			want = append(want, d.Prefix)
		}
	}
	if a.cfg.Host != nil && (look || !slices.Equal(want, a.want)) {
		refused, err := a.cfg.Host.Sync(want)
		if a.failure(err) {
			failed = true
		} else {
			a.want, a.refused = want, refused
		}
	}
	if look && a.cfg.Forwarding != nil {
		a.trouble = a.cfg.Forwarding.Ensure(a.cfg.Local)
	}
	if failed {
		again.Reset(retryTime)
	} else if look {
		a.failing = ""
	}
	a.cfg.Published.view.Store(newView(decided, a.refused, a.trouble))
	a.cfg.Published.memory.Store(a.table.Remember())
	a.report()
}

// sameInFIB says whether two decisions make the same FIB entries.
func sameInFIB(a, b Decision) bool {
	return a.Prefix == b.Prefix && a.Node == b.Node && a.Address == b.Address && a.Usable == b.Usable && a.Best == b.Best
}

// failure logs an error of the host when it is a new one.
func (a *Actor) failure(err error) bool {
	if err == nil {
		return false
	}
	if err.Error() != a.failing {
		a.failing = err.Error()
		a.cfg.Log.Warn("cannot keep the kernel's routes in step", "reason", err)
	}
	return true
}

// leave takes our traces out of the kernel. The FIB stays: other actors may still
// say goodbye through it.
func (a *Actor) leave() error {
	var err error
	if a.cfg.Host != nil {
		err = a.cfg.Host.Clear()
	}
	if a.cfg.Forwarding != nil {
		err = errors.Join(err, a.cfg.Forwarding.Restore())
	}
	return err
}
