package lab

import (
	"context"
	"fmt"
	"time"
)

// pollEvery is how often Until looks. A look often starts a program.
const pollEvery = 50 * time.Millisecond

// Until looks at a condition again and again until it holds (nil), and gives up
// when ctx ends, with the last reason why it did not hold. The first look is at
// once.
func Until(ctx context.Context, what string, holds func() error) error {
	began := time.Now()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := holds()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s for this: %s: %w", time.Since(began).Round(time.Millisecond), what, err)
		case <-tick.C:
		}
	}
}
