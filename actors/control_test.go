package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestChildrenComeAndGoAtRunTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, Policy{})
		if err := s.Start(s.worker("early", nil)); err != nil {
			t.Fatal(err)
		}
		s.play()
		s.expect("start early")
		if err := s.Start(s.worker("link/1", nil)); err != nil {
			t.Fatal(err)
		}
		s.expect("start link/1")
		if err := s.Start(s.worker("link/1", nil)); !errors.Is(err, ErrExists) {
			t.Fatal(err)
		}
		if err := s.Stop("early"); err != nil {
			t.Fatal(err)
		}
		s.expect("end early")
		if err := s.Stop("early"); !errors.Is(err, ErrUnknown) {
			t.Fatal(err)
		}
		s.stop()
		if err := s.Start(s.worker("late", nil)); !errors.Is(err, ErrStopped) {
			t.Fatal(err)
		}
		if err := s.Stop("link/1"); err != nil {
			t.Fatal("stopping what the end stopped:", err)
		}
	})
}

func TestStopBeforeRunForgetsTheChild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, Policy{})
		s.add(s.worker("a", nil), s.worker("b", nil))
		if err := s.Stop("a"); err != nil {
			t.Fatal(err)
		}
		s.play()
		s.expect("start b")
		s.stop()
	})
}

func TestBadSpecsAreRefused(t *testing.T) {
	s := NewSupervisor("root", Policy{})
	actor := func() Actor { return Func(func(context.Context) error { return nil }) }
	for _, spec := range []Spec{{New: actor}, {Name: "/a", New: actor}, {Name: "a/", New: actor}, {Name: "a"}} {
		if err := s.Start(spec); err == nil {
			t.Errorf("took %+v", spec)
		}
	}
}

func TestADynamicChildThatFinishesIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, Policy{})
		s.play()
		for range 3 {
			if err := s.Start(Spec{Name: "task", New: func() Actor { return Func(func(context.Context) error { return nil }) }}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := len(s.Tree().Children); n != 0 {
				t.Fatalf("%d children are left", n)
			}
		}
		s.stop()
	})
}

func TestTheSuccessorOfAStoppingChildWaitsForItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, Policy{})
		s.add(Spec{Name: "a", New: func() Actor {
			return Func(func(ctx context.Context) error {
				<-ctx.Done()
				<-time.After(time.Second)
				s.note("end old")
				return nil
			})
		}}).play()
		if err := s.StopSoon("a"); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(s.worker("a", nil)); err != nil {
			t.Fatal(err)
		}
		after(time.Second - 1)
		s.expect("")
		after(1)
		s.expect("end old, start a")
		s.expectState("a", StateRunning)
		s.stop()
	})
}

func TestASiblingMayStopASiblingWhileEverythingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, Policy{})
		s.add(s.worker("victim", nil), Spec{Name: "peers", New: func() Actor {
			return Func(func(ctx context.Context) error {
				<-ctx.Done()
				// The victim stands before this actor, so in the order of the end
				// it would be stopped only after this one has returned.
				return s.Stop("victim")
			})
		}}).play()
		s.took()
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		s.expect("end victim")
	})
}

func TestAChildMayStopItselfSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, Policy{})
		s.add(Spec{Name: "a", New: func() Actor {
			return Func(func(ctx context.Context) error {
				if err := s.StopSoon("a"); err != nil {
					return err
				}
				<-ctx.Done()
				return context.Cause(ctx)
			})
		}}).play()
		if n := len(s.Tree().Children); n != 0 {
			t.Fatalf("%d children are left", n)
		}
		s.stop()
	})
}

func TestFailCountsAsTheFailureOfTheNamedChild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, Policy{MaxRestarts: 1, Window: time.Hour, Backoff: Backoff{Min: time.Second, Max: time.Second}})
		s.add(s.worker("link/1", nil), s.worker("b", nil)).play()
		s.took()
		if err := s.Fail("link/1", errBoom); err != nil {
			t.Fatal(err)
		}
		if err := s.Fail("link/1", errBoom); !errors.Is(err, ErrNotRunning) {
			t.Fatal("a burst of reports is one failure:", err)
		}
		s.expect("end link/1")
		if c := s.see("link/1"); c.State != StateBackoff || c.LastError != errBoom {
			t.Fatalf("%+v", c)
		}
		if err := s.Fail("link/1", errBoom); !errors.Is(err, ErrNotRunning) {
			t.Fatal(err)
		}
		if err := s.Fail("link/2", errBoom); !errors.Is(err, ErrUnknown) {
			t.Fatal(err)
		}
		after(time.Second)
		s.expect("start link/1")
		s.Fail("link/1", errBoom)
		if err := <-s.result; !errors.Is(err, ErrTooManyRestarts) {
			t.Fatal(err)
		}
		s.cancel()
	})
}

func TestAnInjectedFailureIsAPanicWhereverTheActorStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, Policy{Backoff: Backoff{Min: time.Second, Max: time.Second}})
		s.add(Spec{Name: "mesh/a", New: func() Actor {
			return NewSupervisor("ignored", Policy{Backoff: Backoff{Min: time.Second, Max: time.Second}}, s.worker("link/1", nil))
		}}).play()
		s.took()
		for _, path := range []string{"mesh/a/link/1", "root/mesh/a/link/1"} {
			if err := s.Inject(path, "test"); err != nil {
				t.Fatal(err)
			}
			s.expect("end link/1")
			leaf := s.see("mesh/a").Children[0]
			var p *PanicError
			if leaf.State != StateBackoff || !errors.As(leaf.LastError, &p) || p.Value != "test" {
				t.Fatalf("%+v", leaf)
			}
			after(time.Second)
			s.expect("start link/1")
		}
		if err := s.Inject("mesh/a", "whole subtree"); err != nil {
			t.Fatal(err)
		}
		s.expect("end link/1")
		after(time.Second)
		s.expect("start link/1")
		if err := s.Inject("mesh/b/link/1", "test"); !errors.Is(err, ErrUnknown) {
			t.Fatal(err)
		}
		s.stop()
	})
}

func TestAnActorKnowsItsFullNameAndSoDoesTheProfiler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := make(chan string, 2)
		s := newStage(t, Policy{})
		s.add(Spec{Name: "sub", New: func() Actor {
			return NewSupervisor("ignored", Policy{}, Spec{Name: "leaf", New: func() Actor {
				return Func(func(ctx context.Context) error {
					label, _ := pprof.Label(ctx, Label)
					names <- Name(ctx)
					names <- label
					return nil
				})
			}})
		}}).play()
		for range 2 {
			if name := <-names; name != "root/sub/leaf" {
				t.Fatalf("named %q", name)
			}
		}
		s.stop()
	})
}

func TestEverythingAtOnceIsSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, Policy{Backoff: Backoff{Min: time.Millisecond, Max: 2 * time.Millisecond}})
		s.play()
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for j := range 50 {
					name := fmt.Sprintf("link/%d", (i+j)%5)
					switch j % 5 {
					case 0, 1:
						s.Start(s.worker(name, nil))
					case 2:
						s.Fail(name, errBoom)
					case 3:
						s.Inject(name, "test")
					case 4:
						s.Stop(name)
					}
					s.Tree()
					<-time.After(time.Duration(i) * 100 * time.Microsecond)
				}
			})
		}
		all.Wait()
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
