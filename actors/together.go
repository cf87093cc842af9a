package actors

import (
	"context"
	"errors"
)

// Together runs the parts of one actor until ctx ends or one of them does, which
// ends the others, and returns what all of them returned. A panic is a
// [PanicError].
func Together(ctx context.Context, parts ...func(context.Context) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(parts))
	for _, part := range parts {
		go func() {
			defer func() {
				if value := recover(); value != nil {
					ended <- Recovered(value)
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
