package actors

import (
	"context"
	"errors"
	"sync/atomic"
)

// ErrNoAnswer is returned by [Ref.Send] and [Ask] when the Ref leads nowhere.
var ErrNoAnswer = errors.New("no answer")

// Mailbox is a bounded queue of messages for one actor. It outlives restarts of
// the actor that reads it. Create it with [NewMailbox].
type Mailbox[M any] struct {
	name    string
	ch      chan M
	dropped atomic.Uint64
}

// NewMailbox returns an empty mailbox with room for capacity messages. The name
// is that under which its depth and drops are shown.
func NewMailbox[M any](name string, capacity int) *Mailbox[M] {
	return &Mailbox[M]{name: name, ch: make(chan M, capacity)}
}

// C is where the owning actor receives; nobody else may.
func (b *Mailbox[M]) C() <-chan M { return b.ch }

// Ref returns the sending end, to be given to other actors.
func (b *Mailbox[M]) Ref() Ref[M] { return Ref[M]{box: b} }

// Name is the name given to NewMailbox.
func (b *Mailbox[M]) Name() string { return b.name }

// Depth is the number of messages that wait. It and the following make every
// mailbox a [Gauge].
func (b *Mailbox[M]) Depth() int { return len(b.ch) }

// Capacity is the number of messages that there is room for.
func (b *Mailbox[M]) Capacity() int { return cap(b.ch) }

// Dropped is the number of messages that were offered and did not fit.
func (b *Mailbox[M]) Dropped() uint64 { return b.dropped.Load() }

// Ref is the sending end of a [Mailbox]. Refs are small values, copied freely.
// The zero Ref leads nowhere: offers to it are refused.
type Ref[M any] struct{ box *Mailbox[M] }

// Offer puts m into the mailbox if there is room and never waits. On false the
// caller still owns m; the drop has been counted.
func (r Ref[M]) Offer(m M) bool {
	if r.box == nil {
		return false
	}
	select {
	case r.box.ch <- m:
		return true
	default:
		r.box.dropped.Add(1)
		return false
	}
}

// Send waits for room until ctx ends. Only for the control plane, and only from
// root to leaf, so that no circle of actors can wait for each other.
func (r Ref[M]) Send(ctx context.Context, m M) error {
	if r.box == nil {
		return ErrNoAnswer
	}
	select {
	case r.box.ch <- m:
		return nil
	default:
	}
	select {
	case r.box.ch <- m:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Reply is a return slip with room for one answer, so answering never waits.
// The zero Reply swallows its answer.
type Reply[R any] struct{ ch chan R }

// NewReply returns a slip and the channel on which its answer arrives.
func NewReply[R any]() (Reply[R], <-chan R) {
	ch := make(chan R, 1)
	return Reply[R]{ch: ch}, ch
}

// Answer delivers v; a second answer is dropped.
func (r Reply[R]) Answer(v R) {
	select {
	case r.ch <- v:
	default:
	}
}

// Ask sends the question that makeQuestion builds around a return slip, and
// waits for the answer until ctx ends; the actor that drops a question, or fails
// with it in hand, lets the asker wait that long. As with Send, only from root
// to leaf.
func Ask[M, R any](ctx context.Context, to Ref[M], makeQuestion func(Reply[R]) M) (R, error) {
	reply, answer := NewReply[R]()
	var zero R
	if err := to.Send(ctx, makeQuestion(reply)); err != nil {
		return zero, err
	}
	select {
	case v := <-answer:
		return v, nil
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	}
}

// Poke says "something changed, look again" and is never lost or queued twice.
// Its zero value is not usable: see [NewPoke].
type Poke struct{ ch chan struct{} }

// NewPoke returns a poke that nobody has given yet.
func NewPoke() Poke { return Poke{ch: make(chan struct{}, 1)} }

// Give makes C ready if it is not yet. It never waits.
func (p Poke) Give() {
	select {
	case p.ch <- struct{}{}:
	default:
	}
}

// C is ready once after one or more Gives.
func (p Poke) C() <-chan struct{} { return p.ch }
