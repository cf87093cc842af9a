package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

var (
	// ErrTooManyRestarts is wrapped by what [Supervisor.Run] returns when its
	// children failed more often than its policy allows.
	ErrTooManyRestarts = errors.New("too many restarts")
	// ErrStopped is the cause of an actor's context when its supervisor stops
	// it, and what a supervisor that has ended answers.
	ErrStopped = errors.New("stopped")
	// ErrUnknown is wrapped when no child has the name.
	ErrUnknown = errors.New("no such actor")
	// ErrExists is wrapped when a child of that name is there already.
	ErrExists = errors.New("an actor of that name exists")
	// ErrNotRunning is wrapped when the named child is not running now.
	ErrNotRunning = errors.New("actor is not running")
	// ErrReturned is the failure of a permanent child that returned nil, and of
	// one that ended its goroutine with [runtime.Goexit].
	ErrReturned = errors.New("ended without being told to")
)

// PanicError is the failure of an actor that panicked.
type PanicError struct {
	Value any    // what it panicked with
	Stack []byte // of the goroutine that panicked
}

// Error is one line; the stack is for those who ask for it.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value, if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Recovered makes a [PanicError] of a recovered value, for those who guard a
// step of a loop themselves and report it through [Supervisor.Fail]. It must be
// called by the deferred function that recovered, so that the stack shows the
// place of the panic.
func Recovered(value any) error { return &PanicError{Value: value, Stack: debug.Stack()} }

// reported and injected are the causes with which a child's context ends when
// it is made to fail from outside.
type reported struct{ err error }
type injected struct{ reason any }

func (r *reported) Error() string { return "reported: " + r.err.Error() }
func (i *injected) Error() string { return fmt.Sprintf("injected: %v", i.reason) }

// runGuarded runs body and turns its panic, its Goexit and a failure from
// outside into an error. ctx is what the actor runs under.
func runGuarded(ctx context.Context, body func(context.Context) error, done func(error)) {
	err, returned := error(nil), false
	// Deferred and not simply called, because Goexit runs nothing else.
	defer func() {
		if value := recover(); value != nil {
			err = Recovered(value)
		} else if !returned {
			err = fmt.Errorf("%w: runtime.Goexit", ErrReturned)
		}
		done(err)
	}()
	err = body(ctx)
	switch cause := context.Cause(ctx).(type) {
	case *injected:
		panic(cause.reason)
	case *reported:
		err = cause.err
	}
	returned = true
}
