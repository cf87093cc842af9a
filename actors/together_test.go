package actors

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestPartsOfOneActorEndTogether(t *testing.T) {
	broken, late := errors.New("broken"), errors.New("late")
	wait := func(end error) func(context.Context) error {
		return func(ctx context.Context) error {
			<-ctx.Done()
			return end
		}
	}
	for name, c := range map[string]struct {
		part func(context.Context) error
		want []error
	}{
		"one fails":   {func(context.Context) error { return broken }, []error{broken, late}},
		"one panics":  {func(context.Context) error { panic(broken) }, []error{broken, late}},
		"one returns": {func(context.Context) error { return nil }, []error{late}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := Together(t.Context(), wait(nil), c.part, wait(late))
				for _, want := range c.want {
					if !errors.Is(err, want) {
						t.Errorf("%v lacks %v", err, want)
					}
				}
			})
		})
	}
	t.Run("told to end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- Together(ctx, wait(nil), wait(nil)) }()
			synctest.Wait()
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	})
}
