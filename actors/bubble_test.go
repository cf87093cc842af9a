package actors

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stage is a supervisor running in a bubble, and a record of what happened.
type stage struct {
	*Supervisor
	t      *testing.T
	begun  time.Time
	cancel context.CancelFunc
	result chan error

	mu     sync.Mutex
	log    []string // "start a", "end a", in order
	events []Event
}

// newStage makes a supervisor without jitter; play starts it.
func newStage(t *testing.T, policy Policy) *stage {
	s := &stage{t: t, begun: time.Now(), result: make(chan error, 1)}
	policy.Observe = func(e Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.events = append(s.events, e)
	}
	s.Supervisor = NewSupervisor("root", policy)
	s.random = func() float64 { return 0 }
	return s
}

func (s *stage) add(specs ...Spec) *stage {
	s.t.Helper()
	for _, spec := range specs {
		if err := s.Supervisor.add(spec, false); err != nil {
			s.t.Fatal(err)
		}
	}
	return s
}

func (s *stage) play() {
	ctx, cancel := context.WithCancel(s.t.Context())
	s.cancel = cancel
	go func() { s.result <- s.Run(ctx) }()
	synctest.Wait()
}

// stop ends the supervisor and returns what Run returned.
func (s *stage) stop() error {
	s.cancel()
	return <-s.result
}

func (s *stage) note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, line)
}

// took returns the log since the last call, joined by commas.
func (s *stage) took() string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	line := strings.Join(s.log, ", ")
	s.log = nil
	return line
}

func (s *stage) expect(want string) {
	s.t.Helper()
	if got := s.took(); got != want {
		s.t.Fatalf("at %v: got %q, want %q", time.Since(s.begun), got, want)
	}
}

// kinds returns the kinds of events told of a child since its beginning.
func (s *stage) kinds(name string) (kinds []EventKind) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Name == name {
			kinds = append(kinds, e.Kind)
		}
	}
	return kinds
}

// worker is a spec whose actor works until told to stop, or until what it
// receives from orders: nil ends it, an error fails it, all else it panics with.
func (s *stage) worker(name string, orders <-chan any) Spec {
	return Spec{Name: name, New: func() Actor {
		return Func(func(ctx context.Context) error {
			s.note("start " + name)
			defer s.note("end " + name)
			select {
			case order := <-orders:
				switch order := order.(type) {
				case nil:
					return nil
				case error:
					return order
				default:
					panic(order)
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}}
}

// see returns the child of that name from the tree.
func (s *stage) see(name string) Info {
	s.t.Helper()
	synctest.Wait()
	tree := s.Tree()
	i := slices.IndexFunc(tree.Children, func(i Info) bool { return i.Name == name })
	if i < 0 {
		s.t.Fatalf("no %s in the tree", name)
	}
	return tree.Children[i]
}

func (s *stage) expectState(name string, want State) {
	s.t.Helper()
	if got := s.see(name).State; got != want {
		s.t.Fatalf("at %v: %s is %v, want %v", time.Since(s.begun), name, got, want)
	}
}
