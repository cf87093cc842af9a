package actors

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackoffDoublesUpToItsMaximumAndJitterShortensIt(t *testing.T) {
	b := Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for streak, want := range map[int]time.Duration{
		1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 3: 400 * time.Millisecond,
		4: 800 * time.Millisecond, 5: time.Second, 6: time.Second, 1 << 30: time.Second,
	} {
		if got := b.delay(streak, 0); got != want {
			t.Errorf("failure %d: %v, want %v", streak, got, want)
		}
		if got := b.delay(streak, 0.5); got != want*3/4 {
			t.Errorf("failure %d with half the jitter: %v, want %v", streak, got, want*3/4)
		}
		if got := b.delay(streak, 0.999999); got < want/2 || got > want*51/100 {
			t.Errorf("failure %d with full jitter: %v, want about %v", streak, got, want/2)
		}
	}
}

func TestIntensityForgetsWhatIsOlderThanItsWindow(t *testing.T) {
	start := time.Now()
	i := intensity{max: 2, window: time.Minute}
	for _, step := range []struct {
		at   time.Duration
		want bool
	}{{0, false}, {10 * time.Second, false}, {60 * time.Second, false}, {69 * time.Second, true}, {3 * time.Minute, false}} {
		if got := i.add(start.Add(step.at)); got != step.want {
			t.Errorf("failure at %v: one too many is %v, want %v", step.at, got, step.want)
		}
	}
	never, first := intensity{window: time.Minute}, intensity{max: -1, window: time.Minute}
	for range 1000 {
		if never.add(start) {
			t.Fatal("without a limit nothing is too many")
		}
	}
	if !first.add(start) {
		t.Fatal("a negative limit allows none")
	}
}

func TestRestartsComeAtTheBackoffsTimesAndAHealthyRunResetsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		orders := make(chan any)
		s := newStage(t, Policy{Window: time.Minute, Backoff: Backoff{Min: time.Second, Max: 4 * time.Second}})
		s.add(s.worker("a", orders)).play()
		s.expect("start a")
		for _, pause := range []time.Duration{1, 2, 4, 4} {
			orders <- errBoom
			s.expect("end a")
			after(pause*time.Second - 1)
			s.expect("")
			after(1)
			s.expect("start a")
		}
		after(time.Minute)
		orders <- errBoom
		s.expect("end a")
		after(time.Second)
		s.expect("start a")
		s.stop()
	})
}

func TestTooManyRestartsFailTheSupervisorAndStopTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		orders := make(chan any)
		s := newStage(t, Policy{MaxRestarts: 3, Window: time.Minute, Backoff: Backoff{Min: time.Second, Max: time.Second}})
		s.add(s.worker("a", orders), s.worker("b", nil)).play()
		for range 3 {
			orders <- errBoom
			after(time.Second)
		}
		s.took()
		orders <- errBoom
		err := <-s.result
		if !errors.Is(err, ErrTooManyRestarts) || !errors.Is(err, errBoom) {
			t.Fatal(err)
		}
		s.expect("end a, end b")
		if tree := s.Tree(); tree.State != StateFailed || tree.LastError != err {
			t.Fatalf("%+v", tree)
		}
		s.expectState("a", StateFailed)
		s.expectState("b", StateStopped)
		if kinds := s.kinds("root/a"); kinds[len(kinds)-1] != GaveUp {
			t.Fatalf("events of a: %v", kinds)
		}
		s.cancel()
	})
}

func TestFailuresSpreadOverTimeNeverEscalate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		orders := make(chan any)
		s := newStage(t, Policy{MaxRestarts: 1, Window: time.Minute, Backoff: Backoff{Min: time.Second, Max: time.Second}})
		s.add(s.worker("a", orders)).play()
		for range 50 {
			orders <- errBoom
			after(time.Minute)
		}
		if a := s.see("a"); a.Restarts != 50 || a.State != StateRunning {
			t.Fatalf("%+v", a)
		}
		s.stop()
	})
}

func TestEscalationRestartsTheSubtreeUntilTheRootGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		orders := make(chan any)
		s := newStage(t, Policy{MaxRestarts: 1, Window: time.Hour, Backoff: Backoff{Min: time.Second, Max: time.Second}})
		s.add(Spec{Name: "sub", New: func() Actor {
			return NewSupervisor("sub", Policy{MaxRestarts: -1}, s.worker("leaf", orders), s.worker("twig", nil))
		}}).play()
		s.took()
		orders <- "first"
		s.expect("end leaf, end twig")
		if sub := s.see("sub"); sub.State != StateBackoff || !errors.Is(sub.LastError, ErrTooManyRestarts) {
			t.Fatalf("%+v", sub)
		}
		after(time.Second)
		s.expectState("sub", StateRunning)
		orders <- errBoom
		if err := <-s.result; !errors.Is(err, ErrTooManyRestarts) || !errors.Is(err, errBoom) {
			t.Fatal(err)
		}
		s.cancel()
	})
}

func TestStopDuringBackoffPreventsTheRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		orders := make(chan any)
		s := newStage(t, Policy{Backoff: Backoff{Min: time.Second}})
		s.add(s.worker("a", orders)).play()
		orders <- errBoom
		s.expectState("a", StateBackoff)
		before := time.Now()
		if err := s.Stop("a"); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(before); waited != 0 {
			t.Fatalf("stopping what does not run took %v", waited)
		}
		s.took()
		after(time.Minute)
		s.expect("")
		if n := len(s.Tree().Children); n != 0 {
			t.Fatalf("%d children are left", n)
		}
		s.stop()
	})
}

func TestTheEndDuringBackoffIsNotDelayed(t *testing.T) {
	for _, strategy := range []Strategy{OneForOne, AllForOne} {
		synctest.Test(t, func(t *testing.T) {
			orders := make(chan any)
			s := newStage(t, Policy{Strategy: strategy, Backoff: Backoff{Min: time.Hour, Max: time.Hour}})
			s.add(s.worker("a", orders), s.worker("b", nil)).play()
			orders <- errBoom
			s.expectState("a", StateBackoff)
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(s.begun); took != 0 {
				t.Fatalf("the end took %v", took)
			}
			s.expectState("a", StateStopped)
		})
	}
}

func TestAMailboxAndItsMessagesSurviveTheRestartOfTheirActor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := NewMailbox[string]("words", 2)
		var heard []string
		s := newStage(t, Policy{Backoff: Backoff{Min: time.Second, Max: time.Second}})
		s.add(Spec{Name: "ear", Mailbox: box, New: func() Actor {
			return Func(func(ctx context.Context) error {
				for {
					select {
					case word := <-box.C():
						if word == "die" {
							panic(word)
						}
						heard = append(heard, word)
					case <-ctx.Done():
						return nil
					}
				}
			})
		}}).play()
		to := box.Ref()
		to.Offer("one")
		synctest.Wait()
		to.Offer("die")
		synctest.Wait()
		for _, word := range []string{"two", "three", "lost", "lost"} {
			to.Offer(word)
		}
		if ear := s.see("ear"); ear.Depth != 2 || ear.Capacity != 2 || ear.Dropped != 2 {
			t.Fatalf("while the actor is in backoff: %+v", ear)
		}
		after(time.Second)
		if len(heard) != 3 || heard[2] != "three" || s.see("ear").Depth != 0 {
			t.Fatalf("heard %q", heard)
		}
		s.stop()
	})
}
