package actors

import "context"

// Actor is a loop that owns its state: nobody else reads or writes it.
//
// Run is called once, on a goroutine of its own, and works until ctx ends or it
// cannot go on. When ctx ends it must return soon: its supervisor waits for it
// without limit, because a goroutine cannot be taken away. The returned error
// then counts only for the log. Returned while ctx is alive, nil means that the
// work is done (see [Spec].Permanent) and an error is a failure; so is a panic.
// Goroutines that Run starts must have ended when it returns.
type Actor interface {
	Run(ctx context.Context) error
}

// Func makes an [Actor] of a function.
type Func func(ctx context.Context) error

// Run calls f.
func (f Func) Run(ctx context.Context) error { return f(ctx) }

// Label is the key of the pprof label that holds an actor's full name, on the
// goroutine of the actor and on all that it starts.
const Label = "actor"

// nameKey is the context key of the full name of the running actor.
type nameKey struct{}

// Name is the full name of the actor whose context ctx is: the names from the
// root down, joined by slashes. It is empty outside of a supervisor.
func Name(ctx context.Context) string {
	name, _ := ctx.Value(nameKey{}).(string)
	return name
}
