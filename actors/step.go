package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"time"
)

// step brings every child as near to what is wanted as is possible without
// waiting, and returns when something is due next (zero: nothing) and whether
// all is over. It is the whole of the supervisor's logic and is called by Run
// whenever something may have changed.
func (s *Supervisor) step(now time.Time, stop bool) (next time.Time, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = s.closing || stop
	for _, c := range s.children {
		if c.exited {
			s.settle(c, now)
		}
	}
	s.removeUnwanted(now)
	switch {
	case s.closing:
		return time.Time{}, s.stopLast()
	case s.regroup && !s.stopLast():
		return time.Time{}, false
	case s.regroup && now.Before(s.dueAt):
		return s.dueAt, false
	}
	s.regroup = false
	for _, c := range s.children {
		switch {
		case c.live() || c.finished || (c.after != nil && !c.after.gone):
		case now.Before(c.dueAt):
			if next.IsZero() || c.dueAt.Before(next) {
				next = c.dueAt
			}
		default:
			s.launch(c, now)
		}
	}
	return next, false
}

// removeUnwanted ends those who shall stop and forgets those who have.
func (s *Supervisor) removeUnwanted(now time.Time) {
	kept := s.children[:0]
	for _, c := range s.children {
		switch {
		case c.stopping && c.live():
			c.end(ErrStopped)
		case c.stopping, c.finished && c.dynamic:
			c.enter(StateStopped, now)
			s.bury(c)
			if s.byName[c.spec.Name] == c {
				delete(s.byName, c.spec.Name)
			}
			continue
		}
		kept = append(kept, c)
	}
	clear(s.children[len(kept):]) // let go of what they hold
	s.children = kept
}

// stopLast ends the last child that lives; it says whether none did.
func (s *Supervisor) stopLast() bool {
	for i := len(s.children) - 1; i >= 0; i-- {
		if c := s.children[i]; c.live() {
			c.end(ErrStopped)
			return false
		}
	}
	return true
}

// launch starts a goroutine for a new actor.
func (s *Supervisor) launch(c *child, now time.Time) {
	if !c.startedAt.IsZero() {
		c.restarts++
	}
	full := s.full + "/" + c.spec.Name
	ctx, cancel := context.WithCancelCause(pprof.WithLabels(
		context.WithValue(s.base, nameKey{}, full), pprof.Labels(Label, full)))
	c.cancel, c.cancelled, c.startedAt, c.after = cancel, false, now, nil
	c.enter(StateStarting, now)
	s.tell(Started, c, nil, 0)
	s.ended.Add(1)
	go func() {
		defer s.ended.Done()
		pprof.SetGoroutineLabels(ctx)
		runGuarded(ctx, func(ctx context.Context) error {
			actor := c.spec.New()
			if actor == nil {
				return errors.New("its spec made no actor")
			}
			s.made(c, actor)
			return actor.Run(ctx)
		}, func(err error) { s.exit(c, err) })
	}()
}

// made is called on the child's goroutine when New has returned.
func (s *Supervisor) made(c *child, actor Actor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.actor = actor
	c.enter(StateRunning, time.Now())
}

// exit is called on the child's goroutine at its end.
func (s *Supervisor) exit(c *child, err error) {
	s.mu.Lock()
	c.exited, c.result = true, err
	s.mu.Unlock()
	s.wake.Give()
}

// settle decides what becomes of a child whose goroutine has ended.
func (s *Supervisor) settle(c *child, now time.Time) {
	err := c.result
	told := c.cancelled && (c.stopping || s.closing || s.regroup)
	c.cancel(nil) // nobody listens any more; frees the context
	c.cancel, c.exited, c.result = nil, false, nil
	if told {
		if expected(err) {
			err = nil
		} else {
			c.lastErr = err
		}
		if s.regroup && !c.stopping && !s.closing {
			c.enter(StateBackoff, now)
		} else {
			c.enter(StateStopped, now)
		}
		s.tell(Stopped, c, err, 0)
		return
	}
	if err == nil && !c.spec.Permanent {
		c.finished = true
		c.enter(StateStopped, now)
		s.tell(Finished, c, nil, 0)
		return
	}
	if err == nil {
		err = ErrReturned
	}
	s.failed(c, err, now)
}

// failed heals the failure of a child, or gives up.
func (s *Supervisor) failed(c *child, err error, now time.Time) {
	c.lastErr = err
	if c.stopping || s.closing {
		// It failed by itself before it saw that it should stop.
		c.enter(StateStopped, now)
		s.tell(Stopped, c, err, 0)
		return
	}
	if now.Sub(c.startedAt) >= s.policy.Window {
		c.streak = 0
	}
	c.streak++
	delay := s.policy.Backoff.delay(c.streak, s.random())
	c.enter(StateBackoff, now)
	if s.regroup {
		// One more victim of what is being healed already.
		s.tell(Failed, c, err, max(0, s.dueAt.Sub(now)))
		return
	}
	if s.failures.add(now) {
		c.enter(StateFailed, now)
		s.closing = true
		s.failure = fmt.Errorf("supervisor %s: %w, last of %s: %w", s.full, ErrTooManyRestarts, c.spec.Name, err)
		s.tell(GaveUp, c, err, 0)
		return
	}
	c.dueAt = now.Add(delay)
	if s.policy.Strategy == AllForOne {
		s.regroup, s.dueAt = true, c.dueAt
	}
	s.tell(Failed, c, err, delay)
}
