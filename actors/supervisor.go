package actors

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Supervisor is the [Actor] that starts other actors, its children, restarts
// those that fail, and stops them, last started first, when its own context
// ends. Being an actor it can itself be a child.
//
// All methods may be called by any goroutine, its children's included, before,
// during and after Run. None but Stop waits for an actor.
//
// Run alone moves children from state to state; the other methods note what is
// wanted and poke it. Only for that the mutex is there, and it is never held
// while foreign code runs.
type Supervisor struct {
	name   string
	policy Policy
	wake   Poke
	random func() float64 // in [0,1), for the jitter
	ended  sync.WaitGroup // the children's goroutines

	// Owned by Run.
	base     context.Context // what children's contexts derive from; never ends
	failures intensity
	events   []Event // of this step, not yet told

	mu       sync.Mutex
	state    State
	since    time.Time
	full     string // full name, known in Run
	failure  error  // why it gave up
	closing  bool   // stopping all children for good
	children []*child
	byName   map[string]*child // the newest child of each name
	regroup  bool              // all-for-one: stopping all to restart all
	dueAt    time.Time         // when regroup restarts them
}

// child is one spec and the goroutine that runs its present actor, if any. All
// fields but the first three are guarded by the mutex of its supervisor.
type child struct {
	spec    Spec
	dynamic bool          // came through Start: forgotten when it finishes
	done    chan struct{} // closed when it has ended for good

	state     State
	since     time.Time
	actor     Actor // nil until New has returned for the first time
	cancel    context.CancelCauseFunc
	cancelled bool
	exited    bool // the goroutine has reported result, Run has not yet seen it
	result    error
	startedAt time.Time
	dueAt     time.Time // when a restart is due
	restarts  int
	streak    int // failures in a row
	lastErr   error
	stopping  bool   // somebody wants it to end
	finished  bool   // returned nil and is not to be restarted
	gone      bool   // done is closed
	after     *child // the one of the same name that must be gone first
}

// live says whether the child has a goroutine.
func (c *child) live() bool { return c.cancel != nil }

// end cancels the child's context, once.
func (c *child) end(cause error) {
	if c.live() && !c.cancelled {
		c.cancelled = true
		c.cancel(cause)
	}
}

func (c *child) enter(s State, now time.Time) { c.state, c.since = s, now }

// NewSupervisor returns a supervisor that Run will let start specs in their
// order. Two specs of one name, or one without New, are a programming error and
// panic. The name is shown by Tree and begins the full names of the children,
// unless a supervisor above names this one by its Spec.
func NewSupervisor(name string, policy Policy, specs ...Spec) *Supervisor {
	policy = policy.withDefaults()
	s := &Supervisor{
		name: name, full: name, policy: policy, wake: NewPoke(), random: rand.Float64,
		failures: intensity{max: policy.MaxRestarts, window: policy.Window},
		since:    time.Now(), byName: map[string]*child{},
	}
	for _, spec := range specs {
		if err := s.add(spec, false); err != nil {
			panic(err)
		}
	}
	return s
}

// Run starts the children and keeps them running until ctx ends (nil) or they
// fail too often (an error that wraps [ErrTooManyRestarts] and the last
// failure). Either way it returns when all children have ended. It can be called
// once.
func (s *Supervisor) Run(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.abandon() // after a panic of Observe; else nothing is left to do
	timer := time.NewTimer(0)
	defer timer.Stop()
	stop := ctx.Done()
	for {
		next, over := s.step(time.Now(), ctx.Err() != nil)
		for _, e := range s.events {
			s.policy.Observe(e)
		}
		s.events = s.events[:0]
		if over {
			s.ended.Wait()
			return s.failure
		}
		var due <-chan time.Time
		if !next.IsZero() {
			timer.Reset(time.Until(next))
			due = timer.C
		}
		select {
		case <-stop:
			stop = nil
		case <-s.wake.C():
		case <-due:
		}
	}
}

func (s *Supervisor) begin(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.base != nil {
		return fmt.Errorf("supervisor %s: run a second time; make a new one", s.name)
	}
	if full := Name(ctx); full != "" {
		s.full = full
	}
	// The children's contexts must not end with ctx, or they would all stop at
	// once and in no order.
	s.base = context.WithoutCancel(ctx)
	s.state, s.since = StateRunning, time.Now()
	return nil
}

// abandon leaves no goroutine behind, whatever made Run end.
func (s *Supervisor) abandon() {
	s.mu.Lock()
	s.closing = true
	for _, c := range s.children {
		c.end(ErrStopped)
	}
	s.mu.Unlock()
	s.ended.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, c := range s.children {
		if c.state != StateFailed && c.state != StateStopped {
			c.enter(StateStopped, now)
		}
		s.bury(c)
	}
	s.state, s.since = StateStopped, now
	if s.failure != nil {
		s.state = StateFailed
	}
}

// bury tells those who wait for c that it has ended for good.
func (s *Supervisor) bury(c *child) {
	if !c.gone {
		c.gone = true
		close(c.done)
	}
}

// tell notes an event for Observe.
func (s *Supervisor) tell(kind EventKind, c *child, err error, delay time.Duration) {
	s.events = append(s.events, Event{Kind: kind, Name: s.full + "/" + c.spec.Name, Err: err, Restarts: c.restarts, Delay: delay})
}

// expected says whether err is what an actor that was told to stop may return.
func expected(err error) bool {
	return err == nil || errors.Is(err, ErrStopped) || errors.Is(err, context.Canceled)
}
