package udp

import (
	"context"
	"errors"
	"fmt"
)

// together runs all of parts until ctx ends or one of them does, which ends the
// others. A panic is an error.
func together(ctx context.Context, parts ...func(context.Context) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(parts))
	for _, part := range parts {
		go func() {
			defer func() {
				if p := recover(); p != nil {
					ended <- fmt.Errorf("panic: %v", p)
				}
			}()
			ended <- part(ctx)
		}()
	}
	for range parts {
		err = errors.Join(err, <-ended)
		cancel()
	}
	return err
}
