package actors

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Start adds a child while the supervisor runs (or before) and returns at once;
// the child is started soon after, last in the order. When it finishes it is
// forgotten. The name may be that of a child that has finished or is being
// stopped: the new one then starts when the old one has ended.
//
// Errors: a spec without name or New; [ErrExists]; [ErrStopped].
func (s *Supervisor) Start(spec Spec) error {
	if err := s.add(spec, true); err != nil {
		return err
	}
	s.wake.Give()
	return nil
}

func (s *Supervisor) add(spec Spec, dynamic bool) error {
	if err := spec.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.byName[spec.Name]
	switch {
	case s.closing:
		return fmt.Errorf("start actor %s: supervisor %s: %w", spec.Name, s.full, ErrStopped)
	case old != nil && !old.stopping && !old.finished:
		return fmt.Errorf("start actor %s: %w", spec.Name, ErrExists)
	case old != nil:
		old.stopping = true
	}
	c := &child{spec: spec, dynamic: dynamic, done: make(chan struct{}), after: old, since: time.Now()}
	s.children = append(s.children, c)
	s.byName[spec.Name] = c
	return nil
}

// Stop ends a child for good and returns when it has ended, wherever it was: at
// work, in backoff, not yet started. If the child was restarted meanwhile it is
// the newest that ends.
//
// A child must not Stop itself, nor may two children Stop each other, for each
// would wait for the other; the callback Policy.Observe must not either. For all
// these there is StopSoon. Errors: [ErrUnknown].
func (s *Supervisor) Stop(name string) error {
	done, err := s.want(name)
	if err != nil {
		return err
	}
	<-done
	return nil
}

// StopSoon is Stop that does not wait. Start with the same name may follow at
// once.
func (s *Supervisor) StopSoon(name string) error {
	_, err := s.want(name)
	return err
}

// want notes that a child shall end and returns what is closed when it has.
func (s *Supervisor) want(name string) (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.byName[name]
	if c == nil {
		return nil, fmt.Errorf("stop actor %s: %w", name, ErrUnknown)
	}
	c.stopping = true
	if s.base == nil {
		// Run, which would do it, has not begun.
		s.removeUnwanted(time.Now())
	}
	s.wake.Give()
	return c.done, nil
}

// Fail makes a running child fail with err: its context ends, and when its Run
// has returned, whatever it returned, the failure is err, counted and healed
// like any other. It is for those who work on a child's behalf, such as a pump
// that caught a panic (see [Recovered]) in a step done for a link.
//
// The path is the name of a child, or leads further down, or is a full name.
// Errors: [ErrUnknown]; [ErrNotRunning] also while the child is ending already,
// so a burst of reports is one failure.
func (s *Supervisor) Fail(path string, err error) error {
	if err == nil {
		err = errors.New("failure without a reason")
	}
	return s.fail(path, &reported{err: err})
}

// Inject makes a running child fail with a panic, for tests of healing. The
// path is as in Fail, and so are the errors.
//
// It is a panic of the goroutine, but not in the middle of its work: no
// goroutine can be interrupted there. The actor's context ends, so it
// leaves its loop in good order and runs its own cleanup; when its Run has
// returned, panic(reason) is called in its place and goes the way of every
// other panic. An actor that does not watch its context fails when it returns.
func (s *Supervisor) Inject(path string, reason any) error {
	return s.fail(path, &injected{reason: reason})
}

func (s *Supervisor) fail(path string, cause error) error {
	err := s.failBelow(path, cause)
	if errors.Is(err, ErrUnknown) {
		s.mu.Lock()
		rest, ok := strings.CutPrefix(path, s.full+"/")
		s.mu.Unlock()
		if ok {
			err = s.failBelow(rest, cause)
		}
	}
	if err != nil {
		return fmt.Errorf("fail actor %s: %w", path, err)
	}
	return nil
}

// failBelow makes the actor fail that path leads to from s.
func (s *Supervisor) failBelow(path string, cause error) error {
	s.mu.Lock()
	if c := s.byName[path]; c != nil {
		defer s.mu.Unlock()
		if !c.live() || c.exited || c.cancelled || c.stopping {
			return ErrNotRunning
		}
		c.end(cause)
		return nil
	}
	// Names may contain slashes, so several children can begin the path.
	type way struct {
		sub  *Supervisor
		rest string
	}
	var ways []way
	for _, c := range s.children {
		rest, ok := strings.CutPrefix(path, c.spec.Name+"/")
		if sub, is := c.actor.(*Supervisor); ok && is {
			ways = append(ways, way{sub, rest})
		}
	}
	s.mu.Unlock()
	for _, w := range ways {
		if err := w.sub.failBelow(w.rest, cause); !errors.Is(err, ErrUnknown) {
			return err
		}
	}
	return ErrUnknown
}
