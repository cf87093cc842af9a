package actors

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errBoom = errors.New("boom")

// after waits in virtual time.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestChildrenStartInOrderAndStopInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, Policy{})
		// Each child starts only when the scheduler runs it: only ends are ordered.
		s.add(s.worker("a", nil), s.worker("b", nil), s.worker("c", nil)).play()
		s.took()
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		s.expect("end c, end b, end a")
		if got := s.kinds("root/b"); !slices.Equal(got, []EventKind{Started, Stopped}) {
			t.Fatalf("events of b: %v", got)
		}
		if tree := s.Tree(); tree.State != StateStopped || tree.Children[0].State != StateStopped {
			t.Fatalf("after the end: %+v", tree)
		}
	})
}

func TestASlowChildHoldsBackThoseStartedBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, Policy{})
		slow := Spec{Name: "slow", New: func() Actor {
			return Func(func(ctx context.Context) error {
				<-ctx.Done()
				<-time.After(3 * time.Second)
				s.note("end slow")
				return nil
			})
		}}
		s.add(s.worker("a", nil), slow).play()
		s.took()
		s.cancel()
		after(2 * time.Second)
		s.expect("")
		if err := <-s.result; err != nil {
			t.Fatal(err)
		}
		s.expect("end slow, end a")
		if took := time.Since(s.begun); took != 3*time.Second {
			t.Fatalf("stopped after %v", took)
		}
	})
}

func TestAFailedChildIsReplacedByANewActorAndTheOthersRunOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		orders := make(chan any)
		s := newStage(t, Policy{Backoff: Backoff{Min: time.Second, Max: time.Minute}})
		s.add(s.worker("a", orders), s.worker("b", nil)).play()
		s.took()
		orders <- errBoom
		s.expect("end a")
		s.expectState("a", StateBackoff)
		after(time.Second)
		s.expect("start a")
		if a := s.see("a"); a.State != StateRunning || a.Restarts != 1 || a.LastError != errBoom {
			t.Fatalf("%+v", a)
		}
		if got := s.kinds("root/a"); !slices.Equal(got, []EventKind{Started, Failed, Started}) {
			t.Fatalf("events of a: %v", got)
		}
		s.stop()
	})
}

func TestAPanicIsAFailureThatKeepsItsStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		orders := make(chan any)
		s := newStage(t, Policy{})
		s.add(s.worker("a", orders)).play()
		orders <- 42
		after(time.Second)
		var p *PanicError
		if a := s.see("a"); !errors.As(a.LastError, &p) || p.Value != 42 || a.State != StateRunning {
			t.Fatalf("%+v", a)
		}
		if !strings.Contains(string(p.Stack), "worker") {
			t.Fatalf("the stack does not show where it happened:\n%s", p.Stack)
		}
		s.stop()
	})
}

func TestGoexitAndAPanicInNewAreFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, Policy{Backoff: Backoff{Min: time.Second}})
		exits := Spec{Name: "exits", New: func() Actor {
			return Func(func(context.Context) error { runtime.Goexit(); return nil })
		}}
		s.add(exits,
			Spec{Name: "unborn", New: func() Actor { panic(errBoom) }},
			Spec{Name: "nil", New: func() Actor { return nil }}).play()
		for _, name := range []string{"exits", "unborn", "nil"} {
			s.expectState(name, StateBackoff)
		}
		if err := s.see("exits").LastError; !errors.Is(err, ErrReturned) {
			t.Fatal(err)
		}
		if err := s.see("unborn").LastError; !errors.Is(err, errBoom) {
			t.Fatal(err)
		}
		s.stop()
	})
}

func TestAChildThatReturnsNilHasFinishedUnlessItIsPermanent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := Func(func(context.Context) error { return nil })
		s := newStage(t, Policy{Backoff: Backoff{Min: time.Second}})
		s.add(Spec{Name: "once", New: func() Actor { return done }},
			Spec{Name: "always", New: func() Actor { return done }, Permanent: true}).play()
		s.expectState("once", StateStopped)
		s.expectState("always", StateBackoff)
		if err := s.see("always").LastError; !errors.Is(err, ErrReturned) {
			t.Fatal(err)
		}
		after(10 * time.Second)
		if n := s.see("once").Restarts; n != 0 {
			t.Fatalf("a finished child was restarted %d times", n)
		}
		s.stop()
	})
}

func TestAllForOneStopsInReverseAndRestartsEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		orders := make(chan any)
		s := newStage(t, Policy{Strategy: AllForOne, Backoff: Backoff{Min: time.Second}})
		finished := Spec{Name: "f", New: func() Actor { return Func(func(context.Context) error { s.note("ran f"); return nil }) }}
		s.add(s.worker("a", nil), s.worker("b", orders), s.worker("c", nil), finished).play()
		s.took()
		orders <- errBoom
		s.expect("end b, end c, end a")
		for _, name := range []string{"a", "b", "c"} {
			s.expectState(name, StateBackoff)
		}
		after(time.Second - 1)
		s.expect("")
		after(1)
		got := strings.Split(s.took(), ", ")
		slices.Sort(got)
		if want := []string{"start a", "start b", "start c"}; !slices.Equal(got, want) {
			t.Fatalf("restarted %q, want %q", got, want)
		}
		if n := s.see("a").Restarts; n != 1 {
			t.Fatalf("a was restarted %d times", n)
		}
		s.stop()
	})
}

func TestFailuresDuringAGroupRestartAreOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		orders := make(chan any)
		s := newStage(t, Policy{Strategy: AllForOne, MaxRestarts: 1, Window: time.Hour, Backoff: Backoff{Min: time.Second}})
		brittle := Spec{Name: "brittle", New: func() Actor {
			return Func(func(ctx context.Context) error { <-ctx.Done(); panic("could not stand the stop") })
		}}
		s.add(s.worker("a", orders), brittle).play()
		orders <- errBoom
		after(time.Second)
		s.expectState("a", StateRunning)
		s.expectState("brittle", StateRunning)
		if err := s.see("brittle").LastError; err == nil {
			t.Fatal("the panic on the way down is not shown")
		}
		s.stop()
	})
}

func TestObserveMayUseTheSupervisor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *Supervisor
		sibling := make(chan struct{})
		s = NewSupervisor("root", Policy{Observe: func(e Event) {
			s.Tree()
			if e.Kind == Finished {
				s.StopSoon("first")
				s.Start(Spec{Name: "second", New: func() Actor {
					return Func(func(context.Context) error { close(sibling); return nil })
				}})
			}
		}}, Spec{Name: "first", New: func() Actor { return Func(func(context.Context) error { return nil }) }})
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error)
		go func() { result <- s.Run(ctx) }()
		<-sibling
		cancel()
		if err := <-result; err != nil {
			t.Fatal(err)
		}
	})
}

func TestASupervisorRunsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, Policy{})
		s.play()
		if err := s.Run(t.Context()); err == nil {
			t.Fatal("ran twice")
		}
		s.stop()
	})
}

func TestAPanicOfObserveLeavesNoChildBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		broken := func() Actor {
			return NewSupervisor("sub", Policy{Observe: func(Event) { panic("observer") }},
				Spec{Name: "leaf", New: func() Actor {
					return Func(func(ctx context.Context) error { <-ctx.Done(); close(ended); return nil })
				}})
		}
		s := newStage(t, Policy{MaxRestarts: -1})
		s.add(Spec{Name: "sub", New: broken}).play()
		var p *PanicError
		if err := <-s.result; !errors.As(err, &p) || p.Value != "observer" {
			t.Fatal(err)
		}
		<-ended
		s.cancel()
	})
}
